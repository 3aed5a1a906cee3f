"""A standing process, such as a node agent: told its settings, says when it serves, logs in bounds, ends on SIGTERM.

It is started with one argument, a file of settings (`cutwater.settings.handover`). Its first line on stdout is
`Serving` or `Unable`; from then on stdout is where stderr is. `services/background.py` is the other side.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from cutwater.drivers.loop import run
from cutwater.errors import BadSetting, CutwaterError
from cutwater.observe.logs import Damper, hush, make_lines
from cutwater.services.words import Serving, Unable
from cutwater.settings.handover import read_handover
from cutwater.settings.settings import Settings

LOG = "CUTWATER_LOG"
"""Variable with the file that stderr is; unset: stderr is somebody's terminal, and nobody bounds it."""


Say = Callable[[dict[str, str]], None]
Serve = Callable[[Settings, Say, asyncio.Event], Awaitable[None]]
"""Serve under these settings, ``say`` the facts once it does, and return soon after the event ("stop") is set."""


def stand(serve: Serve) -> int:
    """Run a standing process to its end; the exit code is 0 if it ended because it should."""
    try:
        if len(sys.argv) != 2:
            raise BadSetting(f"{sys.argv[0]} takes one argument: a file of settings")
        settings = read_handover(Path(sys.argv[1]))
        _log_as(settings)
        run(_serve(serve, settings))
    except CutwaterError as error:
        _print(Unable(error.kind, str(error)))
        logging.getLogger("cutwater").error("%s: %s", error.kind, error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:
        logging.getLogger("cutwater").critical("this process ends because of a mistake in its code", exc_info=True)
        return 1
    return 0


async def _serve(serve: Serve, settings: Settings) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(settings, lambda facts: _print(Serving(facts)), stop)


def _print(words: Serving | Unable) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
    sys.stdout.buffer.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _log_as(settings: Settings) -> None:
    path = os.environ.get(LOG)
    handler = BoundedLog(Path(path), settings.cluster.log_limit) if path else logging.StreamHandler()
    handler.setFormatter(make_lines(settings.observe.log_format, _name(Path(path or sys.argv[0]).stem, settings)))
    handler.addFilter(Damper())
    logging.basicConfig(level=settings.observe.log_level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    hush()


def _name(file: str, settings: Settings) -> str:
    """Of this process: its log's, which on a machine that has joined is only what it is there."""
    names = {"coordinator": settings.coordinator.name, "gateway": settings.gateway.name, "node": settings.node.name}
    return names.get(file) or file


class BoundedLog(logging.Handler):
    """Writes to stderr, which is a file, and begins the file anew when it has become too long.

    Whatever else prints on stderr, such as the interpreter when it dies, ends up in the same file.
    """

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__()
        self._path = path
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, which stays in the file that is looked at first, however long it is.

        One that cannot be written is lost, as on a full disk: that is no reason for what has something to say to end.
        """
        try:
            descriptor = sys.stderr.fileno()
            if os.fstat(descriptor).st_size > self._limit:
                self._begin_anew(descriptor)
            os.write(descriptor, (self.format(record) + "\n").encode())
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)

    def _begin_anew(self, descriptor: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # somebody has tidied up
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.path.sameopenfile(sys.stdout.fileno(), descriptor):  # not before the process has said that it serves
            os.dup2(fresh, sys.stdout.fileno())
        os.dup2(fresh, descriptor)
        os.close(fresh)
