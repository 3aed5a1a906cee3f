"""Reserve: idle worker processes, so that a worker that has ended is back without the start of an interpreter."""

import asyncio
import contextlib
import logging
from asyncio.subprocess import Process

from cutwater.services.workers.process import spawn
from cutwater.units import Seconds

CALM: Seconds = 1.0
"""How long after the last start it is filled: until then the cores have better things to do."""

_log = logging.getLogger(__name__)


class Reserve:
    """Up to ``size`` processes that have imported all they need and wait to be told which stage they are."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[Process] = []
        self._filling = asyncio.Lock()
        self._closed = False

    def take(self) -> Process | None:
        """One that lives; None: there is none."""
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        return None

    async def fill(self) -> None:
        """Have as many as there should be; returns when there are."""
        async with self._filling:
            await asyncio.sleep(CALM)
            self._idle = [process for process in self._idle if process.returncode is None]
            try:
                while len(self._idle) < self._size and not self._closed:
                    self._idle.append(await spawn())
            except OSError as error:
                _log.warning("no worker can be kept in reserve: %s", error)

    async def close(self) -> None:
        """End all."""
        self._closed = True
        idle, self._idle = self._idle, []
        for process in idle:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in idle))
