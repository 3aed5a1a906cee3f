"""Loaded: what requests of a load tell of the stages and ways they went through.

A stage computes a request that has waited for it in another time than one that finds it at rest: caches are cold then,
and whoever has only a share of a core has some of it saved up. Where requests queue the one counts, where they do not
the other, so they are told apart.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutwater.client.timing import Timing
from cutwater.lab.load.log import Log
from cutwater.plan.problem import Floats
from cutwater.units import Seconds

Stage = tuple[str, int]
"""A model, and which of its stages, from 0."""
StageSeconds = Mapping[Stage, Seconds]
"""Computing one request."""

FEW = 20
"""Requests, of which nothing is said."""
QUEUED: Seconds = 1.5e-3
"""Who waits so long at a stage has waited for others: to be unpacked takes less."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was measured of a placement under load; what few requests tell is left out."""

    computing: StageSeconds
    """On average, of all requests."""
    queued: StageSeconds
    """Of those that had to wait for the stage."""
    rested: StageSeconds
    """By how much longer it takes, if it is at rest when a request comes; negative: shorter."""
    beside: Mapping[str, Seconds]
    """Model -> what its requests take beside computing, if nobody else is there: whoever is behind others waits for
    them in more places than answers tell of."""
    spread: StageSeconds
    """Between the quartiles of what the stage computes, of those that waited and of those that did not."""


def loaded_of(log: Log, computing: StageSeconds, lots: Mapping[str, Hashable]) -> Loaded:
    """What a log tells.

    Args:
        log: Of requests whose answers say where their time went.
        computing: Stages -> what they took on average meanwhile, as their workers say.
        lots: Models -> the same for those that share nodes, directly or by way of others.
    """
    told: dict[Hashable, list[tuple[int, Timing]]] = {}
    for k, timing in log.timings():
        told.setdefault(lots[log.models[log.model[k]]], []).append((k, timing))
    found = Loaded(computing=computing, queued={}, rested={}, beside={}, spread={})
    free = _free(log, lots)
    for timings in told.values():
        found = _with(found, log, timings, free)
    return found


def _free(log: Log, lots: Mapping[str, Hashable]) -> NDArray[np.bool_]:
    """[fired] whether a request came when nobody of its lot was there."""
    due, ended = log.due[: log.fired], log.ended[: log.fired]
    ends = np.where(np.isnan(ended), np.inf, ended)
    names = {lot: n for n, lot in enumerate(dict.fromkeys(lots.values()))}
    of_lot = np.array([names[lots[model]] for model in log.models])[np.asarray(log.model[: log.fired], int)]
    free = np.zeros(len(due), bool)
    for lot in range(len(names)):
        which = np.flatnonzero(of_lot == lot)
        before = np.concatenate(([-np.inf], np.maximum.accumulate(ends[which])[:-1]))
        free[which] = due[which] >= before
    return free


def _with(found: Loaded, log: Log, timings: list[tuple[int, Timing]], free: NDArray[np.bool_]) -> Loaded:
    """With what the requests of one lot tell."""
    models = np.array([log.models[log.model[k]] for k, _ in timings])
    beside = np.array([log.ended[k] - log.due[k] - sum(each.stages) if free[k] else np.nan for k, each in timings])
    besides = dict(found.beside)
    for model in np.unique(models).tolist():
        own = beside[(models == model) & ~np.isnan(beside)]
        if len(own) >= FEW:
            besides[model] = float(np.mean(own))
    queued, rested, spread = dict(found.queued), dict(found.rested), dict(found.spread)
    for stage in range(max(len(each.stages) for _, each in timings)):
        which = np.array([len(each.stages) > stage for _, each in timings])
        took = np.array([each.stages[stage] for _, each in timings if len(each.stages) > stage])
        waited = np.array([each.waits[stage] >= QUEUED for _, each in timings if len(each.stages) > stage])
        here = models[which]
        for model in np.unique(here).tolist():
            took[here == model] /= took[here == model].mean()
        longer, width = _two_kinds(took, waited)
        for model in np.unique(here).tolist():
            mean = found.computing.get((model, stage), 0.0)
            share = float(np.mean(~waited[here == model]))
            rested[model, stage] = longer * mean
            queued[model, stage] = (1.0 - share * longer) * mean
            if np.sum(here == model) >= FEW:
                spread[model, stage] = width * mean
    return Loaded(computing=found.computing, queued=queued, rested=rested, beside=besides, spread=spread)


def _two_kinds(took: Floats, waited: NDArray[np.bool_]) -> tuple[float, float]:
    """By how much longer those took that did not wait; and the distance of quartiles within both kinds."""
    kinds = took[waited], took[~waited]
    if min(map(len, kinds)) < FEW:
        low, high = np.quantile(took, (0.25, 0.75))
        return 0.0, float(high - low)
    low, high = np.quantile(np.concatenate([kind - kind.mean() for kind in kinds]), (0.25, 0.75))
    return float(kinds[1].mean() - kinds[0].mean()), float(high - low)
