"""Work on pictures, beside the event loop: a bounded number at once, and none that would be done too late."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import TypeVar, TypeVarTuple

from cutwater.drivers.live import clock
from cutwater.errors import Refused
from cutwater.units import Seconds

T = TypeVar("T")
Args = TypeVarTuple("Args")

THREADS = min(4, os.cpu_count() or 1)
"""Pictures decoded, prepared or drawn on at once in one process. At the limit of its pixels each takes half a
gigabyte."""
CAUTION = 1.25
"""Waiting is expected to take so many times what it should, as at the door."""
WEIGHT = 0.125
"""Of the newest picture in the mean of what one takes."""


class Studio:
    """Where the work is done, in the order of coming."""

    def __init__(self, threads: int, now: Callable[[], Seconds] = clock) -> None:
        """``now``: in seconds; called in its threads, too."""
        self._now = now
        self._size = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="picture")  # none before the first picture
        self._waiting = 0
        """For their turn, or to be done."""
        self._each: Seconds = 0.0
        """What one takes; 0: nobody knows."""

    def wait(self) -> Seconds:
        """Predicted time until one more is done."""
        return self._each * (1.0 + CAUTION * self._waiting / self._size)

    async def aside(self, work: Callable[[*Args], T], *args: *Args, until: Seconds = inf) -> T:
        """What ``work`` returns or raises. While it waits for its turn, being cancelled withdraws it.

        Args:
            work: Runs in a thread.
            args: Its arguments.
            until: When, on the gateway's clock, its result is worth nothing any more.

        Raises:
            Refused: It would be done later than that, or its turn has come too late. Who is alone is always let in.
        """
        if self._waiting and (wait := self.wait()) > until - self._now():
            raise _refused(f"the picture would be decoded in {wait:.3g} s, behind {self._waiting} others", wait)
        self._waiting += 1
        try:
            found, took = await asyncio.get_running_loop().run_in_executor(self._threads, self._do, work, args, until)
        finally:
            self._waiting -= 1
        self._each += WEIGHT * (took - self._each) if self._each else took
        return found

    def _do(self, work: Callable[[*Args], T], args: tuple[*Args], until: Seconds) -> tuple[T, Seconds]:
        began = self._now()
        if began > until:
            raise _refused("the picture's turn to be decoded came too late", self.wait())
        return work(*args), self._now() - began


def _refused(why: str, wait: Seconds) -> Refused:
    error = Refused(f"{why}; ask again later, or give it more time")
    error.retry_after = wait
    return error


_studio = Studio(THREADS)
aside = _studio.aside
"""In this process's studio."""
