"""Forecaster: `whatif` in a process of its own, started when somebody asks and ended when nobody has for a while.

Run with ``python -m`` and a folder of blobs it reads questions from stdin and writes answers to stdout, each as four
bytes of length and msgpack; it ends when stdin does.
"""

import asyncio
import contextlib
import logging
import os
import sys
import traceback
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from cutwater.errors import ProcessLost, Refused
from cutwater.services.dashboard.forecasts import AskChart, AskForecast, Question, Told
from cutwater.services.facts import decode, encode
from cutwater.units import Seconds

IDLE: Seconds = 120.0
"""Without a question for so long, the process is ended, with all the memory its models took."""
LIMIT: Seconds = 60.0
"""For one answer."""
LINE = 8
"""Most questions that wait."""
_LENGTH = 4
_log = logging.getLogger(__name__)


class Forecaster:
    """Answers one question after the other."""

    def __init__(self, folder: Path) -> None:
        """``folder``: where blobs are found."""
        self._folder = folder
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._rest: asyncio.TimerHandle | None = None

    async def ask(self, asked: AskChart | AskForecast) -> Told:
        """The answer.

        Raises:
            Refused: too many questions wait already.
            ProcessLost: the process ended instead of answering, or took too long.
        """
        if self._waiting >= LINE:
            raise Refused("too many forecasts are asked for at once; ask again in a second")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._answer_to(asked)
        finally:
            self._waiting -= 1

    async def _answer_to(self, asked: AskChart | AskForecast) -> Told:
        try:
            async with asyncio.timeout(LIMIT):
                return decode(await self._ask(encode(Question(asked))), Told)
        except (asyncio.IncompleteReadError, OSError) as error:  # or it cannot be started, or takes too long
            self.close()
            _log.error("the forecaster ended: %s", error)
            how = f"took over {LIMIT:g} s" if isinstance(error, TimeoutError) else "ended instead of answering"
            raise ProcessLost(f"the forecaster {how}; the gateway's log tells more") from error
        except asyncio.CancelledError:
            self.close()  # its answer would be taken for that of the next question
            raise

    async def _ask(self, data: bytes) -> bytes:
        if self._rest is not None:
            self._rest.cancel()
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cutwater.services.dashboard.forecaster", str(self._folder)),
                stdin=PIPE,
                stdout=PIPE,
                env={"ORT_DISABLE_TELEMETRY": "1", **os.environ},
            )
        reading, writing = self._process.stdout, self._process.stdin
        assert reading is not None
        assert writing is not None
        writing.write(len(data).to_bytes(_LENGTH, "big") + data)
        await writing.drain()
        length = int.from_bytes(await reading.readexactly(_LENGTH), "big")
        found = await reading.readexactly(length)
        self._rest = asyncio.get_running_loop().call_later(IDLE, self.close)
        return found

    def close(self) -> None:
        """End the process; the next question starts another one."""
        if self._rest is not None:
            self._rest.cancel()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None


def main() -> None:
    """The child's side."""
    # Only the child knows models and engines; the gateway stays small.
    from cutwater.services.coordinator.library import Library
    from cutwater.services.dashboard.whatif import answer

    library = Library(Path(sys.argv[1]))
    # Whatever an engine prints goes where people look for it, not between the answers.
    writing = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reading = sys.stdin.buffer
    os.nice(5)  # requests go first
    while len(head := reading.read(_LENGTH)) == _LENGTH:
        question = decode(reading.read(int.from_bytes(head, "big")), Question)
        data = encode(answer(question.asked, library))
        writing.write(len(data).to_bytes(_LENGTH, "big") + data)
        writing.flush()


if __name__ == "__main__":
    try:
        main()
    except Exception:  # noqa: BLE001 - the edge of the process: the gateway's log has the reason
        traceback.print_exc()
        sys.exit(1)
