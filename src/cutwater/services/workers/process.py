"""WorkerProcess: starts a stage worker, waits until it serves, hears how it is doing, and knows why it ended."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable

import msgspec

from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import GiveBack, Want
from cutwater.errors import WorkerLost
from cutwater.services.words import Unable
from cutwater.services.workers.setup import HUNG, Hearing, Pulse, Ready, Saying, WorkerSetup
from cutwater.units import NodeId, Seconds

LAST_WORDS = 20
"""Lines of stderr that are kept."""
LONG = 500
"""Bytes of each of them: what a node says of its workers has to fit into a beat."""
FAREWELL: Seconds = 2.0
"""How long a worker whose stdin is closed may take to end before it is killed."""


_saying = msgspec.json.Decoder(Saying)


async def spawn() -> Process:
    """A process that becomes a worker once it is told its setup; it ends with its parent. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cutwater.services.workers.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # An interrupt from the keyboard is for the one who started it, who ends the worker in good order.
        start_new_session=True,
        # What a worker computes is nobody else's business, and ONNX Runtime leaves a file where it reports.
        env={"ORT_DISABLE_TELEMETRY": "1", **os.environ},
    )


class WorkerProcess:
    """One worker process on this machine."""

    def __init__(self, setup: WorkerSetup, node: NodeId) -> None:
        self.setup = setup
        self.node = node
        self.ready: Ready | None = None
        """What it said when it began to serve."""
        self.pulse = Pulse()
        """What it said last."""
        self.on_word: Callable[[Want | GiveBack], None] = lambda word: None
        """Told what it says of its turn."""
        self._process: Process | None = None
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        self._listening: asyncio.Task[None] | None = None
        self._feeling: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "the worker was not started"
        return self._process.pid

    async def start(self, idle: Process | None = None) -> Ready:
        """Start it and wait until it serves.

        Args:
            idle: a process from `spawn` that has not been told its setup yet; None: one is started.

        Raises:
            CutwaterError: what the worker says it is unable to do (BadModel, InputError, ...).
            WorkerLost: it could not be started, or ended without a word that can be understood.
        """
        try:
            self._process = process = idle or await spawn()
        except OSError as error:  # no memory, too many processes or files
            raise WorkerLost(
                f"the worker of {self.setup.stage} on node {self.node} cannot be started: {error}"
            ) from error
        self._listening = asyncio.create_task(self._listen())
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(self.setup) + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise WorkerLost((await self.ended()).message)
        try:
            said = msgspec.json.decode(line, type=Ready | Unable)
        except msgspec.MsgspecError as error:
            raise WorkerLost(f"{self.setup.stage} said {line[:200]!r} where it should say that it serves") from error
        if isinstance(said, Unable):
            raise Fault(said.kind, f"{self.setup.stage}: {said.message}", self.setup.stage).error()
        assert isinstance(said, Ready)
        self.ready = said
        self._feeling = asyncio.create_task(self._feel())
        return said

    def tell(self, word: Hearing) -> None:
        """Say this to it; nothing happens if it has ended."""
        assert self._process is not None and self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(msgspec.json.encode(word) + b"\n")

    async def ended(self) -> Fault:
        """Wait for its end; why it ended, as the WorkerLost to answer its requests with."""
        assert self._process is not None and self._listening is not None
        code = await self._process.wait()
        await asyncio.wait([self._listening], timeout=FAREWELL)
        how = f"was killed by {_signal(-code)}" if code < 0 else f"ended with exit code {code}"
        how = "hung, and gave itself up" if code == HUNG else how
        words = "; its last words:\n" + "\n".join(self._words) if self._words else "; it said nothing on stderr"
        where = f"the worker of {self.setup.stage} on node {self.node} (pid {self.pid})"
        return Fault("WorkerLost", f"{where} {how}{words}", self.setup.stage, True)

    async def stop(self) -> None:
        """End it, and wait until it has ended; harmless if it already has."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(FAREWELL):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        for task in (self._listening, self._feeling):
            if task is not None:
                task.cancel()

    def kill(self) -> None:
        """End it at once, without waiting."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _listen(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # too long to be kept; if nobody took it, the worker would stand still at some point
                continue
            if not line:
                return
            self._words.append(line[:LONG].decode(errors="replace").rstrip())

    async def _feel(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = _saying.decode(line)
            if isinstance(said, Pulse):
                self.pulse = said
            else:
                self.on_word(said)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
