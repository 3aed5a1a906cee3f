"""Box selection agrees with a slow and obvious one, and keeps what it should."""

import numpy as np
import pytest

from cutwater.errors import BadTensor
from cutwater.vision.detect import Detection, Selection, select_boxes, to_detections
from cutwater.vision.resize import Framing


def overlap(one: list[float], other: list[float]) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (areas[0] + areas[1] - width * height)


def slow_selection(raw: np.ndarray, selection: Selection) -> list[list[float]]:
    """Greedy suppression as its definition reads: take the best, drop its rivals, repeat."""
    boxes = []
    for x, y, width, height, *scores in raw.T.tolist():
        label = max(range(len(scores)), key=lambda index: scores[index])
        if scores[label] >= selection.score:
            boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2, scores[label], label])
    boxes.sort(key=lambda box: -box[4])
    kept: list[list[float]] = []
    for box in boxes:
        if all(box[5] != better[5] or overlap(box, better) <= selection.overlap for better in kept):
            kept.append(box)
    return kept[: selection.limit]


@pytest.mark.parametrize("seed", range(20))
def test_selection_equals_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 200)), int(rng.integers(1, 6))
    raw = np.concatenate(
        [rng.uniform(0, 100, (2, count)), rng.uniform(5, 60, (2, count)), rng.random((classes, count))]
    )
    raw = raw.astype(np.float32)
    selection = Selection(score=0.3, overlap=float(rng.uniform(0.2, 0.8)), limit=50)
    np.testing.assert_allclose(
        select_boxes(raw, selection), np.array(slow_selection(raw, selection)).reshape(-1, 6), rtol=1e-5, atol=1e-4
    )


def column(x: float, y: float, size: float, *scores: float) -> list[float]:
    return [x, y, size, size, *scores]


def test_boxes_of_different_classes_do_not_suppress_each_other() -> None:
    raw = np.array(
        [column(50, 50, 20, 0.9, 0.0), column(50, 50, 20, 0.0, 0.8), column(51, 50, 20, 0.7, 0.0)], np.float32
    )
    assert select_boxes(raw.T)[:, 4:].tolist() == [[np.float32(0.9), 0], [np.float32(0.8), 1]]


def test_the_limit_keeps_the_best() -> None:
    raw = np.array([column(100 * i, 0, 10, 0.3 + 0.05 * i) for i in range(10)], np.float32).T
    assert select_boxes(raw, Selection(limit=3))[:, 0].tolist() == [895, 795, 695]


def test_nothing_seen_is_an_empty_answer() -> None:
    assert select_boxes(np.zeros((84, 100), np.float32)).shape == (0, 6)
    assert select_boxes(np.zeros((84, 0), np.float32)).shape == (0, 6)


def test_numbers_that_are_none_are_never_reported() -> None:
    raw = np.full((6, 3), np.nan, np.float32)
    raw[:, 1] = column(50, 50, 20, 0.9, 0.1)
    assert len(select_boxes(raw)) == 1


def test_boxes_without_area_do_no_harm() -> None:
    raw = np.array([column(5, 5, 0, 0.9), column(5, 5, 0, 0.8)], np.float32).T
    assert len(select_boxes(raw)) == 2


@pytest.mark.parametrize("shape", [(84,), (4, 10), (1, 84, 10)])
def test_other_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadTensor, match=r"expected \[4 \+ classes, boxes\]"):
        select_boxes(np.zeros(shape, np.float32))


def test_detections_are_in_the_pictures_pixels_without_the_padding() -> None:
    framing = Framing.of("letterbox", 100, 200, 64, 64)
    selected = np.zeros((4, 6), np.float32)
    selected[0] = [0, 16, 64, 48, 0.5, 7]
    assert to_detections(selected, framing) == [Detection(0, 0, 200, 100, 0.5, 7)]
