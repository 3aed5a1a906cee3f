"""What a pause costs a stage: caches have grown cold when the next request comes, and clocks have slowed down.

A request that comes ``gap`` seconds after the one before it takes ``warm + most * (1 - exp(-gap / time))``.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cutwater.frameworks.base import Session
from cutwater.lab.timing import Feeds, MeasureOptions
from cutwater.profile.profile import Rest

GAPS = (0.0, 2e-3, 5e-3, 10e-3, 40e-3)
"""Seconds that a stage is let rest when it is measured."""
TIMES = np.geomspace(0.5e-3, 50e-3, 41)
"""Among which the time constant is looked for; seconds."""


def fit_rest(gaps: ArrayLike, seconds: ArrayLike) -> tuple[float, Rest]:
    """What runs take that follow one another at once, and what pauses add, by least squares.

    Args:
        gaps: [n] seconds of pause before each run.
        seconds: [n] what each run took.
    """
    rested, took = np.asarray(gaps, float), np.asarray(seconds, float)
    best = (float("inf"), float(np.mean(took)), Rest())
    for tau in TIMES:
        cold = 1.0 - np.exp(-rested / tau)
        if np.ptp(cold) == 0.0:
            continue
        most, warm = np.polyfit(cold, took, 1)
        if most <= 0.0:
            continue
        error = float(np.sum((warm + most * cold - took) ** 2))
        if error < best[0]:
            best = (error, float(warm), Rest(float(most), float(tau)))
    return best[1:]


def cold(rest: Rest, gaps: ArrayLike) -> NDArray[np.float64]:
    """[n] seconds that pauses of ``gaps`` add."""
    rested = np.asarray(gaps, float)
    return rest.most * (1.0 - np.exp(-rested / rest.time)) if rest.most else np.zeros_like(rested)


def measure_rest(session: Session, feeds: Feeds, options: MeasureOptions) -> Rest:
    """What pauses add to a request of a loaded stage, on freshly written inputs. Raises StageFailed, BadTensor."""
    rounds = max(options.rounds // 2, 1)
    gaps: list[float] = []
    took: list[float] = []
    for _ in range(rounds):
        for gap in GAPS:
            fresh = {name: array.copy() for name, array in feeds.items()}
            time.sleep(gap)
            # With one thread its processor time is the time, whoever else wanted the core meanwhile.
            clock = time.thread_time if options.threads == 1 else time.perf_counter
            began = clock()
            session.run(fresh)
            took.append((clock() - began) / options.batch)
            gaps.append(gap)
    return fit_rest(gaps, _usual(gaps, took))[1]


def _usual(gaps: Sequence[float], took: Sequence[float]) -> NDArray[np.float64]:
    """[n] each run's time replaced by the median of those after the same pause, so that interruptions do not count."""
    every = np.asarray(took)
    medians = {gap: float(np.median(every[[g == gap for g in gaps]])) for gap in set(gaps)}
    return np.array([medians[gap] for gap in gaps])
