"""What a run is fed: pictures, folders, videos, arrays or seeded noise, prepared as the model's inputs want them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count, takewhile
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadFile, BadPicture, BadTensor, InputError, MissingExtra
from cutwater.graph.graph import Tensor
from cutwater.units import Seconds
from cutwater.vision.pictures import SUFFIXES, Pixels, decode_picture, encode_picture
from cutwater.vision.prepare import Preparation, is_encoded, picture_input, prepare
from cutwater.vision.resize import stretch

Array = NDArray[np.generic]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
ARRAY_SUFFIXES = (".npy", ".npz")
SYNTHETIC = "synthetic"
SYNTHETIC_COUNT = 16
"""Distinct inputs of "synthetic" without a number."""


@dataclass(frozen=True)
class InputOptions:
    """How inputs are read."""

    preparation: Preparation = field(default_factory=Preparation)
    """For pictures and videos where the model takes pixels; one that takes encoded pictures prepares them itself."""
    repeat: int | None = 1
    """How many times to go through all inputs; None: until nobody asks any more."""
    seed: int = 0
    """Of synthetic inputs."""
    keep: int = 256 * 2**20
    """Bytes of prepared inputs to keep for the next round; where they do not fit, every round reads them anew."""
    pixels: bool = False
    """Whether items bring their pictures' pixels along, for those who draw on them."""


@dataclass(frozen=True)
class Item:
    """One request's input, or why there is none."""

    name: str
    """"goose.jpg", "frames.npy#3", "street.mp4#120", "synthetic#7"."""
    feeds: Mapping[str, Array]
    """Input name -> array; empty where ``error`` is set."""
    error: InputError | None = None
    """What is wrong with this one; the others continue."""
    round: int = 0
    """Which time through the inputs this is, from 0."""
    source: Path | None = None
    """The file it comes from; None: it was made up."""
    size: tuple[int, int] | None = None
    """Height and width of the picture or frame; None: it is none."""
    pixels: Pixels | None = field(default=None, repr=False, compare=False)
    """The picture itself, where `InputOptions.pixels` asks for it."""
    frame: int | None = None
    """Of a video: which frame, from 0."""
    time: Seconds | None = None
    """Of a video's frame: when it is shown; None: the video does not say."""


class Inputs:
    """A sequence of items, read while it is iterated; every iteration starts over."""

    def __init__(self, sources: Sequence["_Source"], options: InputOptions) -> None:
        self._sources = sources
        self._options = options

    @property
    def total(self) -> int | None:
        """How many items will come; None for videos and for endless repetition."""
        counts = [source.count for source in self._sources]
        if self._options.repeat is None or None in counts:
            return None
        return self._options.repeat * sum(each for each in counts if each is not None)

    def __iter__(self) -> Iterator[Item]:
        shelf: list[Item] = []
        room = self._options.keep if self._options.repeat != 1 else -1
        for number in count() if self._options.repeat is None else range(self._options.repeat):
            first, seen = number == 0, False
            for item in self._read() if first or room < 0 else shelf:
                seen = True
                if first and room >= 0:
                    room -= sum(array.nbytes for array in item.feeds.values())
                    room -= item.pixels.nbytes if item.pixels is not None else 0
                    shelf.append(item)
                    if room < 0:
                        shelf.clear()
                yield replace(item, round=number)
            if not seen:
                return

    def _read(self) -> Iterator[Item]:
        for source in self._sources:
            yield from source.read()


@dataclass(frozen=True)
class _Source:
    """Somewhere items come from."""

    count: int | None
    read: Callable[[], Iterator[Item]]


def open_inputs(
    specs: str | Sequence[str], graph_inputs: Sequence[Tensor], options: InputOptions = InputOptions()
) -> Inputs:
    """The items that one or several specifications name.

    Args:
        specs: A picture, a folder of pictures and arrays, a video, a ``.npy`` (one input, or many stacked along the
            batch axis), a ``.npz`` (one array per input name), ``"synthetic"`` or ``"synthetic:N"``.
        graph_inputs: The model's inputs, in the shape of one request. Pictures need exactly one: float [1, 3, height,
            width] or [1, height, width, 3], or uint8 [n], which takes the picture's file as it is.

    Raises:
        BadFile: No such file, an empty folder, or a kind of file that cannot be read.
        BadTensor: Pictures for a model that takes none, or an array of another shape or type than the model's input.
        MissingExtra: A video, and the package to decode it is not installed.
    """
    names = [specs] if isinstance(specs, str) else specs
    return Inputs([source for spec in names for source in _sources(spec, graph_inputs, options)], options)


def good_feeds(items: Inputs, most: int) -> list[Mapping[str, Array]]:
    """The feeds of the first ``most`` inputs that can be read. Raises the first one's error where none can."""
    found: list[Mapping[str, Array]] = []
    error: InputError | None = None
    for item in takewhile(lambda item: item.round == 0, items):
        if item.error is None:
            found.append(item.feeds)
        error = error or item.error
        if len(found) == most:
            break
    if not found:
        raise error or BadFile("there are no inputs")
    return found


def _sources(spec: str, tensors: Sequence[Tensor], options: InputOptions) -> list[_Source]:
    if spec == SYNTHETIC or spec.startswith(f"{SYNTHETIC}:"):
        return [_synthetic(spec, tensors, options.seed)]
    path = Path(spec)
    if path.is_dir():
        known = (*SUFFIXES, *ARRAY_SUFFIXES)
        files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in known)
        if not files:
            raise BadFile(f"{path}: the folder holds no picture and no array ({', '.join(known)})")
        return [_file_source(file, tensors, options) for file in files]
    if not path.is_file():
        raise BadFile(f"{path}: no such file or folder; give a picture, folder, video, .npy, .npz or {SYNTHETIC!r}")
    return [_file_source(path, tensors, options)]


def _file_source(path: Path, tensors: Sequence[Tensor], options: InputOptions) -> _Source:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _stacks(path, {_only(tensors, path).name: _open_npy(path)}, tensors)
    if suffix == ".npz":
        return _stacks(path, _open_npz(path, tensors), tensors)
    if suffix in SUFFIXES:
        target = picture_input([_only(tensors, path)], str(path))
        return _Source(1, lambda: iter([_picture(path, target, options)]))
    if suffix in VIDEO_SUFFIXES:
        target = picture_input([_only(tensors, path)], str(path))
        need_video(path)
        return _Source(None, lambda: _frames(path, target, options))
    known = (*SUFFIXES, *VIDEO_SUFFIXES, *ARRAY_SUFFIXES)
    raise BadFile(f"{path}: cannot tell what {suffix or 'a file without suffix'} is; known are {', '.join(known)}")


def _only(tensors: Sequence[Tensor], path: Path) -> Tensor:
    if len(tensors) != 1:
        wanted = ", ".join(tensor.name for tensor in tensors)
        raise BadTensor(f"{path}: the model has {len(tensors)} inputs; give a .npz with the arrays {wanted}")
    return tensors[0]


# Pictures


def _picture(path: Path, target: Tensor, options: InputOptions) -> Item:
    try:
        encoded = path.read_bytes()
        # Where a stage decodes it, it would find out too, but a broken file need not travel.
        pixels = decode_picture(encoded, str(path))
    except BadPicture as error:
        return Item(path.name, {}, error, source=path)
    except OSError as error:
        return Item(path.name, {}, BadPicture(f"{path}: cannot be read ({error.strerror})"), source=path)
    if is_encoded(target):
        value: Array = np.frombuffer(encoded, np.uint8)
    else:
        value = prepare(pixels, target, options.preparation)
    kept = pixels if options.pixels else None
    return Item(path.name, {target.name: value}, source=path, size=pixels.shape[:2], pixels=kept)


def _encode(pixels: Pixels) -> Array:
    return np.frombuffer(encode_picture(pixels), np.uint8)


def need_video(path: str | Path) -> None:
    """Raises MissingExtra where videos cannot be read."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise MissingExtra(
            f"{path}: reading videos needs the extra `video`: "
            "pip install 'cutwater[video]', or '.[video]' in its source folder"
        ) from None


@dataclass(frozen=True)
class VideoFacts:
    """What a video says of itself; None where it does not."""

    frames: int | None = None
    rate: Fraction | None = None
    """Frames per second, on average."""


def video_facts(path: Path) -> VideoFacts:
    """What the head of a video says; nothing, where it cannot be read."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return VideoFacts(stream.frames or None, stream.average_rate or None)
    except (av.FFmpegError, IndexError):
        return VideoFacts()


def _frames(path: Path, target: Tensor, options: InputOptions) -> Iterator[Item]:
    """A packet that cannot be decoded is one item's error, and the video goes on; one that cannot be read ends it."""
    import av

    index = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    yield _broken(path, index, f"cannot be decoded ({error})")
                    index += 1
                    continue
                for frame in frames:
                    yield _frame(path, index, frame.to_ndarray(format="rgb24"), frame.time, target, options)
                    index += 1
    except (av.FFmpegError, IndexError) as error:
        yield _broken(path, index, f"cannot be read ({error}); the video ends here")


def _broken(path: Path, index: int, why: str) -> Item:
    return Item(f"{path.name}#{index}", {}, BadPicture(f"{path}: frame {index} {why}"), source=path, frame=index)


def _frame(path: Path, index: int, pixels: Pixels, time: Seconds | None, target: Tensor, options: InputOptions) -> Item:
    value = _encode(pixels) if is_encoded(target) else prepare(pixels, target, options.preparation)
    return Item(
        f"{path.name}#{index}",
        {target.name: value},
        source=path,
        size=pixels.shape[:2],
        pixels=pixels if options.pixels else None,
        frame=index,
        time=time,
    )


# Arrays


def _open_npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadTensor(f"{path}: not a .npy file of numbers, or truncated ({error})") from None
    return array


def _open_npz(path: Path, tensors: Sequence[Tensor]) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [tensor.name for tensor in tensors if tensor.name not in archive.files]
            if missing:
                raise BadTensor(f"{path}: has no array {', '.join(missing)}; it holds {', '.join(archive.files)}")
            return {tensor.name: archive[tensor.name] for tensor in tensors}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise BadTensor(f"{path}: not a .npz file of numbers, or truncated ({error})") from None


def _stacks(path: Path, arrays: Mapping[str, Array], tensors: Sequence[Tensor]) -> _Source:
    """One item per request in arrays that hold one or, stacked along the batch axis, several."""
    counts = {tensor.name: _requests_in(path, arrays[tensor.name], tensor) for tensor in tensors}
    requests = max(counts.values())
    if any(other not in (1, requests) for other in counts.values()):
        raise BadTensor(f"{path}: the arrays hold different numbers of requests: {counts}")

    def read() -> Iterator[Item]:
        for index in range(requests):
            feeds = {
                tensor.name: _one(arrays[tensor.name], tensor, index if counts[tensor.name] > 1 else 0)
                for tensor in tensors
            }
            yield Item(path.name if requests == 1 else f"{path.name}#{index}", feeds)

    return _Source(requests, read)


def _batch_axis(tensor: Tensor) -> int | None:
    if tensor.batch_axis is not None:
        return tensor.batch_axis
    return 0 if tensor.shape[:1] == (1,) else None


def _requests_in(path: Path, array: Array, tensor: Tensor) -> int:
    """How many requests an array holds. Raises BadTensor where it does not fit the input."""
    axis = _batch_axis(tensor)
    expected: list[object] = list(tensor.shape)
    requests = 1
    if is_encoded(tensor):
        fits, expected = array.ndim == 1 and array.size > 0, ["any length"]
    elif axis is None:
        fits = array.shape == tensor.shape
    else:
        fits = array.ndim == len(tensor.shape) and np.delete(array.shape, axis).tolist() == [
            size for index, size in enumerate(tensor.shape) if index != axis
        ]
        requests = array.shape[axis] if fits else 1
        expected[axis] = f"{expected[axis]} or more"
    if not fits or requests < 1 or array.dtype != np.dtype(tensor.dtype):
        wanted = ", ".join(map(str, expected))
        raise BadTensor(
            f"{path}: holds {array.dtype} {list(array.shape)}; "
            f"the model's input {tensor.name!r} wants {tensor.dtype} [{wanted}]"
        )
    return requests


def _one(array: Array, tensor: Tensor, index: int) -> Array:
    axis = _batch_axis(tensor)
    if is_encoded(tensor) or axis is None:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(np.take(array, [index], axis=axis))


# Noise


def _synthetic(spec: str, tensors: Sequence[Tensor], seed: int) -> _Source:
    _, _, number = spec.partition(":")
    if number and not (number.isdecimal() and int(number) > 0):
        raise BadFile(f"{spec!r}: write {SYNTHETIC!r} or, for a number of distinct inputs, '{SYNTHETIC}:100'")
    distinct = int(number) if number else SYNTHETIC_COUNT

    def read() -> Iterator[Item]:
        rng = np.random.default_rng(seed)
        for index in range(distinct):
            yield Item(f"{SYNTHETIC}#{index}", {tensor.name: _noise(tensor, rng) for tensor in tensors})

    return _Source(distinct, read)


def _noise(tensor: Tensor, rng: np.random.Generator) -> Array:
    if is_encoded(tensor):
        # Coarse noise, enlarged: about as large a file as a photograph of the size.
        coarse = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return _encode(stretch(coarse, 512, 512))
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(tensor.shape, dtype=np.float32).astype(dtype)
    # Small enough to be an index into any axis with more than one entry.
    return rng.integers(0, 256 if dtype == np.uint8 else 2, tensor.shape).astype(dtype)
