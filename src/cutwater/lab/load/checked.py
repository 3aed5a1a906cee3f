"""Checked load: requests sent to one model when they are due, each answer held against the uncut model's.

A request's latency counts from when it was due, not from when there was room to send it: a client that waits for a
slow service would otherwise leave out just the requests that had to wait (Tene, "How NOT to measure latency", 2013).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import cycle

import msgspec
import numpy as np

from cutwater.drivers.live import clock
from cutwater.errors import CutwaterError
from cutwater.frameworks.base import Array
from cutwater.lab.load.pace import pace
from cutwater.lab.load.result import GOOD, Result, ended_by
from cutwater.services.workers.outcome import Feeds, Outcome
from cutwater.units import Seconds

TOLERANCE = 1e-5
"""Largest deviation from the uncut model's answer, relative to its largest value: engines fuse differently across a
cut."""
_WARM: Seconds = 1.0
"""Of a closed loop, left out of what it measures."""


class Case(msgspec.Struct, frozen=True):
    """A question and the uncut model's answer."""

    feeds: Feeds
    outputs: dict[str, Array]

    def agrees(self, outputs: dict[str, Array]) -> bool:
        """Whether these are the same, within `TOLERANCE`."""
        return outputs.keys() == self.outputs.keys() and all(
            _deviation(found, self.outputs[name]) <= TOLERANCE for name, found in outputs.items()
        )


def _deviation(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if not found.size:
        return 0.0
    scale = float(np.abs(wanted).max()) or 1.0
    deviation = float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max()) / scale
    return deviation if deviation == deviation else float("inf")


class Attempt(msgspec.Struct, frozen=True):
    """One request; seconds since the load began."""

    due: Seconds
    ended: Seconds
    result: Result
    kind: str = ""
    """The error's."""

    @property
    def latency(self) -> Seconds:
        """Since it was due."""
        return self.ended - self.due


Ask = Callable[[Feeds], Awaitable[Outcome]]


class Load:
    """What is asked of one model, and what came of it."""

    def __init__(self, ask: Ask, cases: Sequence[Case]) -> None:
        """``ask`` raises CutwaterError for a request without an answer; ``cases`` take turns."""
        self.attempts: list[Attempt] = []
        """Those that have ended, in the order of their ends."""
        self.sent = 0
        self.began = clock()
        self._ask = ask
        self._cases = cycle(cases)

    @property
    def now(self) -> Seconds:
        """Since the load began."""
        return clock() - self.began

    async def closed(self, at_once: int, seconds: Seconds) -> float:
        """Answers per second that the service gives to ``at_once`` clients, each with one request at a time."""
        until = clock() + _WARM + seconds

        async def client() -> int:
            answered = 0
            while clock() < until:
                attempt = await self._attempt(0.0, next(self._cases))
                answered += attempt.result in GOOD and until - seconds <= clock() < until
            return answered

        return sum(await asyncio.gather(*(client() for _ in range(at_once)))) / seconds

    async def open(self, arrivals: Iterable[Seconds], duration: Seconds) -> None:
        """Send each request when it is due, for ``duration``; returns when all have ended."""
        self.began = clock()
        async with asyncio.TaskGroup() as group:

            def fire(due: Seconds) -> None:
                self.sent += 1
                group.create_task(self._send(due, next(self._cases)))

            await pace(_until(arrivals, duration), self.began, fire)

    async def _send(self, due: Seconds, case: Case) -> None:
        self.attempts.append(await self._attempt(due, case))

    async def _attempt(self, due: Seconds, case: Case) -> Attempt:
        try:
            outcome = await self._ask(case.feeds)
        except CutwaterError as error:
            return Attempt(due, self.now, ended_by(error), error.kind)
        if not case.agrees(outcome.outputs):
            return Attempt(due, self.now, Result.WRONG)
        return Attempt(due, self.now, Result.DEGRADED if outcome.degraded else Result.ANSWERED)


def _until(arrivals: Iterable[Seconds], duration: Seconds) -> Iterator[Seconds]:
    for due in arrivals:
        if due >= duration:
            return
        yield due
