"""Ledger: the stream of finished requests, folded as it comes into seconds and phases, in bounded memory.

Told of each request it adds a few numbers; whatever is shown is worked out when somebody looks.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from cutwater.api.finished import WITHDRAWN, Finished
from cutwater.observe.course import hops
from cutwater.units import Seconds

SPAN = 300
"""Seconds that are kept."""
RECENT = 400
"""Single requests that are kept, whatever became of them; and as many of those that failed."""
LATELY = 10
"""Seconds from which the phases of stages and hops are taken."""
_FINENESS = 24
"""Classes of latency per factor of e: a quantile is right to 4 %."""


class Row(NamedTuple):
    """One model in one second."""

    at: int
    """Unix time."""
    answered: int
    failed: int
    refused: int
    p50: Seconds | None
    """Of those answered; None where none was."""
    p99: Seconds | None


class Phases(NamedTuple):
    """What requests spent at one stage and on the hop that leads to it, in the mean; one stage more leads back."""

    hop: Seconds
    queue: Seconds
    decode: Seconds
    compute: Seconds
    encode: Seconds


class Spent(NamedTuple):
    """Where the time of requests went, in the mean."""

    wait: Seconds
    """At the gateway."""
    stages: list[Phases]


class _Second:
    """What one model did in one second."""

    __slots__ = ("answered", "at", "failed", "latencies", "refused", "slowest", "sums", "wait")

    def __init__(self, at: int) -> None:
        self.at = at
        self.answered = self.failed = self.refused = 0
        self.latencies: Counter[int] = Counter()
        self.sums: list[list[float]] = []
        """Per stage: requests, hop, queue, decode, compute, encode."""
        self.wait = 0.0
        self.slowest: Finished | None = None

    def add(self, finished: Finished) -> None:
        """A request that was answered."""
        self.answered += 1
        latency = finished.ended - finished.began
        self.latencies[math.floor(math.log(max(latency, 1e-9)) * _FINENESS)] += 1
        if self.slowest is None or latency > self.slowest.ended - self.slowest.began:
            self.slowest = finished
        self._add_trail(finished)

    def _add_trail(self, finished: Finished) -> None:
        trail = finished.trail
        if not trail:
            return
        while len(self.sums) <= len(trail):
            self.sums.append([0.0] * 6)
        found = hops(finished)
        self.wait += found.wait
        for sums, hop in zip(self.sums, found.seconds, strict=False):
            sums[0] += 1
            sums[1] += hop
        for sums, mark in zip(self.sums, trail, strict=False):
            sums[2] += max(mark.started - mark.received - mark.decode, 0.0)
            sums[3] += mark.decode
            sums[4] += mark.finished - mark.started
            sums[5] += mark.encode

    def row(self) -> Row:
        p50, p99 = quantiles(self.latencies, 0.5, 0.99)
        return Row(self.at, self.answered, self.failed, self.refused, p50, p99)


class Ledger:
    """What became of the requests of this gateway, of late."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """``now``: Unix time."""
        self._now = now
        self._models: dict[str, deque[_Second]] = {}
        self._recent: deque[Finished] = deque(maxlen=RECENT)
        self._failed: deque[Finished] = deque(maxlen=RECENT)

    def observe(self, finished: Finished) -> None:
        """See `cutwater.api.finished.Observer`."""
        seconds = self._models.get(finished.model)
        if seconds is None:
            seconds = self._models[finished.model] = deque(maxlen=SPAN)
        at = int(self._now())
        if not seconds or seconds[-1].at != at:
            seconds.append(_Second(at))
        second = seconds[-1]
        if not finished.fault:
            second.add(finished)
        elif finished.fault == "Refused":
            second.refused += 1
        elif finished.fault != WITHDRAWN:
            second.failed += 1
        self._recent.append(finished)
        if finished.fault:
            self._failed.append(finished)

    def rows(self, since: int = 0) -> dict[str, list[Row]]:
        """Model -> its seconds from ``since`` on that are over, oldest first; seconds without requests are left out."""
        now = int(self._now())
        since = max(since, now - SPAN)
        return {
            model: rows
            for model, seconds in self._models.items()
            if (rows := [second.row() for second in seconds if since <= second.at < now])
        }

    def spent(self, model: str) -> Spent | None:
        """Of the last seconds, in order of the stages; the last one is the way back. None where nothing came."""
        since = int(self._now()) - LATELY
        seconds = [second for second in self._models.get(model, ()) if second.at >= since and second.sums]
        if not seconds:
            return None
        stages = []
        for stage in range(max(len(second.sums) for second in seconds)):
            sums = [second.sums[stage] for second in seconds if stage < len(second.sums)]
            count, *spent = (sum(each) for each in zip(*sums, strict=True))
            stages.append(Phases(*(each / count for each in spent)))
        requests = sum(second.sums[0][0] for second in seconds)
        return Spent(sum(second.wait for second in seconds) / requests, stages)

    def recent(self, model: str = "") -> Iterator[Finished]:
        """The newest first."""
        return (each for each in reversed(self._recent) if model in ("", each.model))

    def failed(self, model: str = "") -> Iterator[Finished]:
        """Those that were not answered, the newest first."""
        return (each for each in reversed(self._failed) if model in ("", each.model))

    def slowest(self, model: str = "") -> Iterator[Finished]:
        """The slowest answer of each second, the slowest first."""
        since = self._now() - SPAN
        found = [
            second.slowest
            for name, seconds in self._models.items()
            if model in ("", name)
            for second in seconds
            if second.slowest is not None and second.at >= since
        ]
        return iter(sorted(found, key=lambda each: each.began - each.ended))

    def find(self, request: str) -> Finished | None:
        """One of those that are kept."""
        kept = (self._recent, self._failed, self.slowest())
        return next((each for some in kept for each in some if each.request == request), None)


def quantiles(latencies: Counter[int], *shares: float) -> list[Seconds | None]:
    """The latency that each share stays within; None where there is none."""
    total = latencies.total()
    found: list[Seconds | None] = []
    for share in shares:
        rank = max(math.ceil(share * total), 1)
        seen = 0
        value = None
        for each in sorted(latencies):
            seen += latencies[each]
            if seen >= rank:
                value = math.exp((each + 0.5) / _FINENESS)
                break
        found.append(value)
    return found


def first(found: Iterator[Finished], most: int) -> list[Finished]:
    """No more than so many."""
    return list(islice(found, most))
