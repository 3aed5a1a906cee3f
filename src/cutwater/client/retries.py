"""Retries: what is tried again, when, and for how long.

Exponential back-off with full jitter, as in M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015):
clients that were refused together do not come back together.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from cutwater.drivers.live import clock
from cutwater.errors import CutwaterError, DeadlineExceeded
from cutwater.units import Seconds

T = TypeVar("T")


@dataclass(frozen=True)
class Retries:
    """How persistent a client is. Only errors that are ``retryable`` are met with another try."""

    most: int = 4
    """Tries after the first one; 0: none."""
    first: Seconds = 0.05
    """Longest pause before the second try; it doubles with each further one."""
    longest: Seconds = 2.0
    """Longest pause, unless the gateway asks for a longer one."""

    async def run(
        self, attempt: Callable[[Seconds], Awaitable[T]], deadline: Seconds, rng: random.Random
    ) -> tuple[T, int]:
        """What ``attempt``, given the time that is left, returns at last; and how many tries it took.

        Raises:
            DeadlineExceeded: there was no time left to begin.
            CutwaterError: of the last try. None is begun that could not end before ``deadline``.
        """
        tries = 0
        while True:
            left = deadline - clock()
            if left <= 0:
                raise DeadlineExceeded("the request's time was over before it was sent")
            tries += 1
            try:
                return await attempt(left), tries
            except CutwaterError as error:
                if not error.retryable or tries > self.most:
                    raise
                pause = self.pause(tries, error.retry_after, rng)
                if clock() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)

    def pause(self, tries: int, retry_after: Seconds, rng: random.Random) -> Seconds:
        """How long to wait after so many tries; never less than the gateway asks for."""
        return retry_after + rng.uniform(0.0, min(self.longest, self.first * 2.0 ** (tries - 1)))


RETRIES = Retries()
"""As a client does where nothing else is said."""
