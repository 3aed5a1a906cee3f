"""What was seen is drawn in order: as many frames as came, at their times; pictures under names of their own."""

from pathlib import Path

import av
import numpy as np
import pytest

from cutwater.errors import BadFile, InputError
from cutwater.lab.annotate import Drawings, Target, drawing_target
from cutwater.lab.inputs import Item
from cutwater.vision.detect import Detection
from cutwater.vision.pictures import Pixels, read_picture

NAMES = ("cat", "dog")
DOG = Detection(10, 20, 30, 38, 0.9, 1)
SOURCE = Path("no such street.avi")
"""Whose head cannot be read: a video that does not say what its rate is."""


def frame(number: int, time: float | None = None, grey: int | None = None, size: tuple[int, int] = (40, 60)) -> Item:
    """One frame of a video; without a grey it could not be decoded."""
    pixels: Pixels | None = None if grey is None else np.full((*size, 3), grey, np.uint8)
    return Item("f", {}, source=SOURCE, pixels=pixels, frame=number, time=time)


def shown(path: Path) -> list[tuple[float, int]]:
    """When each frame is shown, and how bright its corner is."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return [(time, round(float(pixels[:4, -4:].mean()), -1)) for time, pixels in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_keep_their_times_however_far_apart_they_are(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    times = [0.0, 0.04, 0.5, 0.54, 2.0]
    with Drawings(Target(out, one_video=True), NAMES) as drawings:
        for number, time in enumerate(times):
            drawings.add(frame(number, time, grey=40 * number + 20), [])
    found = shown(out)
    np.testing.assert_allclose([time for time, _ in found], times, atol=2e-3)
    assert [grey for _, grey in found] == [20, 60, 100, 140, 180]


def test_frames_that_could_not_be_decoded_are_there_all_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    greys = [None, None, 60, None, 140, None]
    with Drawings(Target(out, one_video=True), NAMES) as drawings:
        for number, grey in enumerate(greys):
            drawings.add(frame(number, None, grey), [])
    found = shown(out)
    assert [grey for _, grey in found] == [60, 60, 60, 60, 140, 140]
    np.testing.assert_allclose([time for time, _ in found], np.arange(6) / 25, atol=1e-3)


def test_times_that_go_back_do_not_end_the_video(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with Drawings(Target(out, one_video=True), NAMES) as drawings:
        for number, time in enumerate([0.0, 1.0, 0.5, 0.5, 2.0]):
            drawings.add(frame(number, time, grey=40 * number + 20), [])
    times = [time for time, _ in shown(out)]
    assert len(times) == 5 and times == sorted(times)


def test_boxes_are_drawn_and_odd_sizes_are_made_even(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with Drawings(Target(out, one_video=True), NAMES) as drawings:
        drawings.add(frame(0, 0.0, grey=100, size=(41, 61)), [DOG])
        drawings.add(frame(1, 0.1, grey=100, size=(41, 61)), [])
    with av.open(str(out)) as container:
        first, second = (each.to_ndarray(format="rgb24") for each in container.decode(video=0))
    assert first.shape == (42, 62, 3)
    assert np.abs(first.astype(int) - second)[20:38, 8:13].max() > 40
    assert np.abs(second.astype(int) - 100).max() < 10


def test_an_exception_leaves_what_was_written_playable(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt), Drawings(Target(out, one_video=True), NAMES) as drawings:
        for number in range(3):
            drawings.add(frame(number, None, grey=50), [])
        raise KeyboardInterrupt
    assert len(shown(out)) == 3


def test_pictures_and_videos_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    pixels = np.full((40, 60, 3), 128, np.uint8)
    target = drawing_target(tmp_path / "drawn", ["a", "b"])
    with Drawings(target, NAMES) as drawings:
        for source in ("a/goose.png", "b/goose.png", "b/goose.tif"):
            drawings.add(Item("goose", {}, source=Path(source), pixels=pixels), [DOG])
        drawings.add(Item("goose", {}, source=Path("a/goose.png"), pixels=pixels, round=1), [DOG])
        drawings.add(Item("broken", {}, source=Path("a/broken.png")), [])
        drawings.add(Item("noise", {}), [])
        for number in range(2):
            drawings.add(frame(number, None, grey=50), [])
    assert sorted(path.name for path in target.path.iterdir()) == [
        "goose-2.png", "goose-3.jpg", "goose.png", "no such street.mp4",
    ]  # fmt: skip
    drawn = read_picture(target.path / "goose-2.png")
    assert (drawn[20:38, 10] != 128).any() and (drawn[22:, 45:] == 128).all()


def test_a_target_that_makes_no_sense_says_why(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert drawing_target(tmp_path / "out.mp4", ["street.avi"]) == Target(tmp_path / "out.mp4", one_video=True)
    for inputs in (["street.avi", "road.avi"], ["goose.jpg"], ["pictures"]):
        with pytest.raises(InputError, match="one file is for one video"):
            drawing_target(tmp_path / "out.mp4", inputs)
    with pytest.raises(InputError, match=r"videos are written as \.mp4"):
        drawing_target(tmp_path / "out.avi", ["street.avi"])
    with pytest.raises(BadFile, match="taken: cannot be made a folder"):
        drawing_target(tmp_path / "taken", ["goose.jpg"])


def test_what_cannot_be_written_is_told_with_its_place(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "out.mp4"
    with pytest.raises(BadFile, match=r"nowhere/out\.mp4: cannot be written"):
        drawing_target(nowhere, ["street.avi"])
    target = Target(nowhere, one_video=True)
    with pytest.raises(BadFile, match=r"out\.mp4: cannot be written"), Drawings(target, NAMES) as drawings:
        drawings.add(frame(0, 0.0, grey=1), [])
