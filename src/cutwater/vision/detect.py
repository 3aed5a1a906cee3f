"""What a YOLO-type detector saw: its raw output to few scored boxes (score threshold, then non-maximum suppression)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadTensor
from cutwater.vision.resize import Framing

Floats = NDArray[np.float32]

MAX_CANDIDATES = 1000
"""Boxes that enter suppression, best first; bounds its memory at a few MB whatever the network says."""


@dataclass(frozen=True)
class Selection:
    """Which boxes to keep."""

    score: float = 0.25
    """Smallest class score of a box worth looking at."""
    overlap: float = 0.45
    """Largest intersection over union with a better box of the same class."""
    limit: int = 100
    """Most boxes per picture."""


@dataclass(frozen=True)
class Detection:
    """One object: corners in pixels of the picture, score in 0..1, class index."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    label: int


def select_boxes(raw: Floats, selection: Selection = Selection()) -> Floats:
    """The boxes worth reporting, best first.

    Args:
        raw: float32 [4 + classes, n]: centre x, centre y, width, height in input pixels, then one score per class.

    Returns:
        float32 [k, 6], k <= ``selection.limit``: x1, y1, x2, y2 in input pixels, score, class index.

    Raises:
        BadTensor: Not such an array.
    """
    if raw.ndim != 2 or raw.shape[0] < 5:
        raise BadTensor(f"raw detections have shape {list(raw.shape)}; expected [4 + classes, boxes]")
    labels = raw[4:].argmax(axis=0)
    scores = raw[4:].max(axis=0)
    candidates = np.flatnonzero(scores >= selection.score)  # NaN compares false and drops out here
    best_first = candidates[np.argsort(-scores[candidates], kind="stable")][:MAX_CANDIDATES]
    centre, size = raw[0:2, best_first].T, raw[2:4, best_first].T
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    kept = suppress(corners, labels[best_first], selection.overlap)[: selection.limit]
    chosen = best_first[kept]
    return np.column_stack([corners[kept], scores[chosen], labels[chosen]]).astype(np.float32).reshape(-1, 6)


def suppress(corners: Floats, labels: NDArray[np.int64], overlap: float) -> NDArray[np.int64]:
    """Indices of the boxes that survive greedy non-maximum suppression within each class.

    Args:
        corners: float32 [n, 4], x1, y1, x2, y2, best first.
        labels: [n]; boxes of different classes never suppress each other.
        overlap: Largest intersection over union two kept boxes of one class may have.
    """
    remaining = np.arange(len(corners))
    kept: list[int] = []
    while remaining.size:
        best, rest = remaining[0], remaining[1:]
        kept.append(int(best))
        rival = (labels[rest] == labels[best]) & (intersection_over_union(corners[best], corners[rest]) > overlap)
        remaining = rest[~rival]
    return np.array(kept, np.int64)


def intersection_over_union(box: Floats, others: Floats) -> Floats:
    """Overlap in 0..1 of one box [4] with each of ``others`` [n, 4], as corners."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(np.clip(box[2:] - box[:2], 0, None))
    areas = np.prod(np.clip(others[:, 2:] - others[:, :2], 0, None), axis=1)
    # An empty union (boxes without area) overlaps nothing.
    result: Floats = shared / np.maximum(area + areas - shared, np.finfo(np.float32).tiny)
    return result


def to_detections(selected: Floats, framing: Framing) -> list[Detection]:
    """Detections in the picture's own pixels, from boxes [k, 6] in the frame's; zero padding is left out."""
    real = selected[selected[:, 4] > 0]
    corners = framing.to_picture(real[:, :4])
    return [
        Detection(float(x1), float(y1), float(x2), float(y2), float(score), int(label))
        for (x1, y1, x2, y2), (score, label) in zip(corners, real[:, 4:6], strict=True)
    ]
