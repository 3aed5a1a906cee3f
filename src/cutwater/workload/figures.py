"""Figures: what a stream of requests is like, counted."""

from collections.abc import Sequence

import msgspec
import numpy as np

from cutwater.units import Seconds
from cutwater.workload.arrivals import Times

WINDOWS: tuple[Seconds, ...] = (1.0, 10.0, 60.0)
"""Over which requests are counted."""
ENOUGH = 10
"""Windows that must fit in, or the spread of their counts says nothing."""


class Figures(msgspec.Struct, frozen=True):
    """What came for one model."""

    requests: int
    rate: float
    """Per second, on average."""
    cv: float | None
    """Standard deviation of the gaps over their mean; 0: equal, 1: Poisson at one rate. None: fewer than two gaps."""
    dispersion: dict[Seconds, float]
    """Window -> the variance of the counts in windows of this length over their mean (index of dispersion; Poisson at
    one rate: 1, Gamma in long windows: CV²); windows that are too long for ten are left out."""
    peak: float
    """Requests in the busiest of the shortest of these windows over those in an average one."""


def figures(times: Times, duration: Seconds, windows: Sequence[Seconds] = WINDOWS) -> Figures:
    """Count. Windows that do not fill the last part of the duration are not counted.

    Args:
        times: ascending, in [0, duration).
        duration: in seconds.
        windows: lengths, ascending.
    """
    gaps = np.diff(times)
    mean = float(gaps.mean()) if len(gaps) > 1 else 0.0
    fitting = [w for w in windows if duration >= ENOUGH * w and counted(times, duration, w).any()]
    counts = {window: counted(times, duration, window) for window in fitting or windows[:1]}
    shortest = counts[min(counts)]
    return Figures(
        requests=len(times),
        rate=len(times) / duration,
        cv=float(gaps.std() / mean) if mean > 0 else None,
        dispersion={window: float(counts[window].var() / counts[window].mean()) for window in fitting},
        peak=float(shortest.max() / shortest.mean()) if shortest.any() else 1.0,
    )


def counted(times: Times, duration: Seconds, window: Seconds) -> np.typing.NDArray[np.intp]:
    """Requests in each whole window; in one of the duration's length where that is shorter than a window."""
    whole = int(duration / window)
    edges = np.arange(whole + 1) * window if whole else np.array([0.0, duration])
    return np.diff(np.searchsorted(times, edges))
