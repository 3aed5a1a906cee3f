"""Soak: whether what the processes of a cluster hold stays the same for as long as it runs: a fold over samples."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from cutwater.units import Seconds

WARM = 0.2
"""Part of the time that is left out: buffers and caches fill up first."""
BLOCKS = 20
"""Samples are averaged in so many blocks, because neighbours resemble each other and say less than they seem to."""
_STUDENT = 2.10
"""95 % of Student's t lie within so many times the standard error, at 18 degrees of freedom."""
_HOUR: Seconds = 3600.0
LIMITS = {"memory": 0.02, "descriptors": 1.0, "threads": 1.0, "queue": 1.0}
"""What -> how much more of it an hour counts as growth; of memory as a share of what there is."""


class Sample(msgspec.Struct, frozen=True):
    """What a process holds at a moment."""

    at: Seconds
    process: str
    memory: int
    """Bytes resident, those it shares with nobody."""
    descriptors: int
    threads: int
    queue: int
    """Requests that wait in it."""


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """How one of these changes, per hour."""

    process: str
    what: str
    level: float
    """On average."""
    slope: float
    """Per hour."""
    margin: float
    """The true slope is within so much of it, with 95 % confidence."""
    limit: float
    """More of it per hour would be growth."""

    @property
    def flat(self) -> bool:
        """Whether no growth beyond the limit is to be seen."""
        return self.slope - self.margin <= self.limit


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Of every process that was there from the warm-up on to the end, and everything it holds."""
    groups: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.process].append(sample)
    end = max((sample.at for sample in samples), default=0.0)
    return [trend for name in sorted(groups) for trend in _of(name, groups[name], end)]


def _of(name: str, samples: Sequence[Sample], end: Seconds) -> Iterator[Trend]:
    late = [sample for sample in samples if sample.at >= WARM * end]
    if len(late) < 2 * BLOCKS:
        return
    times = _blocks([sample.at / _HOUR for sample in late])
    for what, limit in LIMITS.items():
        values = _blocks([getattr(sample, what) for sample in late])
        slope, margin = fit(times, values)
        level = float(values.mean())
        allowed = limit * level if what == "memory" else limit
        yield Trend(process=name, what=what, level=level, slope=slope, margin=margin, limit=allowed)


def _blocks(values: Sequence[float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.array([block.mean() for block in np.array_split(np.asarray(values, dtype=np.float64), BLOCKS)])


def fit(
    times: "np.ndarray[tuple[int], np.dtype[np.float64]]", values: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> tuple[float, float]:
    """The slope of the straight line through `BLOCKS` values (least squares), and its 95 % margin."""
    spread = times - times.mean()
    square = float(spread @ spread)
    slope = float(spread @ values) / square
    rest = values - values.mean() - slope * spread
    error = (float(rest @ rest) / (len(values) - 2) / square) ** 0.5
    return slope, _STUDENT * error
