"""Stream: the requests for all models in the order in which they come."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutwater.plan.problem import Bools, Floats
from cutwater.units import Seconds

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """R requests for M models."""

    times: Floats
    """[R] seconds, never falling."""
    models: Indices
    """[R] whom each is for."""
    counts: Indices
    """[M] how many there are for each."""

    def of(self, models: Iterable[int]) -> Indices:
        """Which requests are for these models."""
        wanted: Bools = np.zeros(len(self.counts), bool)
        wanted[list(models)] = True
        return np.flatnonzero(wanted[self.models])

    def only(self, which: Indices) -> "Stream":
        """Some of the requests."""
        models = self.models[which]
        return Stream(self.times[which], models, np.bincount(models, minlength=len(self.counts)))

    def between(self, begin: Seconds, end: Seconds) -> "Stream":
        """The requests that come in ``[begin, end)``."""
        return self.only(np.arange(*np.searchsorted(self.times, (begin, end))))


def merged(arrivals: Sequence[Floats]) -> Stream:
    """One stream of each model's arrivals, which need not be sorted; of those at one time the first model's first."""
    counts = np.array([len(times) for times in arrivals], np.intp)
    times = np.concatenate([np.asarray(each, np.float64) for each in arrivals]) if len(arrivals) else np.zeros(0)
    models = np.repeat(np.arange(len(arrivals), dtype=np.intp), counts)
    order = np.argsort(times, kind="stable")
    return Stream(times[order], models[order], counts)
