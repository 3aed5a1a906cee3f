"""TraceFolder: each model's machine's steps in a file of its own, as they happen, to be replayed or told later."""

import contextlib
import logging
from pathlib import Path

from cutwater.drivers.tracefile import TraceFile
from cutwater.engine.trace import Trace
from cutwater.errors import BadSetting

_log = logging.getLogger(__name__)


class TraceFolder:
    """The trace files of one process."""

    def __init__(self, folder: Path | None, who: str) -> None:
        """``folder`` is where they lie, None: nothing is recorded; ``who`` is the process. Raises BadSetting."""
        self._folder, self._who = folder, who
        self._open: dict[str, TraceFile] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadSetting(f"the trace folder: cannot make {folder}: {error.strerror}") from error

    def open(self, model: str) -> Trace | None:
        """A new trace of the machine for ``model``; what an earlier one wrote there is gone. None: none is wanted."""
        if self._folder is None:
            return None
        if (before := self._open.pop(model, None)) is not None:
            before.close()
        self._open[model] = trace = TraceFile(self._folder / f"{self._who}.{model}.jsonl")
        return trace

    def flush(self) -> None:
        """Have on disk what was recorded; what cannot be written ends."""
        for model, trace in tuple(self._open.items()):
            try:
                trace.flush()
            except OSError as error:
                _log.error("%s is recorded no more: %s", model, error)
                del self._open[model]
                with contextlib.suppress(OSError):  # it closes, though what it holds cannot be written
                    trace.close()
