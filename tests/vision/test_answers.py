"""Labels, guesses and drawings: what people see in the end."""

import numpy as np
import pytest

from cutwater.errors import BadTensor
from cutwater.vision.classify import Guess, best_guesses, softmax
from cutwater.vision.detect import Detection
from cutwater.vision.draw import draw_detections
from cutwater.vision.labels import COCO, IMAGENET, labels


def test_imagenet_and_coco_labels_stand_at_their_indices() -> None:
    imagenet, coco = labels(IMAGENET), labels(COCO)
    assert (len(imagenet), len(coco)) == (1000, 80)
    assert [imagenet[index] for index in (0, 251, 609, 949)] == ["tench", "Dalmatian", "jeep", "strawberry"]
    assert [coco[index] for index in (0, 16, 79)] == ["person", "dog", "toothbrush"]
    assert all(name == name.strip() != "" for name in (*imagenet, *coco))
    with pytest.raises(KeyError):
        labels("../secrets")


def test_softmax_survives_large_scores() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]], np.float32)), [[0.5, 0.5], [0, 1]])


def test_guesses_come_best_first_and_ties_in_order() -> None:
    logits = np.log(np.array([[0.1, 0.6, 0.3], [0.25, 0.25, 0.5]], np.float32))
    first, second = best_guesses(logits, 2)
    assert [guess.label for guess in first] == [1, 2]
    assert [guess.probability for guess in first] == pytest.approx([0.6, 0.3])
    assert second[1] == Guess(0, pytest.approx(0.25))
    with pytest.raises(BadTensor, match="expected \\[batch, classes\\]"):
        best_guesses(np.zeros(3, np.float32))


def test_a_drawing_changes_the_edges_of_the_box_and_spares_the_rest() -> None:
    grey = np.full((200, 300, 3), 128, np.uint8)
    drawn = draw_detections(grey, [Detection(50, 80, 150, 180, 0.87, 16)], labels(COCO))
    changed = (drawn != grey).any(axis=2)
    assert changed[80:180, 50].all()
    assert changed[180, 50:150].all()
    assert changed[60:78, 52:90].any(), "the caption stands above the box"
    assert not changed[90:170, 60:140].any(), "what is in the box stays visible"
    assert not changed[:, 200:].any()
    assert (grey == 128).all(), "the picture given is left alone"


def test_boxes_at_the_border_are_drawn_too() -> None:
    grey = np.full((60, 60, 3), 128, np.uint8)
    drawn = draw_detections(grey, [Detection(0, 0, 60, 60, 1.0, 0)], labels(COCO))
    assert (drawn[30, 0] != 128).any()
