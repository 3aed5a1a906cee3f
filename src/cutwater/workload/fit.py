"""Fits Gamma windows to a recording: how fast requests came, and how much they clumped, window by window."""

import numpy as np

from cutwater.errors import BadQuantity
from cutwater.units import Seconds
from cutwater.workload.arrivals import Times, Windows
from cutwater.workload.curve import pieces
from cutwater.workload.limits import check_changes

LEAST = 30
"""Gaps from which a window's own CV is estimated."""
ROUNDED = 1e-9
"""Part of a window that a quotient may come out too large by."""
STEADIEST = 0.01
"""Of gaps that do not vary at all a Gamma distribution cannot be made."""


def fit(times: Times, duration: Seconds, window: Seconds) -> Windows:
    """The rate and the CV in each window of a recording.

    The rate is the number of requests over the window's length. Gaps are then measured in requests expected at those
    rates rather than in seconds, so that a rate that rises from window to window is not taken for clumping; a gap
    belongs to the window in which it begins. Windows in which fewer than `LEAST` gaps begin share one CV, that of all
    their gaps together; if those are too few as well, they are taken for Poisson.

    A window should hold some hundred requests: in shorter ones clumps are taken for changes of the rate.

    Args:
        times: ascending, in [0, duration).
        duration: of the recording.
        window: how long each window is; the last one may reach over the end, and its rate is that of its part.

    Raises:
        BadQuantity: A length is no time, the windows are too many, or there is no request.
    """
    for name, value in (("duration", duration), ("window", window)):
        if not 0 < value < float("inf"):
            raise BadQuantity(f"{name}: {value:g} s must be above 0 and finite")
    check_changes("window", duration / window)
    if not len(times):
        raise BadQuantity("a recording without requests says nothing about its windows")
    count = max(int(np.ceil(duration / window - ROUNDED)), 1)
    edges = np.append(np.arange(count) * window, duration)
    rates = np.diff(np.searchsorted(times, edges)) / np.diff(edges)
    gaps = np.diff(pieces(edges, rates).expected(times))
    owner = np.searchsorted(edges, times[:-1], side="right") - 1
    cvs = _cvs(gaps, owner, len(rates))
    return Windows(window, tuple(rates.tolist()), tuple(cvs.tolist()))


def _cvs(gaps: Times, owner: np.typing.NDArray[np.intp], windows: int) -> Times:
    counts = np.bincount(owner, minlength=windows)
    thin = counts < LEAST
    group = np.where(thin[owner], windows, owner)  # one group more, for all thin windows
    counts = np.bincount(group, minlength=windows + 1)
    known = np.maximum(counts, 1)
    means = np.bincount(group, gaps, minlength=windows + 1) / known
    spread = np.bincount(group, (gaps - means[group]) ** 2, minlength=windows + 1) / np.maximum(counts - 1, 1)
    cvs = np.sqrt(spread) / np.where(means > 0, means, 1.0)
    if counts[windows] < LEAST:
        cvs[windows] = 1.0
    cvs[:windows][thin] = cvs[windows]
    return np.asarray(np.clip(cvs[:windows], STEADIEST, 100.0))
