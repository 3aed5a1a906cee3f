"""Writes what a detector saw onto pictures and videos, in the order they come, and never more than one frame ahead."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cutwater.errors import BadFile, InputError
from cutwater.lab.inputs import VIDEO_SUFFIXES, Item, need_video, video_facts
from cutwater.units import Seconds
from cutwater.vision.detect import Detection
from cutwater.vision.draw import draw_detections
from cutwater.vision.pictures import Pixels, encode_picture

WRITABLE = (".mp4", ".mov", ".mkv")
"""Videos that can be written: containers that keep the time of each frame."""
TICKS = 90_000
"""Per second: what videos count time in."""
USUAL_RATE = Fraction(25)
"""Frames per second, where a video does not say."""


@dataclass(frozen=True)
class Target:
    """Where drawings go: a folder, or one file for one video."""

    path: Path
    one_video: bool


def drawing_target(path: Path, inputs: Sequence[str]) -> Target:
    """What ``--annotate PATH`` means for these inputs.

    Raises:
        InputError: one file for anything but one video.
        BadFile: the file cannot be written, or the folder cannot be made.
        MissingExtra: a video, and the package to write it is not installed.
    """
    videos = [name for name in inputs if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        need_video(videos[0])
    if path.suffix.lower() in WRITABLE:
        if len(inputs) != 1 or not videos:
            raise InputError(f"--annotate {path}: one file is for one video; give a folder for anything else")
        try:
            path.open("wb").close()
        except OSError as error:
            raise BadFile(f"--annotate {path}: cannot be written: {error.strerror}") from error
        return Target(path, one_video=True)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise InputError(f"--annotate {path}: videos are written as {', '.join(WRITABLE)}")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"--annotate {path}: cannot be made a folder: {error.strerror}") from error
    return Target(path, one_video=False)


class Drawings:
    """A context; at its end, however it comes, the video that is being written is complete up to its last frame."""

    def __init__(self, target: Target, names: Sequence[str]) -> None:
        """``names``: of the classes, by number."""
        self._target = target
        self._names = names
        self._video: _Video | None = None
        self._source: Path | None = None
        self._taken: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_video()

    def add(self, item: Item, seen: Sequence[Detection]) -> None:
        """Draw, and write. Only the first round of inputs is; what is no picture is left out.

        A frame that could not be decoded is the one before it once more, so that there are as many as before.

        Raises:
            BadFile: it cannot be written.
        """
        if item.round or item.source is None or (item.pixels is None and item.frame is None):
            return
        drawn = None if item.pixels is None else draw_detections(item.pixels, seen, self._names)
        try:
            if item.frame is not None:
                self._video_of(item.source).add(drawn, item.time)
            elif drawn is not None:
                kind = "PNG" if item.source.suffix.lower() == ".png" else "JPEG"
                suffix = ".png" if kind == "PNG" else ".jpg"
                (self._target.path / self._free(item.source.stem, suffix)).write_bytes(encode_picture(drawn, kind))
        except OSError as error:  # PyAV's errors are of this kind, too
            raise BadFile(f"{self._target.path}: cannot be written: {error.strerror}") from error

    def _video_of(self, source: Path) -> "_Video":
        if self._video is None or source != self._source:
            self._end_video()
            target = self._target
            path = target.path if target.one_video else target.path / self._free(source.stem, ".mp4")
            self._video, self._source = _Video(path, video_facts(source).rate or USUAL_RATE), source
        return self._video

    def _end_video(self) -> None:
        video, self._video = self._video, None
        if video is None:
            return
        try:
            video.close()
        except OSError as error:
            raise BadFile(f"{video.path}: cannot be written: {error.strerror}") from error

    def _free(self, stem: str, suffix: str) -> str:
        """A name that nothing was written under in this run: inputs of several folders may be called the same."""
        count = self._taken[stem] = self._taken.get(stem, 0) + 1
        return f"{stem}{suffix}" if count == 1 else f"{stem}-{count}{suffix}"


class _Video:
    """A video file while it is written."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        import av

        self.path = path
        self._rate = rate
        self._container = av.open(str(path), "w")
        self._stream: Any = None
        self._last: Pixels | None = None
        self._owed: list[Seconds | None] = []
        """Times of frames before the first that could be decoded."""
        self._ticks = -1
        self._frames = 0

    def add(self, pixels: Pixels | None, time: Seconds | None) -> None:
        """The next frame; None: the last one again, or where there is none yet, the first one that comes twice."""
        if pixels is None and self._last is None:
            self._owed.append(time)
            return
        self._last = self._last if pixels is None else pixels
        assert self._last is not None
        for at in (*self._owed, time):
            self._write(self._last, self._frames / self._rate if at is None else at)
        self._owed.clear()

    def close(self) -> None:
        """Write what the encoder still holds, and the index without which nobody can play the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def _begin(self, pixels: Pixels) -> Any:
        stream = self._container.add_stream(_codec(), rate=self._rate, options={"preset": "veryfast"})
        height, width = pixels.shape[:2]
        # Half the resolution in colour means even sizes.
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        return stream

    def _write(self, pixels: Pixels, at: Seconds | Fraction) -> None:
        import av

        if self._stream is None:
            self._stream = self._begin(pixels)
        more = ((0, self._stream.height - pixels.shape[0]), (0, self._stream.width - pixels.shape[1]), (0, 0))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.pad(pixels, more, "edge")), format="rgb24")
        # Times must grow, whatever the source says.
        self._ticks = max(self._ticks + 1, round(at * TICKS))
        frame.pts, frame.time_base = self._ticks, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))
        self._frames += 1


def _codec() -> str:
    """H.264 where this build of FFmpeg has it, which everything plays; MPEG-4 otherwise, which each build has."""
    import av

    return "libx264" if "libx264" in av.codecs_available else "mpeg4"
