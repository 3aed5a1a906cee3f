"""StageSnapshot: a stage worker in figures."""

import msgspec

from cutwater.units import Seconds


class StageSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A stage worker in figures."""

    queued: int
    computing: int
    ready: int
    """Computed, waiting for credit of the next link."""
    away: int
    done: int
    failed: int
    late: int
    """Answers nobody waited for any more."""
    computed: int = 0
    """Requests computed since the start."""
    busy: Seconds = 0.0
    """Seconds spent computing since the start."""
    waited: Seconds = 0.0
    """Of those, how long others had the cores."""
    seconds: Seconds = 0.0
    """Median of computing one request, of late."""
