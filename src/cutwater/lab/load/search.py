"""Search: the highest rate, or the highest burstiness, at which the SLO is still kept; by trials that are repeated.

A factor is tried with several schedules, drawn from different seeds. It is decided as soon as that can be: when the
misses so far are more than all of its schedules together may have (no luck could make up for them; this abandons
trials half-way), when the interval of the attainment so far lies to one side of the target, or when all schedules have
been sent, by the attainment of all their requests together. Bisection assumes that what a service does not bear, it
does not bear more of.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cutwater.errors import BadQuantity, NoPlan
from cutwater.lab.load.doubt import Estimate, design_effect, wilson
from cutwater.lab.load.log import Log
from cutwater.units import Seconds
from cutwater.workload.schedule import Schedule

WIDEST = 1024.0
"""How far from its own rate or burstiness a workload is scaled, either way."""

Draw = Callable[[float, int], Schedule]
"""(factor, repeat) -> the schedule of a trial."""
Hopeless = Callable[[Log, Seconds], bool]
Send = Callable[[Schedule, Hopeless], Awaitable[Log]]
"""Sends a schedule to a service that has settled; gives it up when told so."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched, and how closely."""

    target: float = 0.99
    """Share of the requests that must be answered in time."""
    width: float = 0.05
    """Stop when the factor not kept is so much above the one kept, relatively."""
    repeats: int = 3
    """Schedules a factor is tried with, at most."""
    warmup: Seconds = 0.0
    """At the beginning of each schedule, not counted."""
    most: float = math.inf
    """Factors above are not tried."""

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        if not 0 < self.target < 1:
            raise BadQuantity(f"a target of {self.target:g} is no share between 0 and 1, such as 99%")
        if not 0 < self.width < 1:
            raise BadQuantity(f"a width of {self.width:g} is no share between 0 and 1, such as 5%")
        if self.repeats < 1:
            raise BadQuantity(f"{self.repeats} repeats: each factor needs at least one")


class Try(msgspec.Struct, frozen=True):
    """A factor and what became of it."""

    factor: float
    kept: bool
    attainment: Estimate
    """Of the requests that were sent; of an abandoned schedule, those that were withdrawn are misses."""
    requests: int
    """That were sent and are counted."""
    repeats: int
    """Schedules that were sent, the last one perhaps not to its end."""
    abandoned: bool
    """Whether it was clear before the end."""


class Found(msgspec.Struct, frozen=True):
    """Where the border lies."""

    kept: float
    """The highest factor that kept the SLO."""
    broken: float
    """The lowest that did not; infinite: none was found."""
    tries: list[Try]
    """In the order in which they were made."""


class Search:
    """Finds the border of one kind of factor."""

    def __init__(
        self, draw: Draw, send: Send, options: SearchOptions, tell: Callable[[Try], None] = lambda tried: None
    ) -> None:
        """``tell`` hears of each factor that was decided."""
        self._draw, self._send, self._options, self._tell = draw, send, options, tell
        self._tries: list[Try] = []

    async def run(self, first: float = 1.0) -> Found:
        """Double or halve until the border lies between two factors, then halve what lies between them.

        Raises:
            BadQuantity: There are no requests to be counted.
            NoPlan: Even the least factor tried does not keep the SLO.
        """
        kept, broken = 0.0, math.inf
        factor, most = first, min(first * WIDEST, self._options.most)
        while not (kept and broken / kept <= 1 + self._options.width):
            try:
                schedules = [self._draw(factor, repeat) for repeat in range(self._options.repeats)]
            except BadQuantity:  # no workload can be described that far out: up to there it is
                if not kept:
                    raise
                break
            total = sum(_counted(schedule, self._options.warmup) for schedule in schedules)
            if not total and not kept:
                raise BadQuantity(
                    f"{factor:.3g} times the workload has no request after the warm-up: let it last longer"
                )
            if not total:  # at high burstiness nothing may come for long, and nothing can be said
                break
            if await self._holds(factor, schedules, total):
                kept = factor
            else:
                broken = factor
            if not kept and factor <= first / WIDEST:
                raise NoPlan(
                    f"at {factor:.3g} times the workload, {self._tries[-1].attainment.value:.2%} of the requests were "
                    f"answered in time, under {self._options.target:.2%}: give a longer SLO, or more to serve with"
                )
            if math.isinf(broken) and factor >= most:
                break
            factor = self._next(kept, broken, most)
        return Found(kept, broken, self._tries)

    @staticmethod
    def _next(kept: float, broken: float, most: float) -> float:
        if math.isinf(broken):
            return min(kept * 2, most)
        return math.sqrt(kept * broken) if kept else broken / 2

    async def _holds(self, factor: float, schedules: Sequence[Schedule], total: int) -> bool:
        options = self._options
        budget = math.floor((1 - options.target) * total + 1e-9)
        pool = _Pool()
        for schedule in schedules:
            log = await self._send(schedule, _Spent(budget - pool.misses, options.warmup))
            pool.add(log, options.warmup)
            if pool.misses > budget or not _within(pool.attainment, options.target):
                break
        estimate = pool.attainment
        # Above the budget, no luck with what is left could help.
        kept = pool.misses <= budget and estimate.value >= options.target
        tried = Try(factor, kept, estimate, pool.requests, pool.repeats, pool.abandoned)
        self._tries.append(tried)
        self._tell(tried)
        return kept


@dataclass(frozen=True)
class _Spent:
    """Asks whether more requests have missed their SLO, for certain, than may."""

    budget: int
    warmup: Seconds

    def __call__(self, log: Log, now: Seconds) -> bool:
        lost = log.lost(now)
        return int(np.count_nonzero(lost & (log.due[: log.fired] >= self.warmup))) > self.budget


class _Pool:
    """What came of the requests of several schedules."""

    def __init__(self) -> None:
        self.requests = self.misses = self.repeats = 0
        self.abandoned = False
        self._effective = 0.0

    def add(self, log: Log, warmup: Seconds) -> None:
        flags = log.in_time[log.due[: log.fired] >= warmup]
        self.repeats += 1
        self.abandoned |= log.abandoned
        self.requests += len(flags)
        self.misses += int(np.count_nonzero(~flags))
        self._effective += len(flags) / design_effect(flags) if len(flags) else 0.0

    @property
    def attainment(self) -> Estimate:
        if not self.requests:
            return Estimate(0.0, 0.0, 1.0)
        return wilson(1 - self.misses / self.requests, self._effective)


def _within(estimate: Estimate, target: float) -> bool:
    return estimate.low <= target <= estimate.high


def _counted(schedule: Schedule, warmup: Seconds) -> int:
    return sum(int(np.count_nonzero(times >= warmup)) for times in schedule.times.values())
