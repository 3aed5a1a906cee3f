"""ResNet-50 with seeded weights: 224 x 224 pictures, 1000 classes, 25.6 million parameters.

Architecture: He et al., "Deep Residual Learning" (CVPR 2016), with the stride on the 3 x 3 convolution ("v1.5").
"""

import onnx

from cutwater.zoo.builder import BATCH, GraphBuilder
from cutwater.zoo.seeded import BRANCH_GAIN, LINEAR_GAIN, RELU_GAIN, Seeded

SIZE = 224
LAYERS = (
    # blocks, inner channels, stride of the first
    (3, 64, 1),
    (4, 128, 2),
    (6, 256, 2),
    (3, 512, 2),
)
EXPANSION = 4


def build_resnet50(seed: int = 50) -> onnx.ModelProto:
    """Float32 ``pictures`` [batch, 3, 224, 224] -> ``logits`` [batch, 1000]."""
    graph, weights = GraphBuilder("resnet50"), Seeded(seed)
    x = graph.input("pictures", [BATCH, 3, SIZE, SIZE])
    with graph.scope("conv1"):
        x = graph.op("Relu", graph.conv(x, *weights.conv(64, 3, 7), stride=2))
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for layer, (blocks, inner, first_stride) in enumerate(LAYERS, start=1):
        for block in range(blocks):
            with graph.scope(f"layer{layer}.{block}"):
                x = _bottleneck(graph, weights, x, channels, inner, first_stride if block == 0 else 1)
            channels = inner * EXPANSION
    with graph.scope("fc"):
        x = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
        x = graph.classify(x, *weights.linear(1000, channels))
    return graph.finish(logits=x)


def _bottleneck(graph: GraphBuilder, weights: Seeded, x: str, channels: int, inner: int, stride: int) -> str:
    out = inner * EXPANSION
    with graph.scope("conv1"):
        y = graph.op("Relu", graph.conv(x, *weights.conv(inner, channels, 1, RELU_GAIN)))
    with graph.scope("conv2"):
        y = graph.op("Relu", graph.conv(y, *weights.conv(inner, inner, 3), stride=stride))
    with graph.scope("conv3"):
        y = graph.conv(y, *weights.conv(out, inner, 1, BRANCH_GAIN))
    if channels != out:
        with graph.scope("downsample"):
            x = graph.conv(x, *weights.conv(out, channels, 1, LINEAR_GAIN), stride=stride)
    return graph.op("Relu", graph.op("Add", x, y))
