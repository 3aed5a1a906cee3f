"""Clock: virtual time. What is due is called in the order of time, and of asking where times are equal."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from cutwater.units import Seconds

Call = Callable[[Any], None]


class Clock:
    """Time passes only from one call to the next. Nothing is ever taken out: who no longer cares ignores the call."""

    __slots__ = ("due", "now", "numbers")

    def __init__(self) -> None:
        self.now: Seconds = 0.0
        self.due: list[tuple[Seconds, int, Call, Any]] = []
        """A heap of (when, number, call, arg); hosts and links push to it themselves, for they do little else."""
        self.numbers = count()

    def at(self, when: Seconds, call: Call, arg: Any = None) -> None:
        """Have ``call(arg)`` called at ``when``, which is not in the past."""
        heappush(self.due, (when, next(self.numbers), call, arg))

    def after(self, seconds: Seconds, call: Call, arg: Any = None) -> None:
        """Have ``call(arg)`` called ``seconds`` from now."""
        heappush(self.due, (self.now + seconds, next(self.numbers), call, arg))

    def run(self, until: Seconds) -> None:
        """Call everything that is due up to ``until``; then it is ``until``."""
        due, pop = self.due, heappop
        while due and due[0][0] <= until:
            self.now, _, call, arg = pop(due)
            call(arg)
        self.now = until

    def __len__(self) -> int:
        return len(self.due)
