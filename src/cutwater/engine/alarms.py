"""Alarms: what a machine wants to do at a later time, soonest first."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from cutwater.units import Seconds

Ring = Callable[[Seconds], None]
"""Called with the time at which it rings. It must look whether it is still wanted: alarms are not taken back."""


class Alarms:
    """A few alarms; of those for one time, the one that was set first rings first."""

    def __init__(self) -> None:
        self._heap: list[tuple[Seconds, int, Ring]] = []
        self._set = count()

    def at(self, when: Seconds, ring: Ring) -> None:
        """Ring ``when`` it is time."""
        heappush(self._heap, (when, next(self._set), ring))

    def ring(self, now: Seconds) -> None:
        """Ring those that are due."""
        while self._heap and self._heap[0][0] <= now:
            heappop(self._heap)[2](now)

    def wake_at(self) -> Seconds | None:
        """When the next one is due."""
        return self._heap[0][0] if self._heap else None
