"""Outputs of every form that models answer in become the same classes and boxes."""

import numpy as np
import pytest
from eyes import COLOURS, HUES, LIGHTS, file, picture, tensor

from cutwater.api.backend import ModelCard
from cutwater.api.tasks import PictureLimits, classes_of, detections_of, feeds_of, measured_picture, task_of
from cutwater.engine.facts.models import Pictures
from cutwater.errors import BadPicture, BadTensor, TooLarge
from cutwater.vision.detect import Detection, Selection, select_boxes
from cutwater.vision.host_ops import host_op
from cutwater.vision.task import recognised_task

ENCODED = ModelCard(
    name="whole",
    inputs=(tensor("encoded", "uint8", 60_000),),
    outputs=(tensor("boxes", "float32", 1, 100, 6),),
    pictures=Pictures(fit="letterbox", height=64, width=64),
    labels=COLOURS,
)


def raw() -> np.ndarray:
    """One box in a frame of 64 pixels, found twice, and one that is unlikely."""
    rows = [[32, 16, 20, 8, 0.9, 0, 0], [33, 16, 20, 8, 0.7, 0, 0], [50, 40, 4, 4, 0, 0.3, 0]]
    return np.array(rows, np.float32).T[np.newaxis]


def test_selected_and_raw_boxes_are_the_same_detections() -> None:
    by_raw = detections_of(LIGHTS, {"raw": raw()}, 200, 100, 0.5)
    (selected,) = host_op("SelectBoxes", {"score": 0.05, "overlap": 0.45, "limit": 100})([raw()])
    assert detections_of(ENCODED, {"boxes": selected}, 200, 100, 0.5) == by_raw
    (seen,) = by_raw
    # The picture fills the frame from row 16 to row 48; 64 columns show its 200.
    assert seen == Detection(68.75, 0.0, 131.25, 12.5, pytest.approx(0.9), 0)
    assert len(detections_of(ENCODED, {"boxes": selected}, 200, 100, 0.2)) == 2


def test_a_lower_limit_in_the_graph_changes_nothing_above_the_clients_own() -> None:
    rng = np.random.default_rng(3)
    many = np.concatenate([rng.uniform(0, 64, (2, 400)), rng.uniform(4, 20, (2, 400)), rng.random((3, 400)) ** 3])
    many = many.astype(np.float32)
    direct = select_boxes(many, Selection(score=0.6, limit=400))
    (selected,) = host_op("SelectBoxes", {"score": 0.05, "overlap": 0.45, "limit": 400})([many[np.newaxis]])
    assert len(direct) > 3
    np.testing.assert_array_equal(selected[0][selected[0, :, 4] >= 0.6], direct)


def test_attached_and_bare_classes_are_the_same_guesses() -> None:
    logits = np.array([[2.0, 5.0, 1.0]], np.float32)
    bare = classes_of(HUES, {"logits": logits}, 2)
    likely = np.exp(logits) / np.exp(logits).sum()
    attached = {"scores": np.sort(likely)[:, ::-1], "classes": np.array([[1, 0, 2]])}
    for outputs in ({"softmax": likely}, attached):
        found = classes_of(HUES, outputs, 2)
        assert [guess.label for guess in found] == [guess.label for guess in bare] == [1, 0]
        np.testing.assert_allclose([guess.probability for guess in found], [g.probability for g in bare], rtol=1e-5)


@pytest.mark.parametrize(
    "outputs",
    [{}, {"a": np.zeros((2, 3))}, {"a": np.zeros(3)}, {"a": np.zeros((1, 3)), "b": np.zeros((1, 3))}],
)
def test_outputs_that_are_neither_say_what_they_are(outputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(BadTensor, match="are no classes"):
        classes_of(HUES, outputs)
    with pytest.raises(BadTensor, match="are no boxes"):
        detections_of(LIGHTS, outputs, 10, 10)


def test_a_picture_becomes_pixels_or_stays_a_file() -> None:
    fed = feeds_of(LIGHTS, file(1))["pixels"]
    assert (fed.shape, fed.dtype) == ((1, 3, 64, 64), np.float32)
    assert fed[0, 1, 28, 24] > 0.9 and fed[0, 0, 28, 24] < 0.1
    np.testing.assert_array_equal(feeds_of(ENCODED, file())["encoded"], np.frombuffer(file(), np.uint8))
    with pytest.raises(BadTensor, match="model 'x': the model's input 'y' is float32"):
        feeds_of(ModelCard(name="x", inputs=(tensor("y", "float32", 5),), outputs=()), file())


def test_limits_hold_before_anything_is_decoded() -> None:
    assert measured_picture(file()) == picture().shape[:2]
    for model in (LIGHTS, ENCODED):
        with pytest.raises(TooLarge, match="over the limit of 50"):
            feeds_of(model, file(), PictureLimits(max_bytes=50))
        with pytest.raises(BadPicture, match="200 x 100 pixels are over the limit of 19999"):
            feeds_of(model, file(), PictureLimits(max_pixels=19_999))


def test_tasks_are_recognised_where_outputs_leave_no_doubt() -> None:
    row = tensor("probabilities", "float32", 1, 80)
    assert recognised_task([tensor("scores", "float32", 1, 5), tensor("classes", "int64", 1, 5)]) == "classify"
    assert recognised_task([tensor("boxes", "float32", 1, 100, 6)]) == "detect"
    assert recognised_task([tensor("out", "float32", 1, 84, 2535)], classes=80) == "detect"
    assert recognised_task([row], classes=80) == "classify"
    # A transformer's tokens look like raw boxes, and features like scores: without names nobody can tell.
    assert recognised_task([tensor("tokens", "float32", 1, 84, 2535)]) == recognised_task([row]) == ""
    assert recognised_task([tensor("tokens", "float32", 1, 84, 2535), row], classes=80) == ""
    assert (task_of(ENCODED), task_of(LIGHTS)) == ("detect", "detect")
