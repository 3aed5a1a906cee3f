"""Load: requests sent to a model when they are due, whatever became of those before; each answer is checked.

A request's latency counts from when it was due, not from when there was room to send it: a client that waits for a
slow service would otherwise leave out just the requests that had to wait (Tene, "How NOT to measure latency", 2013).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import cycle
from typing import NamedTuple

import msgspec
import numpy as np

from cutwater.drivers.live import clock
from cutwater.errors import CutwaterError, DeadlineExceeded, LinkLost, Refused
from cutwater.frameworks.base import Array
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


class Result(StrEnum):
    """What came of a request."""

    ANSWERED = "answered"
    DEGRADED = "degraded"
    """Answered, by the gateway itself."""
    WRONG = "wrong"
    """Answered, but not as the uncut model does."""
    FAILED = "failed"
    """A typed error."""
    REFUSED = "refused"
    """Not accepted at the door."""
    LOST = "lost"
    """Nobody has said anything."""


GOOD = frozenset({Result.ANSWERED, Result.DEGRADED})


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
            for due in _until(arrivals, duration):
                if (early := due - self.now) > 0:
                    await asyncio.sleep(early)
                self.sent += 1
                group.create_task(self._send(due, next(self._cases)))

    async def _send(self, due: Seconds, case: Case) -> None:
        self.attempts.append(await self._attempt(due, case))

    async def _attempt(self, due: Seconds, case: Case) -> Attempt:
        try:
            outcome = await self._ask(case.feeds)
        except CutwaterError as error:
            return Attempt(due, self.now, _ended_by(error), error.kind)
        if not case.agrees(outcome.outputs):
            return Attempt(due, self.now, Result.WRONG)
        return Attempt(due, self.now, Result.DEGRADED if outcome.degraded else Result.ANSWERED)


def _until(arrivals: Iterable[Seconds], duration: Seconds) -> Iterator[Seconds]:
    for due in arrivals:
        if due >= duration:
            return
        yield due


def _ended_by(error: CutwaterError) -> Result:
    if isinstance(error, Refused):
        return Result.REFUSED
    # Without a link, or with a link that says nothing, nobody has said what became of the request.
    silent = isinstance(error, DeadlineExceeded) and isinstance(error.__cause__, TimeoutError)
    return Result.LOST if silent or isinstance(error, LinkLost) else Result.FAILED


BEFORE: Seconds = 10.0
"""So long before a fault is what is usual."""
ONSET: Seconds = 5.0
"""A backlog that begins later than this after a fault does not come from it."""
CALM: Seconds = 0.5
"""A backlog that comes back sooner had not gone."""
WINDOW: Seconds = 1.0
"""Throughput is counted over two windows of this length, one after the other."""
BACK = 0.95
"""Of the requests that come, so many must be answered in each window."""


class Recovery(NamedTuple):
    """How a service got over a fault; seconds after it, None: it did not before the next one."""

    throughput: Seconds | None
    """It answered as fast as it was asked again."""
    backlog: Seconds | None
    """All that had piled up meanwhile was done as well."""


def recovery(attempts: Sequence[Attempt], fault: Seconds, until: Seconds) -> Recovery:
    """When a service had got over a fault.

    Requests that are due and have no answer yet are open. While a fault keeps answers away they pile up: more are open
    than were at most in the `BEFORE` seconds before. The backlog is done when that is over for `CALM` seconds.
    Throughput is back at the latest then, or with the first good answer from which on, in each of two windows, they are
    `BACK` of the requests that came.

    Args:
        attempts: in any order.
        fault: when it happened, in seconds since the load began.
        until: the next fault, or the end.

    Returns:
        Zeros if nothing piled up.
    """
    begun, done = _pile(attempts, fault, until)
    if begun is None:
        return Recovery(0.0, 0.0)
    backlog = None if done is None else done - fault
    limit = until - 2 * WINDOW if done is None else done
    dues = np.sort([each.due for each in attempts if begun <= each.due < until])
    ends = np.sort([each.ended for each in attempts if each.result in GOOD and begun <= each.ended < until])

    def keeps_up(since: Seconds) -> bool:
        window = (since, since + WINDOW)
        came, answered = (int(np.diff(np.searchsorted(times, window))[0]) for times in (dues, ends))
        return answered >= BACK * came

    for at in ends[ends < limit]:
        if keeps_up(at) and keeps_up(at + WINDOW):
            return Recovery(float(at) - fault, backlog)
    return Recovery(backlog, backlog)


def _pile(attempts: Sequence[Attempt], fault: Seconds, until: Seconds) -> tuple[Seconds | None, Seconds | None]:
    """From when to when requests had piled up after a fault; None: they never did, or it did not end."""
    usual, begun, gone = 0, None, None
    for at, backlog in _backlog(attempts):
        if at >= until:
            break
        if at < fault:
            usual = max(usual, backlog) if at >= fault - BEFORE else 0
        elif backlog > usual:
            if (gone is not None and at - gone > CALM) or (begun is None and at > fault + ONSET):
                break
            begun, gone = begun if begun is not None else at, None
        elif begun is not None and gone is None:
            gone = at
    return begun, gone


def _backlog(attempts: Sequence[Attempt]) -> Iterator[tuple[Seconds, int]]:
    """How many requests are open from when on."""
    steps = [(each.due, 1) for each in attempts] + [(each.ended, -1) for each in attempts]
    backlog = 0
    for at, step in sorted(steps):
        backlog += step
        yield at, backlog
