"""Clock: virtual time. What is due is called in the order of time, and of asking where times are equal."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

from cutwater.units import Seconds

Call = Callable[[Any], None]
SLICE: Seconds = 0.05
"""What is due later than this waits apart: most alarms are, and a short heap is a quick one."""


class Clock:
    """Time passes only from one call to the next. Nothing is ever taken out: who no longer cares ignores the call."""

    __slots__ = ("_horizon", "_later", "due", "now", "number")

    def __init__(self) -> None:
        self.now: Seconds = 0.0
        self.due: list[tuple[Seconds, float, Call | None, Any]] = []
        """A heap of (when, number, call, arg), without a call where a slice ends; everything up to there is in it.
        Hosts and links push to it themselves, for they do little else."""
        self.number = count().__next__
        """Gives the next number: of what is due at the same time, that which was asked for first comes first."""
        self._horizon: Seconds = 0.0
        self._later: list[tuple[Seconds, float, Call | None, Any]] = []
        """A heap of what is due after the horizon."""

    def at(self, when: Seconds, call: Call, arg: Any = None) -> None:
        """Have ``call(arg)`` called at ``when``, which is not in the past."""
        heappush(self._later if when > self._horizon else self.due, (when, self.number(), call, arg))

    def after(self, seconds: Seconds, call: Call, arg: Any = None) -> None:
        """Have ``call(arg)`` called ``seconds`` from now."""
        self.at(self.now + seconds, call, arg)

    def run(self, until: Seconds) -> None:
        """Call everything that is due up to ``until``; then it is ``until``."""
        while True:
            self._run(min(self.now + SLICE, until))
            if self.now >= until:
                break

    def _run(self, horizon: Seconds) -> None:
        due, later, pop = self.due, self._later, heappop
        self._horizon = horizon
        while later and later[0][0] <= horizon:
            heappush(due, pop(later))
        heappush(due, (horizon, inf, None, None))
        while True:
            self.now, _, call, arg = pop(due)
            if call is not None:
                call(arg)
            elif self.now >= horizon:
                break

    def __len__(self) -> int:
        return len(self.due) + len(self._later)
