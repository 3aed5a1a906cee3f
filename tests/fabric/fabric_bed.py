"""Both fabrics behind one small handle: open a connection, let time pass, lose the system and get it back."""

import asyncio
import functools
import signal
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from cutwater.fabric.base import Fabric
from cutwater.fabric.clock import ManualClock
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.fabric.server import ServerOptions, answering, prepare

LIMIT = 20.0
"""Seconds after which a test that waits for something hangs."""


class Bed(Protocol):
    """One fabric under test."""

    def fabric(self) -> Fabric:
        """A new connection, not opened yet."""
        ...

    async def after(self, seconds: float) -> None:
        """Let so much time pass, where time is ours to move."""
        ...

    async def crash(self) -> None:
        """Take the whole system down without warning."""
        ...

    async def restart(self) -> None:
        """Bring it back with what it had stored."""
        ...


class MemoryBed:
    """Time stands still but for `after`."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._server: MemoryServer | None = None

    def fabric(self) -> Fabric:
        self._server = self._server or MemoryServer(self._clock)
        return MemoryFabric(self._server)

    async def after(self, seconds: float) -> None:
        await settle()
        self._clock.advance(seconds)

    async def crash(self) -> None:
        assert self._server is not None
        self._server.go_down()

    async def restart(self) -> None:
        assert self._server is not None
        self._server.come_back()


class NatsBed:
    """A real server; its time passes by itself."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def fabric(self) -> NatsFabric:
        return NatsFabric(NatsOptions(servers=(self.url,)))

    async def after(self, seconds: float) -> None:
        await settle()

    async def crash(self) -> None:
        self.end(signal.SIGKILL)

    async def restart(self) -> None:
        # Not asyncio's: the server outlives the event loop of each test.
        self._process = subprocess.Popen(prepare(self._options))  # noqa: ASYNC220
        self.url = await answering(self._options, self._process.pid)

    def end(self, sign: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait()
            self._process = None


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(50):
        await asyncio.sleep(0)


def story(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on an event loop of its own, and fail it rather than let it hang."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        async def within_limit() -> None:
            async with asyncio.timeout(LIMIT):
                await test(**fixtures)

        asyncio.run(within_limit())

    return run
