"""The one place where arrivals become times: a description, a duration and a source of chance in, sorted times out."""

import math

import numpy as np
from numpy.random import Generator

from cutwater.errors import BadQuantity
from cutwater.units import Seconds
from cutwater.workload.arrivals import Arrivals, Constant, Poisson, Replay, Sum, Times, Windows
from cutwater.workload.curve import curve
from cutwater.workload.limits import LONGEST
from cutwater.workload.renewal import renewals

MOST = 100_000_000
"""Requests that are drawn at once: they take 800 MB."""


def draw(arrivals: Arrivals, duration: Seconds, rng: Generator) -> Times:
    """When requests come, in seconds from the start, ascending, all before ``duration``.

    The rate's own chance and that of the gaps are drawn from streams of their own: the same seed with another CV has
    its jumps at the same times.

    Raises:
        BadQuantity: The duration is no time, the rate changes too often, or more than `MOST` requests are expected.
    """
    if not 0 < duration <= LONGEST:
        raise BadQuantity(f"duration: {duration:g} s must be above 0 and at most {LONGEST:g} s")
    if isinstance(arrivals, Sum):
        streams = zip(arrivals.parts, rng.spawn(len(arrivals.parts)), strict=True)
        return np.sort(np.concatenate([draw(part, duration, stream) for part, stream in streams]))
    if isinstance(arrivals, Replay):
        return replayed(arrivals, duration)
    jumps, gaps = rng.spawn(2)
    expected = curve(arrivals, duration, jumps)
    if expected.total[-1] > MOST:
        raise BadQuantity(f"rate: {expected.total[-1]:.3g} requests in {duration:g} s are more than {MOST:,}")
    if isinstance(arrivals, Constant):
        times = np.arange(math.ceil(expected.total[-1])) / arrivals.rate
        return times[times < duration]
    if isinstance(arrivals, Windows):
        lengths, cvs = np.diff(expected.total), np.array(arrivals.cvs[: len(expected.edges) - 1])
    else:
        cv = 1.0 if isinstance(arrivals, Poisson) else arrivals.cv
        lengths, cvs = expected.total[-1:], np.array([cv])
    return expected.moments(renewals(lengths, cvs, gaps))


def replayed(arrivals: Replay, duration: Seconds) -> Times:
    """A recording's own times, less what is skipped, at its speed."""
    begin = np.searchsorted(arrivals.times, arrivals.skip)
    times = (arrivals.times[begin:] - arrivals.skip) / arrivals.speed
    return times[: np.searchsorted(times, duration)]
