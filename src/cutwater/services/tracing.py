"""TraceFolder: each model's machine's steps in a file of its own, as they happen, to be replayed or told later."""

import contextlib
import logging
from pathlib import Path

from cutwater.drivers.tracefile import TraceFile
from cutwater.engine.trace import Trace
from cutwater.errors import BadFile, BadSetting

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
        """A new trace of the machine for ``model``; what an earlier one wrote there is gone.

        None: none is wanted, or it cannot be written, which is no reason not to serve.
        """
        if self._folder is None:
            return None
        if (before := self._open.pop(model, None)) is not None:
            _shut(before)
        try:
            self._open[model] = trace = TraceFile(self._folder / f"{self._who}.{model}.jsonl")
        except BadFile as error:
            _log.error("%s is not recorded: %s", model, error)
            return None
        return trace

    def flush(self) -> None:
        """Have on disk what was recorded; what cannot be written ends."""
        for model, trace in tuple(self._open.items()):
            try:
                trace.flush()
            except (OSError, ValueError) as error:  # the latter: it could not be opened anew, and is closed
                _log.error("%s is recorded no more: %s", model, error)
                _shut(self._open.pop(model))


def _shut(trace: TraceFile) -> None:
    """It closes, even where what it still holds cannot be written."""
    with contextlib.suppress(OSError):
        trace.close()
