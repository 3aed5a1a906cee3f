"""TraceFile: a trace written to disk as it happens, in two files of bounded size, of which the older one goes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from cutwater.engine.machine import Machine
from cutwater.engine.trace import Birth, Line, Step, Trace, from_line, to_line
from cutwater.errors import BadFile
from cutwater.units import Seconds

LIMIT = 2**30
"""Bytes of both files together."""
_BUFFER = 256 * 1024


class TraceFile(Trace):
    """Steps as lines of a file; none is kept in memory."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        """A new trace at ``path``; with half of ``limit`` bytes it becomes ``path`` with ``.1``. Raises BadFile."""
        super().__init__(limit=0)
        self._path = path
        self._half = limit // 2
        self._nbytes = 0
        try:
            self._file = path.open("wb", buffering=_BUFFER)
            older(path).unlink(missing_ok=True)
        except OSError as error:
            raise BadFile(f"{path}: cannot write a trace: {error.strerror}") from error

    def begin(self, who: str, machine: Machine[Any, Any, Any]) -> None:
        """See `Trace.begin`."""
        super().begin(who, machine)
        self._write(to_line(self.births[who]))

    def append(self, now: Seconds, who: str, event: Any, commands: list[Any]) -> None:
        """See `Trace.append`."""
        self.written += 1
        self._write(to_line(Step(now, who, event, commands)))

    def _write(self, line: bytes) -> None:
        if self._file.closed:  # the machine ends after its trace, whose place another one's has taken
            return
        self._file.write(line)
        self._nbytes += len(line)
        if self._nbytes > self._half:
            self._turn()

    def _turn(self) -> None:
        """Go on in a new file."""
        self._file.close()
        self._path.replace(older(self._path))
        self._file = self._path.open("wb", buffering=_BUFFER)
        self._nbytes = 0
        for birth in self.births.values():
            line = to_line(replace(birth, whole=False))
            self._file.write(line)
            self._nbytes += len(line)

    def flush(self) -> None:
        """Have on disk what was recorded."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left, and no more."""
        self._file.close()


def older(path: Path) -> Path:
    """Where the older half of a trace is."""
    return path.with_name(path.name + ".1")


def read_trace(path: Path) -> Iterator[Line]:
    """The lines of a trace, those of its older half first.

    Raises:
        BadFile: It cannot be read, or a line is none of a trace.
    """
    born: set[str] = set()
    for part in (older(path), path) if older(path).exists() else (path,):
        for line in _lines(part):
            if isinstance(line, Birth):
                if not line.whole and line.who in born:
                    continue
                born.add(line.who)
            yield line


def _lines(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    return  # still being written, or its process was killed
                try:
                    yield from_line(text)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise BadFile(f"{path}, line {number}: this is no line of a trace: {error}") from error
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror}") from error
