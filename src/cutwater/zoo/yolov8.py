"""A YOLOv8n-like detector with seeded weights: 640 x 640 pictures, 80 classes, 3.2 million parameters.

Its neck runs up and down again, so cuts in the middle have borders of three and more tensors. Architecture after the
published description of YOLOv8 (depth 0.33, width 0.25): C2f blocks, SPPF, three decoupled heads, boxes as
distributions over 16 distances (Li et al., "Generalized Focal Loss", NeurIPS 2020, section 3).
"""

import numpy as np
import onnx

from cutwater.zoo.builder import BATCH, Floats, GraphBuilder
from cutwater.zoo.seeded import BRANCH_GAIN, LINEAR_GAIN, SILU_GAIN, Seeded

SIZE = 640
CLASSES = 80
DISTANCES = 16
STRIDES = (8, 16, 32)
RARE = -6.0
"""Bias of the class scores: objects are rare, as in a trained network, so few boxes pass a threshold."""


def build_yolov8n(size: int = SIZE, seed: int = 8) -> onnx.ModelProto:
    """Float32 ``pictures`` [batch, 3, size, size] -> ``detections`` [batch, 84, boxes].

    The 84 rows are centre x, centre y, width, height in input pixels, then a score in 0..1 per class.

    Args:
        size: Height and width, a multiple of 32.
    """
    return _Detector(size, seed).build()


class _Detector:
    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._graph = GraphBuilder("yolov8n")
        self._weights = Seeded(seed)
        self._layer = 0

    def build(self) -> onnx.ModelProto:
        graph = self._graph
        x = graph.input("pictures", [BATCH, 3, self._size, self._size])
        x = self._down(self._down(x, 3, 16), 16, 32)
        x = self._down(self._c2f(x, 32, 32, 1, shortcut=True), 32, 64)
        fine = self._c2f(x, 64, 64, 2, shortcut=True)
        middle = self._c2f(self._down(fine, 64, 128), 128, 128, 2, shortcut=True)
        x = self._c2f(self._down(middle, 128, 256), 256, 256, 1, shortcut=True)
        coarse = self._pool_pyramid(x, 256)
        up = self._c2f(self._join(self._up(coarse), middle), 384, 128, 1)
        small = self._c2f(self._join(self._up(up), fine), 192, 64, 1)
        medium = self._c2f(self._join(self._down(small, 64, 64), up), 192, 128, 1)
        large = self._c2f(self._join(self._down(medium, 128, 128), coarse), 384, 256, 1)
        with graph.scope(self._next()):
            heads = [self._head(level, x, c) for level, (x, c) in enumerate(((small, 64), (medium, 128), (large, 256)))]
            return graph.finish(detections=self._decode(heads))

    def _next(self) -> str:
        name = f"model.{self._layer}"
        self._layer += 1
        return name

    def _conv(self, x: str, into: int, out: int, kernel: int, stride: int = 1, gain: float = SILU_GAIN) -> str:
        return self._graph.silu(self._graph.conv(x, *self._weights.conv(out, into, kernel, gain), stride=stride))

    def _down(self, x: str, into: int, out: int) -> str:
        with self._graph.scope(self._next()):
            return self._conv(x, into, out, 3, stride=2)

    def _up(self, x: str) -> str:
        with self._graph.scope(self._next()):
            scales = self._graph.constant([1.0, 1.0, 2.0, 2.0])
            return self._graph.op(
                "Resize", x, "", scales, mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            )  # fmt: skip

    def _join(self, *parts: str) -> str:
        with self._graph.scope(self._next()):
            return self._graph.op("Concat", *parts, axis=1)

    def _c2f(self, x: str, into: int, out: int, repeats: int, shortcut: bool = False) -> str:
        """Half the channels pass through a chain of bottlenecks; every intermediate result is kept and joined."""
        graph, half = self._graph, out // 2
        with graph.scope(self._next()):
            with graph.scope("cv1"):
                x = self._conv(x, into, out, 1)
            parts = graph.ops("Split", x, graph.constant([half, half], np.int64), outputs=2, axis=1)
            for index in range(repeats):
                with graph.scope(f"m.{index}"):
                    y = self._conv(parts[-1], half, half, 3)
                    y = self._conv(y, half, half, 3, gain=BRANCH_GAIN if shortcut else SILU_GAIN)
                    parts.append(graph.op("Add", parts[-1], y) if shortcut else y)
            joined = graph.op("Concat", *parts, axis=1)
            with graph.scope("cv2"):
                return self._conv(joined, half * (repeats + 2), out, 1)

    def _pool_pyramid(self, x: str, channels: int) -> str:
        """Three 5 x 5 maximum pools in a row, all joined (SPPF)."""
        graph, half = self._graph, channels // 2
        with graph.scope(self._next()):
            with graph.scope("cv1"):
                parts = [self._conv(x, channels, half, 1)]
            for _ in range(3):
                pooled = graph.op("MaxPool", parts[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2])
                parts.append(pooled)
            joined = graph.op("Concat", *parts, axis=1)
            with graph.scope("cv2"):
                return self._conv(joined, half * 4, channels, 1)

    def _head(self, level: int, x: str, channels: int) -> str:
        """Box distances and class scores of one resolution, [batch, 64 + 80, cells]."""
        graph = self._graph
        rows = 4 * DISTANCES
        with graph.scope(f"cv2.{level}"):
            y = self._conv(self._conv(x, channels, 64, 3), 64, 64, 3)
            boxes = graph.conv(y, *self._weights.conv(rows, 64, 1, SILU_GAIN))
        with graph.scope(f"cv3.{level}"):
            y = self._conv(self._conv(x, channels, CLASSES, 3), CLASSES, CLASSES, 3)
            weight, bias = self._weights.conv(CLASSES, CLASSES, 1, LINEAR_GAIN)
            scores = graph.conv(y, weight, bias + np.float32(RARE))
        return graph.reshape(graph.op("Concat", boxes, scores, axis=1), 0, rows + CLASSES, -1)

    def _decode(self, heads: list[str]) -> str:
        graph = self._graph
        sizes = graph.constant([4 * DISTANCES, CLASSES], np.int64)
        boxes, scores = graph.ops("Split", graph.op("Concat", *heads, axis=2), sizes, outputs=2, axis=1)
        with graph.scope("dfl"):
            spread = graph.op("Transpose", graph.reshape(boxes, 0, 4, DISTANCES, -1), perm=[0, 2, 1, 3])
            steps = np.arange(DISTANCES, dtype=np.float32).reshape(1, DISTANCES, 1, 1)
            mean = graph.conv(graph.op("Softmax", spread, axis=1), steps)
            distances = graph.reshape(mean, 0, 4, -1)
        centres, strides = self._cells()
        pair = graph.constant([2, 2], np.int64)
        before, after = graph.ops("Split", distances, pair, outputs=2, axis=1)
        cells = graph.weight(centres, "cells")
        low, high = graph.op("Sub", cells, before), graph.op("Add", cells, after)
        middle = graph.op("Div", graph.op("Add", low, high), graph.constant(2.0))
        corners = graph.op("Concat", middle, graph.op("Sub", high, low), axis=1)
        scaled = graph.op("Mul", corners, graph.weight(strides, "strides"))
        return graph.op("Concat", scaled, graph.op("Sigmoid", scores), axis=1)

    def _cells(self) -> tuple[Floats, Floats]:
        """Centres of all cells in units of their stride [1, 2, cells], and the strides [1, cells]."""
        centres, strides = [], []
        for stride in STRIDES:
            side = self._size // stride
            rows, columns = np.mgrid[0:side, 0:side]
            centres.append(np.stack([columns.ravel(), rows.ravel()]) + 0.5)
            strides.append(np.full((1, side * side), stride))
        return np.concatenate(centres, axis=1)[np.newaxis].astype(np.float32), np.concatenate(strides, 1).astype(
            np.float32
        )
