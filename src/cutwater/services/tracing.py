"""TraceFolder: each model's machine's steps in a file of its own, as they happen, to be replayed or told later."""

import logging
from pathlib import Path
from typing import Any, BinaryIO

from cutwater.engine.trace import Step, Trace, to_lines
from cutwater.errors import BadSetting

LIMIT = 2**30
"""Bytes after which a file takes no more steps."""
_BUFFER = 256 * 1024

_log = logging.getLogger(__name__)


class TraceFolder:
    """The trace files of one process."""

    def __init__(self, folder: Path | None, who: str) -> None:
        """``folder`` is where they lie, None: nothing is recorded; ``who`` is the process. Raises BadSetting."""
        self._folder, self._who = folder, who
        self._open: list[TraceFile] = []
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadSetting(f"gateway.trace: cannot make {folder}: {error.strerror}") from error

    def open(self, model: str) -> Trace | None:
        """A new trace of the machine for ``model``; what an earlier one wrote there is gone. None: none is wanted."""
        if self._folder is None:
            return None
        trace = TraceFile(self._folder / f"{self._who}.{model}.jsonl")
        self._open.append(trace)
        return trace

    def flush(self) -> None:
        """Have on disk what was recorded."""
        for trace in self._open:
            trace.flush()


class TraceFile(Trace):
    """Steps as lines of a file; none is kept in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(limit=0)
        self._path = path
        self._file: BinaryIO | None = path.open("wb", buffering=_BUFFER)
        self._nbytes = 0

    def append(self, now: float, who: str, event: Any, commands: list[Any]) -> None:
        """See `Trace.append`."""
        self.written += 1
        if self._file is None:
            return
        for line in to_lines([Step(now, who, event, commands)]):
            self._file.write(line)
            self._nbytes += len(line)
        if self._nbytes > LIMIT:
            _log.warning("%s is full: no more steps are recorded", self._path)
            self._file.close()
            self._file = None

    def flush(self) -> None:
        """Have on disk what was recorded."""
        if self._file is not None:
            self._file.flush()
