"""A run is fed what its model takes; what is broken is named, and the rest goes on."""

import sys
import weakref
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutwater.errors import BadFile, BadPicture, BadTensor, MissingExtra
from cutwater.graph.graph import Tensor
from cutwater.lab.inputs import InputOptions, Item, VideoFacts, open_inputs, video_facts
from cutwater.vision.pictures import decode_picture, read_picture
from cutwater.vision.prepare import Preparation
from cutwater.vision.resize import centre_crop, letterbox

NCHW = Tensor("pictures", "float32", (1, 3, 8, 8), 768, batch_axis=0)
NHWC = Tensor("pictures", "float32", (1, 8, 8, 3), 768)
ENCODED = Tensor("encoded", "uint8", (60_000,), 60_000)
VECTOR = Tensor("x", "float32", (1, 4), 16, batch_axis=0)
MASK = Tensor("mask", "int64", (2, 2), 32)


def photograph(path: Path, seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)
    return path


def only(items: list[Item]) -> Item:
    (item,) = items
    return item


def test_a_picture_becomes_channels_first_floats(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png")
    preparation = Preparation(mean=(127, 127, 127), std=(128, 128, 128))
    item = only(list(open_inputs(str(path), [NCHW], InputOptions(preparation))))
    assert (item.name, item.error) == ("a.png", None)
    expected = (centre_crop(read_picture(path), 8, 8).transpose(2, 0, 1).astype(np.float32) - 127) / 128
    np.testing.assert_array_equal(item.feeds["pictures"], expected[np.newaxis])
    assert item.feeds["pictures"].flags.c_contiguous


def test_a_model_with_channels_last_gets_them_last_and_letterboxed(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png")
    item = only(list(open_inputs(str(path), [NHWC], InputOptions(Preparation(fit="letterbox")))))
    expected = letterbox(read_picture(path), 8, 8).astype(np.float32) / 255
    np.testing.assert_allclose(item.feeds["pictures"][0], expected, rtol=1e-6)


def test_a_model_of_uint8_pixels_gets_them_unscaled(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png")
    item = only(list(open_inputs(str(path), [Tensor("x", "uint8", (1, 8, 8, 3), 192)])))
    np.testing.assert_array_equal(item.feeds["x"][0], centre_crop(read_picture(path), 8, 8))


def test_a_model_of_encoded_pictures_gets_the_file_as_it_is(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg")
    item = only(list(open_inputs(str(path), [ENCODED])))
    assert item.feeds["encoded"].tobytes() == path.read_bytes()


@pytest.mark.parametrize("tensor", [NCHW, ENCODED])
def test_a_broken_picture_among_good_ones_is_one_error_and_the_rest_goes_on(tmp_path: Path, tensor: Tensor) -> None:
    photograph(tmp_path / "a.jpg", 1)
    (tmp_path / "b.jpg").write_bytes(photograph(tmp_path / "whole.jpg", 2).read_bytes()[:200])
    photograph(tmp_path / "c.png", 3)
    (tmp_path / "notes.txt").write_text("not an input")
    inputs = open_inputs(str(tmp_path), [tensor])
    assert inputs.total == 4
    items = {item.name: item for item in inputs}
    assert list(items) == ["a.jpg", "b.jpg", "c.png", "whole.jpg"]
    assert [name for name, item in items.items() if item.error] == ["b.jpg"]
    assert isinstance(items["b.jpg"].error, BadPicture)
    assert str(tmp_path / "b.jpg") in str(items["b.jpg"].error)
    assert items["b.jpg"].feeds == {}
    assert items["c.png"].feeds


def test_several_inputs_are_read_one_after_the_other(tmp_path: Path) -> None:
    one, two = photograph(tmp_path / "1.png"), photograph(tmp_path / "2.png")
    assert [item.name for item in open_inputs([str(two), str(one)], [NCHW])] == ["2.png", "1.png"]


def test_an_array_of_one_request_is_one_item_and_a_stack_is_many(tmp_path: Path) -> None:
    stack = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "one.npy", stack[:1])
    assert only(list(open_inputs(str(tmp_path / "one.npy"), [VECTOR]))).name == "one.npy"
    inputs = open_inputs(str(tmp_path / "stack.npy"), [VECTOR])
    assert inputs.total == 3
    items = list(inputs)
    assert [item.name for item in items] == ["stack.npy#0", "stack.npy#1", "stack.npy#2"]
    np.testing.assert_array_equal(items[2].feeds["x"], stack[2:])
    assert type(items[2].feeds["x"]) is np.ndarray, "a copy in memory, no window into the file"


def test_an_archive_feeds_every_input_of_the_model(tmp_path: Path) -> None:
    stack, mask = np.ones((2, 4), np.float32), np.eye(2, dtype=np.int64)
    np.savez(tmp_path / "both.npz", x=stack, mask=mask)
    items = list(open_inputs(str(tmp_path / "both.npz"), [VECTOR, MASK]))
    assert [sorted(item.feeds) for item in items] == [["mask", "x"]] * 2
    np.testing.assert_array_equal(items[1].feeds["mask"], mask)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((1, 5), np.float32), r"float32 \[1, 5\].*'x' wants float32 \[1 or more, 4\]"),
        (np.zeros((1, 4), np.float64), r"float64 \[1, 4\].*'x' wants float32"),
        (np.zeros((4,), np.float32), r"float32 \[4\]"),
        (np.zeros((0, 4), np.float32), r"float32 \[0, 4\]"),
        (np.array(["text"]), "<U4"),
    ],
)
def test_an_array_that_does_not_fit_is_named_with_what_would(tmp_path: Path, array: np.ndarray, complaint: str) -> None:
    path = tmp_path / "wrong.npy"
    np.save(path, array)
    with pytest.raises(BadTensor, match=rf"wrong\.npy: holds {complaint}"):
        open_inputs(str(path), [VECTOR])


def test_array_files_are_never_unpickled_and_never_half_read(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    np.savez(tmp_path / "other.npz", y=np.zeros(3))
    np.save(tmp_path / "whole.npy", np.zeros((1, 4), np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-1])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("objects.npy", "objects.npz", "other.npz", "cut.npy", "text.npz", "empty.npy"):
        with pytest.raises(BadTensor, match=name.replace(".", r"\.")):
            list(open_inputs(str(tmp_path / name), [VECTOR]))


def test_a_model_of_several_inputs_needs_an_archive_and_one_of_vectors_takes_no_pictures(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png")
    with pytest.raises(BadTensor, match=r"2 inputs; give a \.npz with the arrays x, mask"):
        open_inputs(str(path), [VECTOR, MASK])
    with pytest.raises(BadTensor, match="no picture"):
        open_inputs(str(path), [VECTOR])


def test_files_that_are_not_there_or_of_no_known_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("?")
    (tmp_path / "empty").mkdir()
    for spec, complaint in (("a.xyz", "cannot tell"), ("b.jpg", "no such file"), ("empty", "holds no picture")):
        with pytest.raises(BadFile, match=complaint):
            open_inputs(str(tmp_path / spec), [NCHW])
    for spec in ("synthetic:many", "synthetic:0", "synthetic:-1"):
        with pytest.raises(BadFile, match="synthetic:100"):
            open_inputs(spec, [NCHW])


def test_synthetic_inputs_are_the_same_for_the_same_seed() -> None:
    first, again, other = (list(open_inputs("synthetic:3", [VECTOR, MASK], InputOptions(seed=s))) for s in (1, 1, 2))
    assert [item.name for item in first] == ["synthetic#0", "synthetic#1", "synthetic#2"]
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.feeds["x"], two.feeds["x"])
        assert (one.feeds["x"] != three.feeds["x"]).all()
        assert one.feeds["x"].dtype == np.float32
        assert one.feeds["mask"].dtype == np.int64


def test_synthetic_encoded_pictures_are_pictures_of_about_a_photographs_size() -> None:
    item = only(list(open_inputs("synthetic:1", [ENCODED])))
    assert decode_picture(item.feeds["encoded"].data).shape == (512, 512, 3)
    assert 30_000 < item.feeds["encoded"].nbytes < 150_000


def test_repetition_counts_its_rounds() -> None:
    inputs = open_inputs("synthetic:2", [VECTOR], InputOptions(repeat=3))
    assert inputs.total == 6
    assert [(item.name[-1], item.round) for item in inputs] == [(n, r) for r in range(3) for n in "01"]
    endless = open_inputs("synthetic:2", [VECTOR], InputOptions(repeat=None))
    assert endless.total is None
    assert [item.round for item in islice(endless, 7)] == [0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(("keep", "files_read"), [(1 << 20, 1), (0, 3)])
def test_later_rounds_come_from_memory_only_where_it_is_allowed(tmp_path: Path, keep: int, files_read: int) -> None:
    """Seen from outside: whether a file that changes between rounds is noticed."""
    path = photograph(tmp_path / "a.png", 0)
    seen = set()
    for item in open_inputs(str(path), [NCHW], InputOptions(repeat=3, keep=keep)):
        seen.add(item.feeds["pictures"].tobytes())
        photograph(path, item.round + 1)
    assert len(seen) == files_read


def video(path: Path, frames: int) -> Path:
    """Frames that grow brighter."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            pixels = np.full((48, 64, 3), 20 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_video_is_read_frame_by_frame(tmp_path: Path) -> None:
    inputs = open_inputs(str(video(tmp_path / "clip.mp4", 8)), [NCHW])
    assert inputs.total is None
    items = list(inputs)
    assert [item.name for item in items] == [f"clip.mp4#{index}" for index in range(8)]
    brightness = [float(item.feeds["pictures"].mean()) * 255 for item in items]
    np.testing.assert_allclose(brightness, [20 * index for index in range(8)], atol=6)


def test_a_video_for_a_model_of_encoded_pictures_is_encoded_frame_by_frame(tmp_path: Path) -> None:
    items = list(open_inputs(str(video(tmp_path / "clip.mp4", 2)), [ENCODED]))
    assert [decode_picture(item.feeds["encoded"].data).shape for item in items] == [(48, 64, 3)] * 2


def test_frames_say_where_and_when_they_are_and_bring_their_pixels_where_asked(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.mp4", 4)
    for asked in (False, True):
        items = list(open_inputs(str(path), [NCHW], InputOptions(pixels=asked)))
        assert [(item.source, item.frame) for item in items] == [(path, index) for index in range(4)]
        times = [item.time for item in items]
        assert times[0] == 0.0 and all(a is not None and b is not None and a < b for a, b in pairwise(times))
        sizes = {item.size for item in items}
        assert sizes == {None if item.pixels is None else item.pixels.shape[:2] for item in items} or not asked
        assert all((item.pixels is not None) is asked for item in items)


def test_what_is_read_once_is_kept_by_nobody(tmp_path: Path) -> None:
    items = iter(open_inputs(str(video(tmp_path / "clip.mp4", 4)), [NCHW], InputOptions(pixels=True)))
    first = weakref.ref(next(items).pixels)
    next(items)
    assert first() is None


def test_a_video_says_how_long_it_is(tmp_path: Path) -> None:
    facts = video_facts(video(tmp_path / "clip.mp4", 8))
    assert facts.frames == 8 and facts.rate is not None and facts.rate > 0
    (tmp_path / "none.mp4").write_bytes(b"no video at all" * 100)
    assert video_facts(tmp_path / "none.mp4") == VideoFacts()


def test_a_video_that_is_none_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video at all" * 100)
    item = only(list(open_inputs(str(tmp_path / "clip.mp4"), [NCHW])))
    assert isinstance(item.error, BadPicture)
    assert "clip.mp4" in str(item.error)


def test_a_video_without_the_package_for_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(MissingExtra, match=r"pip install 'cutwater\[video\]'"):
        open_inputs(str(tmp_path / "clip.mp4"), [NCHW])
