"""Loaded: what requests of a load tell of the stages and ways they went through.

A stage computes a request that has waited for it in another time than one that finds it at rest: caches are cold then,
and whoever has only a share of a core has some of it saved up. Where requests queue the one counts, where they do not
the other, so they are told apart. And a node that computes on sends more slowly.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutwater.client.timing import Timing
from cutwater.lab.load.log import Log
from cutwater.plan.many.served import Observed
from cutwater.units import Seconds

Stage = tuple[str, int]
"""A model, and which of its stages, from 0."""
StageSeconds = Mapping[Stage, Seconds]
"""Computing one request."""

FEW = 20
"""Requests, of which nothing is said."""
QUEUED: Seconds = 1.5e-3
"""Who waits so long at a stage has waited for others: to be unpacked takes less."""
LEAST: Seconds = 1e-6
"""Of computing: answers tell of no less."""
MOST_WAYS = 0.99
"""Of the ways, so many are looked at for what makes them longer: the longest have reasons of their own."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was measured of a placement under load; what too few requests tell is left out."""

    computing: StageSeconds
    """On average, of all requests."""
    queued: StageSeconds
    """Of those that had to wait for the stage."""
    observed: Mapping[Stage, Observed]
    beside: Mapping[str, Seconds]
    """Model -> what its requests take beside computing, if nobody else is there: whoever is behind others waits for
    them in more places than answers tell of."""


class _Told(NamedTuple):
    """What the answer to a request says."""

    model: str
    latency: Seconds
    timing: Timing
    free: bool
    """It came when nobody of its lot was there."""
    next_waits: tuple[bool, ...]
    """Per stage whether the next request of the lot waited, so that the node computed on when this one's was done."""

    @property
    def way(self) -> Seconds:
        """Where it was beside computing and waiting."""
        return self.latency - self.timing.told


def loaded_of(logs: Sequence[Log], computing: StageSeconds, lots: Mapping[str, Hashable]) -> Loaded:
    """What logs tell.

    Requests that went through as many stages tell of rests, ways and spreads together: of one model there are few.

    Args:
        logs: Of requests whose answers say where their time went.
        computing: Stages -> what they took on average meanwhile, as their workers say.
        lots: Models -> the same for those that share nodes, directly or by way of others.
    """
    alike: dict[int, list[_Told]] = {}
    for each in (told for log in logs for told in _told(log, lots)):
        alike.setdefault(len(each.timing.stages), []).append(each)
    queued: dict[Stage, Seconds] = {}
    observed: dict[Stage, Observed] = {}
    beside: dict[str, Seconds] = {}
    for stages, told in alike.items():
        held = _held(told, stages)
        beside |= _beside(told, held)
        for stage in range(stages):
            for model, (wait, seen) in _stage(told, stage, computing, held[stage]).items():
                queued[model, stage], observed[model, stage] = wait, seen
    return Loaded(computing=computing, queued=queued, observed=observed, beside=beside)


def _told(log: Log, lots: Mapping[str, Hashable]) -> list[_Told]:
    """All that answers say, lot by lot, in the order in which they came."""
    timings = dict(log.timings())
    by_lot: dict[Hashable, list[int]] = {}
    for k in range(log.fired):
        by_lot.setdefault(lots[log.models[log.model[k]]], []).append(k)
    found = []
    for some in by_lot.values():
        free, last = set(), -np.inf
        for k in some:
            if log.due[k] >= last:
                free.add(k)
            last = max(last, np.inf if np.isnan(log.ended[k]) else log.ended[k])
        order = sorted((k for k in some if k in timings), key=lambda k: log.ended[k])
        for k, after in zip(order, [*order[1:], None], strict=True):
            timing, waits = timings[k], timings[after].waits if after is not None else ()
            next_waits = tuple(stage < len(waits) and waits[stage] >= QUEUED for stage in range(len(timing.stages)))
            took = float(log.ended[k] - log.due[k])
            found.append(_Told(log.models[log.model[k]], took, timing, k in free, next_waits))
    return found


def _beside(told: Sequence[_Told], held: Sequence[Seconds]) -> dict[str, Seconds]:
    """Each model's own where enough say so, else what all say; for nodes that do not compute on."""
    every = [
        (each.model, each.latency - sum(each.timing.stages) - float(np.dot(each.next_waits, held)))
        for each in told
        if each.free
    ]
    found = {}
    for model in {each.model for each in told}:
        own = [seconds for name, seconds in every if name == model]
        if len(own) < FEW:
            own = [seconds for _, seconds in every]
        if len(own) >= FEW:
            found[model] = float(np.mean(own))
    return found


def _held(told: Sequence[_Told], stages: int) -> list[Seconds]:
    """Per stage how much longer the way is if its node computes on; by least squares, around each model's own mean.

    That a request waited itself makes the way longer, too: who is not looked at yet does not wait yet. It loses nothing
    by that, so it is told apart, and left out.
    """
    waited = np.array([[wait >= QUEUED for wait in each.timing.waits] for each in told], float)
    computes_on = np.array([each.next_waits for each in told], float)
    enough = np.minimum(np.sum(computes_on, axis=0), np.sum(1.0 - computes_on, axis=0)) >= FEW
    ways = np.array([each.way for each in told])
    usual = ways <= np.quantile(ways, MOST_WAYS)
    terms = np.column_stack([waited, computes_on * enough])[usual]
    models = np.array([each.model for each in told])[usual]
    solved = np.linalg.lstsq(_around(terms, models), _around(ways[usual], models), rcond=None)[0]
    return [max(float(each), 0.0) for each in solved[stages:]]


def _stage(
    told: Sequence[_Told], stage: int, computing: StageSeconds, held: Seconds
) -> dict[str, tuple[Seconds, Observed]]:
    """Model -> what the stage computes for one that waited for it, and the rest of what is known of it.

    By which factor it takes longer at rest is taken to be the same for all models.
    """
    models = np.array([each.model for each in told])
    took = np.maximum([each.timing.stages[stage] for each in told], LEAST)
    rested = np.array([each.timing.waits[stage] < QUEUED for each in told], float)
    factor = 1.0
    if min(rested.sum(), len(rested) - rested.sum()) >= FEW:
        apart = _around(rested, models)
        if (weight := float(apart @ apart)) > 0.0:
            factor = float(np.exp(apart @ _around(np.log(took), models) / weight))
    found = {}
    off = np.empty(len(took))
    for model in np.unique(models).tolist():
        own = models == model
        at_rest = float(rested[own].mean())
        queued = computing.get((model, stage), 0.0) / (1.0 - at_rest + at_rest * factor)
        found[model] = queued
        off[own] = took[own] / factor ** rested[own] / np.mean(took[own] / factor ** rested[own])
    low, high = np.quantile(off, (0.25, 0.75)) if len(off) >= FEW else (0.0, 0.0)
    return {
        model: (queued, Observed(spread=float(high - low) * queued, rested=(factor - 1.0) * queued, held=held))
        for model, queued in found.items()
    }


def _around(values: NDArray[np.float64], models: NDArray[np.str_]) -> NDArray[np.float64]:
    """[n, ...] what is left of values without the mean of each model's."""
    left = values.copy()
    for model in np.unique(models):
        left[models == model] -= values[models == model].mean(axis=0)
    return left
