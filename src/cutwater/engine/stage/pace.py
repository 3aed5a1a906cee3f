"""Pace: how fast a stage computes, and when a batch has taken so long that it must hang."""

from collections import deque
from statistics import median

from cutwater.units import Seconds

WEIGHT = 0.2
"""Of the newest batch, in the running mean of how long batches take."""
RECENT = 65
"""Batches whose median is the stage's pace of late."""
HANG_FLOOR: Seconds = 5.0
"""No batch that takes less counts as hanging."""
HANG_FACTOR = 20
"""How many times its usual time a batch may take."""

MOMENT: Seconds = 0.5
"""What a batch still gets then."""


class Pace:
    """The books of one stage's computing."""

    def __init__(self, expected: Seconds) -> None:
        """``expected``: what a batch may be expected to take before one was seen; 0: nobody knows."""
        self.usual = expected
        """Running mean of the seconds of a batch."""
        self.busy: Seconds = 0.0
        """Seconds spent computing since the start."""
        self.waited: Seconds = 0.0
        """Of those, how long others had the cores."""
        self.computed = 0
        """Requests since the start."""
        self.limit = max(HANG_FLOOR, HANG_FACTOR * expected)
        """A batch that takes longer hangs."""
        self._recent: deque[Seconds] = deque(maxlen=RECENT)
        self.hangs_at: Seconds | None = None
        """When what computes now has taken too long; None: nothing computes."""
        self._warned = False

    def begin(self, now: Seconds) -> None:
        """A batch is given away."""
        self.hangs_at = now + self.limit

    def end(self, seconds: Seconds, batch: int, waited: Seconds = 0.0) -> None:
        """It has come back: so many requests were computed in ``seconds``, ``waited`` for a core included."""
        self.hangs_at, self._warned = None, False
        self.usual = usual = self.usual + WEIGHT * (seconds - self.usual) if self.usual else seconds
        limit = HANG_FACTOR * usual
        self.limit = limit if limit > HANG_FLOOR else HANG_FLOOR
        self.busy += seconds
        self.waited += waited
        self.computed += batch
        self._recent.append(seconds / batch)

    def hangs(self, now: Seconds) -> bool:
        """Whether what computes has taken too long, said once.

        It gets another moment when it has: a process that was stopped finds its batch finished then.
        """
        if self.hangs_at is None or now < self.hangs_at:
            return False
        hangs = self._warned
        self._warned, self.hangs_at = True, None if hangs else now + MOMENT
        return hangs

    def median(self) -> Seconds:
        """Seconds of one request, of late; 0: none was computed."""
        return median(self._recent) if self._recent else 0.0
