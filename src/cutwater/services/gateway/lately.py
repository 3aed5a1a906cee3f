"""Lately: how many answers per second, and how fast, over the last few seconds, in bounded memory."""

import math
from collections import Counter

from cutwater.units import Seconds

SPAN = 5
"""Seconds that count."""
_FINENESS = 24
"""Classes of latency per factor of e: a quantile is right to 4 %."""


class Lately:
    """Answers of the last `SPAN` whole seconds, and of the one that runs."""

    def __init__(self, now: Seconds) -> None:
        self._began = now
        self._seconds: dict[int, Counter[int]] = {}
        """Second -> class of latency -> answers."""

    def add(self, now: Seconds, latency: Seconds) -> None:
        """One more answer."""
        second = int(now)
        counts = self._seconds.get(second)
        if counts is None:
            counts = self._seconds[second] = Counter()
            for old in [each for each in self._seconds if each < second - SPAN]:
                del self._seconds[old]
        counts[math.floor(math.log(max(latency, 1e-9)) * _FINENESS)] += 1

    def rate(self, now: Seconds) -> float:
        """Answers per second."""
        passed = min(now - self._began, now - int(now) + SPAN)
        return self._all(now).total() / passed if passed > 0 else 0.0

    def quantiles(self, now: Seconds, *shares: float) -> list[Seconds]:
        """The latency that each share of the answers stays within; 0 where there are none."""
        counts = self._all(now)
        found: list[Seconds] = []
        for share in shares:
            rank, seen = share * counts.total(), 0
            value = 0.0
            for each in sorted(counts):
                seen += counts[each]
                value = math.exp((each + 0.5) / _FINENESS)
                if seen >= rank:
                    break
            found.append(value)
        return found

    def _all(self, now: Seconds) -> Counter[int]:
        counts: Counter[int] = Counter()
        for second, each in self._seconds.items():
            if second >= int(now) - SPAN:
                counts += each
        return counts
