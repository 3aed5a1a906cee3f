"""Errands: what somebody has going on beside his own work; a failure is logged at once, and told."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class Errands:
    """One owner's. Whoever ends without ending them leaves them to the event loop."""

    def __init__(self, whose: str, on_failure: Callable[[BaseException], None] = lambda error: None) -> None:
        """``whose``: as the log calls the owner."""
        self._whose = whose
        self._on_failure = on_failure
        self._open: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have this done; nobody need wait for it."""
        task = asyncio.create_task(work)
        self._open.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Give all of them up."""
        for task in tuple(self._open):
            task.cancel()

    async def end(self) -> None:
        """Give all of them up, and wait until they have ended."""
        self.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)
            _log.error("something of %s failed", self._whose, exc_info=error)


async def until(stop: asyncio.Event, over: asyncio.Future[None]) -> None:
    """Return when asked to stop. Raises what ``over`` does, if that comes first."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((stopping, over), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if over.done():
        over.result()
