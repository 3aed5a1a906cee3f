"""Clock: virtual time. What is due is called in the order of time, and of asking where times are equal."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from cutwater.units import Seconds

Call = Callable[[Any], None]


class Clock:
    """Time passes only from one call to the next. Nothing is ever taken out: who no longer cares ignores the call."""

    __slots__ = ("_due", "_numbers", "now")

    def __init__(self) -> None:
        self.now: Seconds = 0.0
        self._due: list[tuple[Seconds, int, Call, Any]] = []
        self._numbers = count()

    def at(self, when: Seconds, call: Call, arg: Any = None) -> None:
        """Have ``call(arg)`` called at ``when``, which is not in the past."""
        heappush(self._due, (when, next(self._numbers), call, arg))

    def after(self, seconds: Seconds, call: Call, arg: Any = None) -> None:
        """Have ``call(arg)`` called ``seconds`` from now."""
        heappush(self._due, (self.now + seconds, next(self._numbers), call, arg))

    def run(self, until: Seconds) -> None:
        """Call everything that is due up to ``until``; then it is ``until``."""
        due, pop = self._due, heappop
        while due and due[0][0] <= until:
            self.now, _, call, arg = pop(due)
            call(arg)
        self.now = until

    def __len__(self) -> int:
        return len(self._due)
