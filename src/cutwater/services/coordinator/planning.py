"""PlannerProcess: the planner in a process of its own, so that a coordinator's beats and lease go on while it works.

Run with ``python -m`` and a folder it reads commands from stdin and writes answers to stdout, each as four bytes of
length and msgpack; it ends when stdin does. It is started for the first plan and ended when it had nothing to
do for a while, with all the memory its models took.
"""

import asyncio
import contextlib
import logging
import os
import sys
import traceback
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from cutwater.engine.control import MakePlan, Planned
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.fault import Fault
from cutwater.errors import CutwaterError
from cutwater.services.facts import decode, encode
from cutwater.units import Seconds

IDLE: Seconds = 900.0
"""Without work for so long, the process is ended."""
LIMIT: Seconds = 600.0
"""For one plan, its model's reading and cutting included; then the process hangs, and others wait behind it."""
_LENGTH = 4
_log = logging.getLogger(__name__)


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Read this model, so that the first plan need not wait for it; there is no answer."""

    record: ModelRecord


class PlannerProcess:
    """Plans one command after the other."""

    def __init__(self, folder: Path, limit: Seconds = LIMIT) -> None:
        """``folder``: where blobs are found, and stages put; ``limit``: time for one plan."""
        self._limit = limit
        self._folder = folder
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._rest: asyncio.TimerHandle | None = None
        self.awake: Callable[[], bool] = lambda: False
        """Whether a plan may be needed at any moment: then the process stays, however long it has nothing to do."""

    async def prepare(self, record: ModelRecord) -> None:
        """Have the model read before a plan is needed; its blobs are here. Whatever is wrong shows when it is."""
        async with self._turn:
            try:
                await self._say(Prepare(record))
            except OSError as error:
                await self.close()
                _log.warning("the planner cannot be prepared for %s: %s", record.name, error)
            self._arm()

    async def plan(self, command: MakePlan) -> Planned:
        """The planner's answer; a fault in it if the process ended instead of answering."""
        async with self._turn:
            if self._rest is not None:
                self._rest.cancel()
            try:
                async with asyncio.timeout(self._limit):
                    return await self._ask(command)
            except (asyncio.IncompleteReadError, OSError) as error:  # or it cannot be started, or takes too long
                await self.close()
                how = f"took over {self._limit:g} s for" if isinstance(error, TimeoutError) else "ended while planning"
                fault = Fault("ProcessLost", f"the planner {how} {command.spec.model}", "planner", True)
                _log.error("%s: %s", fault.message, error)
                return Planned(model=command.spec.model, ticket=command.ticket, fault=fault)
            except asyncio.CancelledError:
                self.kill()  # its answer would be taken for that of the next command
                raise
            finally:
                self._arm()

    def _arm(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = asyncio.get_running_loop().call_later(IDLE, self._tire)

    def _tire(self) -> None:
        """It had nothing to do for a while."""
        if self.awake():
            self._arm()
        else:
            self.kill()

    def kill(self) -> None:
        """End it at once; the next command starts another one."""
        if self._rest is not None:
            self._rest.cancel()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        return None if self._process is None else self._process.pid

    async def close(self) -> None:
        """End it, and wait until it has ended."""
        process = self._process
        self.kill()
        if process is not None:
            await process.wait()

    async def _ask(self, command: MakePlan) -> Planned:
        process = await self._say(command)
        assert process.stdout is not None
        length = int.from_bytes(await process.stdout.readexactly(_LENGTH), "big")
        return decode(await process.stdout.readexactly(length), Planned)

    async def _say(self, command: MakePlan | Prepare) -> Process:
        """To the process, which is started if there is none."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "cutwater.services.coordinator.planning",
                str(self._folder),
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
                env={"ORT_DISABLE_TELEMETRY": "1", **os.environ},
            )
        process = self._process
        assert process.stdin is not None
        process.stdin.write(_framed(encode(command)))
        await process.stdin.drain()
        return process


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH, "big") + data


def serve(
    reading: BinaryIO,
    writing: BinaryIO,
    answer: Callable[[MakePlan], Planned],
    prepare: Callable[[ModelRecord], object],
) -> None:
    """Obey commands until there are no more."""
    while len(head := reading.read(_LENGTH)) == _LENGTH:
        data = reading.read(int.from_bytes(head, "big"))
        command: MakePlan | Prepare = decode(data, MakePlan | Prepare)  # type: ignore[arg-type]
        if isinstance(command, Prepare):
            with contextlib.suppress(CutwaterError):  # said when a plan is asked for
                prepare(command.record)
            continue
        writing.write(_framed(encode(answer(command))))
        writing.flush()


def main() -> None:
    """The child's side."""
    # Only the child knows models and engines; the coordinator stays small.
    from cutwater.services.coordinator.library import Library
    from cutwater.services.coordinator.planner import answer

    library = Library(Path(sys.argv[1]))
    # Whatever an engine prints goes where people look for it, not between the answers.
    writing = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, writing, lambda command: answer(command, library), library.subject)


if __name__ == "__main__":
    try:
        main()
    except Exception:  # noqa: BLE001 - the edge of the process: whoever started it finds the reason on stderr
        traceback.print_exc()
        sys.exit(1)
