"""Time as an argument: the event loop's own, or one that stands still until it is told to go on."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol, TypeVar

from cutwater.units import Seconds

T = TypeVar("T")


class Timer(Protocol):
    """Something that will happen unless it is called off."""

    def cancel(self) -> None:
        """Call it off; harmless if it has happened."""
        ...


class Clock(Protocol):
    """What an `asyncio.AbstractEventLoop` offers of time."""

    def time(self) -> Seconds:
        """Now; only differences mean something."""
        ...

    def call_at(self, when: Seconds, callback: Callable[[], None], /) -> Timer:
        """Call ``callback`` once ``when`` has come."""
        ...


class _Call:
    """A call that a ManualClock owes."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Stands still until `advance`; what falls due on the way happens in order, each at its own time."""

    def __init__(self, now: Seconds = 0.0) -> None:
        self._now = now
        self._due: list[tuple[Seconds, int, _Call]] = []
        self._ids = count()

    def time(self) -> Seconds:
        """Now."""
        return self._now

    def call_at(self, when: Seconds, callback: Callable[[], None], /) -> _Call:
        """Call ``callback`` when `advance` passes ``when``."""
        call = _Call(callback)
        heapq.heappush(self._due, (when, next(self._ids), call))
        return call

    def advance(self, seconds: Seconds) -> None:
        """Let ``seconds`` pass."""
        until = self._now + seconds
        while self._due and self._due[0][0] <= until:
            when, _, call = heapq.heappop(self._due)
            self._now = max(self._now, when)
            if call.callback is not None:
                call.callback()
        self._now = until


async def within(clock: Clock, seconds: Seconds, future: "asyncio.Future[T]") -> T:
    """The future's result. Raises TimeoutError once ``seconds`` have passed on ``clock``; the future is cancelled."""
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        future.cancel()

    timer = clock.call_at(clock.time() + seconds, expire)
    try:
        return await future
    except asyncio.CancelledError:
        if expired:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
