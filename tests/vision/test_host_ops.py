"""Host ops compute what their nodes say, and refuse what does not fit."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cutwater.errors import BadModel, BadPicture, BadTensor
from cutwater.vision.detect import Selection, select_boxes
from cutwater.vision.host_ops import host_op
from cutwater.vision.resize import centre_crop, letterbox, stretch


def encoded() -> tuple[np.ndarray, np.ndarray]:
    """A picture as bytes, and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return np.frombuffer(stream.getvalue(), np.uint8), pixels


@pytest.mark.parametrize(("fit", "place"), [("crop", centre_crop), ("letterbox", letterbox), (b"stretch", stretch)])
def test_decode_picture_decodes_and_fits(fit: str | bytes, place: object) -> None:
    assert callable(place)
    file, pixels = encoded()
    (out,) = host_op("DecodePicture", {"height": 32, "width": 48, "fit": fit})([file])
    np.testing.assert_array_equal(out, place(pixels, 32, 48)[np.newaxis])


def test_decode_picture_keeps_the_share_it_is_told() -> None:
    file, pixels = encoded()
    (out,) = host_op("DecodePicture", {"height": 60, "width": 60, "share": 1.0})([file])
    np.testing.assert_array_equal(out[0], pixels[:, 15:75])


def test_select_boxes_pads_every_picture_of_a_batch() -> None:
    raw = np.random.default_rng(0).uniform(0, 1, (2, 7, 50)).astype(np.float32)
    raw[1, 4:] = 0
    (out,) = host_op("SelectBoxes", {"score": 0.9, "overlap": 0.5, "limit": 40})([raw])
    assert out.shape == (2, 40, 6)
    expected = select_boxes(raw[0], Selection(0.9, 0.5, 40))
    assert 0 < len(expected) < 40
    np.testing.assert_array_equal(out[0, : len(expected)], expected)
    assert not out[0, len(expected) :].any()
    assert not out[1].any()


@pytest.mark.parametrize(
    ("kind", "attributes", "complaint"),
    [
        ("Dance", {}, "no op 'Dance'"),
        ("DecodePicture", {"height": 3}, "width"),
        ("DecodePicture", {"height": 3, "width": 3, "colour": "red"}, "colour"),
        ("DecodePicture", {"height": 3, "width": 3, "fit": "squeeze"}, "fit is one of crop, letterbox, stretch"),
        ("DecodePicture", {"height": 0, "width": 3}, "positive"),
        ("DecodePicture", {"height": 3, "width": 3, "share": 2.0}, "share"),
        ("SelectBoxes", {"limit": 0}, "limit must be positive"),
    ],
)
def test_nodes_that_make_no_sense_are_refused(kind: str, attributes: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadModel, match=complaint):
        host_op(kind, attributes)  # type: ignore[arg-type]


def test_inputs_that_do_not_fit_are_refused() -> None:
    decode = host_op("DecodePicture", {"height": 8, "width": 8})
    with pytest.raises(BadTensor, match="uint8"):
        decode([np.zeros((2, 3), np.uint8)])
    with pytest.raises(BadPicture, match="not a picture"):
        decode([np.zeros(100, np.uint8)])
    with pytest.raises(BadTensor, match="float32"):
        host_op("SelectBoxes", {})([np.zeros((1, 84, 5), np.float64)])


@pytest.mark.slow
def test_a_stage_without_pictures_never_pays_for_pillow() -> None:
    code = "import cutwater.vision.host_ops, sys; raise SystemExit('PIL' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
