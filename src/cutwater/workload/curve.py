"""Curves: how many requests are expected up to each moment, for rates that change; chance enters where a rate jumps."""

from bisect import bisect
from typing import assert_never

import msgspec
import numpy as np
from numpy.random import Generator

from cutwater.units import Seconds
from cutwater.workload.arrivals import (
    Arrivals,
    Bursts,
    Constant,
    Diurnal,
    Gamma,
    Modulated,
    Poisson,
    Replay,
    Steps,
    Sum,
    Times,
    Windows,
)
from cutwater.workload.limits import check_changes

DETAIL = 1024
"""Straight pieces in a period of a cosine."""
Changing = Constant | Poisson | Gamma | Steps | Bursts | Diurnal | Modulated | Windows


class Curve(msgspec.Struct, frozen=True, eq=False):
    """Expected requests over time, in straight pieces."""

    edges: Times
    """Where pieces begin, and where the last one ends: one more than pieces."""
    total: Times
    """Requests expected from the start up to each edge."""

    def expected(self, times: Times) -> Times:
        """Requests expected up to each of ``times``."""
        return np.asarray(np.interp(times, self.edges, self.total))

    def moments(self, expected: Times) -> Times:
        """The inverse: when so many are expected; always before the end."""
        times = np.interp(expected, self.total, self.edges)
        return np.asarray(np.minimum(times, np.nextafter(self.edges[-1], 0.0)))


def pieces(edges: Times, rates: Times) -> Curve:
    """The curve of a rate that is constant between edges."""
    return Curve(edges, np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates)]))


def curve(arrivals: Changing, duration: Seconds, rng: Generator) -> Curve:
    """The curve of these arrivals from 0 to ``duration``; ``rng`` is for those whose rate jumps at random.

    Raises:
        BadQuantity: The rate changes too often.
    """
    match arrivals:
        case Constant() | Poisson() | Gamma():
            return pieces(np.array([0.0, duration]), np.array([arrivals.rate]))
        case Steps():
            at = np.array([step.at for step in arrivals.steps])
            begun = at < duration
            return pieces(np.append(at[begun], duration), np.array([step.rate for step in arrivals.steps])[begun])
        case Windows():
            return _windows(arrivals, duration)
        case Bursts():
            return _bursts(arrivals, duration)
        case Diurnal():
            return _diurnal(arrivals, duration)
        case Modulated():
            return _modulated(arrivals, duration, rng)
        case _:
            assert_never(arrivals)


def _windows(arrivals: Windows, duration: Seconds) -> Curve:
    count = min(len(arrivals.rates), int(np.ceil(duration / arrivals.window)))
    edges = np.minimum(np.arange(count + 1) * arrivals.window, duration)
    return pieces(edges, np.array(arrivals.rates[:count]))


def _bursts(arrivals: Bursts, duration: Seconds) -> Curve:
    cycle = arrivals.burst + arrivals.pause
    check_changes("burst", 2 * duration / cycle)
    begins = np.arange(int(np.ceil(duration / cycle))) * cycle
    edges = np.column_stack([begins, begins + arrivals.burst]).ravel()
    rates = np.tile([arrivals.rate, arrivals.idle], len(begins))
    inside = edges < duration
    return pieces(np.append(edges[inside], duration), rates[inside])


def _diurnal(arrivals: Diurnal, duration: Seconds) -> Curve:
    check_changes("period", DETAIL * duration / arrivals.period)
    count = max(DETAIL, int(np.ceil(DETAIL * duration / arrivals.period)))
    edges = np.linspace(0.0, duration, count + 1)
    peak = arrivals.period / 2 if arrivals.peak is None else arrivals.peak
    angle = 2 * np.pi / arrivals.period
    swung = np.sin(angle * (edges - peak)) + np.sin(angle * peak)
    return Curve(edges, np.maximum.accumulate(arrivals.rate * (edges + arrivals.swing / angle * swung)))


def _modulated(arrivals: Modulated, duration: Seconds, rng: Generator) -> Curve:
    stays = np.array([state.stay for state in arrivals.states])
    rates = np.array([state.rate for state in arrivals.states])
    shares = arrivals.shares()
    check_changes("states", duration * float((shares / stays).sum()))
    reach = arrivals.matrix().cumsum(axis=1)[:, :-1].tolist()  # without the last, which is 1 but for rounding
    here = bisect(shares.cumsum()[:-1].tolist(), rng.random())
    visits: list[int] = []
    ends = np.zeros(1)
    while ends[-1] < duration:  # exponential stays forget their past: the first is as long as any other
        expected = (duration - ends[-1]) * float((shares / stays).sum())
        first = len(visits)
        for chance in rng.random(int(expected + 4 * expected**0.5) + 1).tolist():
            visits.append(here)
            here = bisect(reach[here], chance)
        lengths = stays[visits[first:]] * rng.standard_exponential(len(visits) - first)
        ends = np.concatenate([ends, ends[-1] + np.cumsum(lengths)])
    count = int(np.searchsorted(ends, duration))
    return pieces(np.append(ends[:count], duration), rates[visits[:count]])


def mean_rate(arrivals: Arrivals, duration: Seconds) -> float:
    """Requests per second that these arrivals have on average, before any is drawn."""
    match arrivals:
        case Modulated():
            return float(arrivals.shares() @ np.array([state.rate for state in arrivals.states]))
        case Replay():
            begin, end = arrivals.skip, arrivals.skip + duration * arrivals.speed
            return float(np.diff(np.searchsorted(arrivals.times, (begin, end)))[0] / duration)
        case Sum():
            return sum(mean_rate(part, duration) for part in arrivals.parts)
        case _:
            return float(curve(arrivals, duration, np.random.default_rng(0)).total[-1] / duration)
