"""Pictures are fitted to a network's input, and boxes find their way back."""

import numpy as np
import pytest

from cutwater.vision.resize import LETTERBOX_GREY, Framing, centre_crop, fit_picture, letterbox, stretch


def gradient(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 255 // (width - 1), rows * 255 // (height - 1), rows * 0], axis=2).astype(np.uint8)


def test_the_crop_takes_the_middle_seven_eighths() -> None:
    cropped = centre_crop(gradient(256, 256), 224, 224)
    np.testing.assert_array_equal(cropped, gradient(256, 256)[16:240, 16:240])


def test_the_crop_of_a_wide_picture_is_centred_and_undistorted() -> None:
    cropped = centre_crop(gradient(100, 300), 50, 50, share=1.0)
    assert cropped.shape == (50, 50, 3)
    assert abs(int(cropped[25, 0, 0]) - 85) <= 3, "a third of the width from the left"
    assert abs(int(cropped[25, -1, 0]) - 170) <= 3
    assert cropped[0, 25, 1] <= 3 < 252 <= cropped[-1, 25, 1], "all of the height"


def test_stretching_keeps_all_of_the_picture() -> None:
    stretched = stretch(gradient(40, 80), 20, 20)
    assert stretched.shape == (20, 20, 3)
    assert stretched[0, 0, 0] < 10 < 245 < stretched[-1, -1, 0]
    whole = gradient(20, 20)
    assert stretch(whole, 20, 20) is whole, "nothing to do, nothing done"


def test_the_letterbox_is_grey_above_and_below_a_wide_picture() -> None:
    framed = letterbox(gradient(100, 200), 64, 64)
    assert framed.shape == (64, 64, 3)
    assert (framed[:16] == LETTERBOX_GREY).all()
    assert (framed[48:] == LETTERBOX_GREY).all()
    assert not (framed[16:48] == LETTERBOX_GREY).all()


@pytest.mark.parametrize(
    ("height", "width"), [(480, 640), (640, 480), (100, 1000), (1000, 100), (33, 47), (640, 640), (1, 5000)]
)
def test_boxes_go_into_the_frame_and_back(height: int, width: int) -> None:
    framing = Framing.of("letterbox", height, width, 640, 640)
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (50, 2)) * (width, height)
    high = low + rng.uniform(0, 0.5, (50, 2)) * (width, height)
    boxes = np.concatenate([low, high], axis=1).astype(np.float32)
    framed = framing.to_frame(boxes)
    assert (framed >= 0).all()
    assert (framed <= 640).all()
    np.testing.assert_allclose(framing.to_picture(framed), boxes, atol=width * 1e-5 + height * 1e-5)


def test_the_box_around_the_picture_in_the_frame_is_the_whole_picture() -> None:
    """What `letterbox` draws and what `Framing` computes are the same place."""
    black = np.zeros((123, 457, 3), np.uint8)
    rows, columns = np.nonzero(letterbox(black, 416, 416)[:, :, 0] == 0)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    np.testing.assert_allclose(
        Framing.of("letterbox", 123, 457, 416, 416).to_picture(box), [[0, 0, 457, 123]], atol=1e-3
    )


def test_boxes_outside_the_picture_are_clipped_to_it() -> None:
    framing = Framing.of("letterbox", 100, 200, 64, 64)
    np.testing.assert_array_equal(framing.to_picture(np.array([[-9, 0, 99, 64]], np.float32)), [[0, 0, 200, 100]])


@pytest.mark.parametrize(("how", "share"), [("crop", 0.875), ("crop", 1.0), ("stretch", 1.0), ("letterbox", 1.0)])
def test_every_way_to_fit_knows_the_way_back(how: str, share: float) -> None:
    """A white square in the picture is found in the frame, and its corners lead back to where it was."""
    picture = np.zeros((300, 500, 3), np.uint8)
    picture[120:180, 210:290] = 255
    frame = fit_picture(picture, 160, 200, how, share)
    rows, columns = np.nonzero(frame[:, :, 0] > 127)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    framing = Framing.of(how, 300, 500, 160, 200, share)
    np.testing.assert_allclose(framing.to_picture(box), [[210, 120, 290, 180]], atol=2.5)
    np.testing.assert_allclose(framing.to_frame(framing.to_picture(box)), box, atol=1e-3)
