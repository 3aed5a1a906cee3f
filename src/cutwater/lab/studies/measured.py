"""Measured: a case with the costs that were seen on real nodes, in place of those it was planned with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cutwater.client.timing import Timing
from cutwater.lab.load.log import Log
from cutwater.lab.studies.cases import Case
from cutwater.plan.many.served import Candidate, Group, Placement, Served
from cutwater.plan.many.tracks import coupled, models_of
from cutwater.units import Seconds

Stage = tuple[str, int]
"""A model, and which of its stages, from 0."""
StageSeconds = Mapping[Stage, Seconds]
"""Computing one request."""
Spent = dict[tuple[str, int, int], tuple[Seconds, int]]
"""Model, stage and worker, by its pid -> seconds computed, and requests, since that one started."""


@dataclass(frozen=True)
class Found:
    """What was measured of a placement before anything was sent to it."""

    alone: Mapping[str, Seconds]
    """Model -> latency of a request that is alone."""
    computing: StageSeconds
    """Meanwhile."""
    answered: Mapping[str, float]
    """Model -> answers per second while all nodes always had something to do."""
    busy: StageSeconds
    """Meanwhile."""


@dataclass(frozen=True)
class Loaded:
    """What was measured of it under such a load as it is to be judged by."""

    computing: StageSeconds
    beside: Mapping[str, Seconds]
    """Model -> see `beside_of`."""
    spread: StageSeconds
    """Between the quartiles of what stages compute."""


FEW = 20
"""Requests, of which nothing is said."""


def beside_of(log: Log) -> dict[str, Seconds]:
    """Model -> what its requests take beside computing, and beside waiting for others; none of few requests.

    That is the median of those that came when nobody else was there: whoever is behind others waits for them in more
    places than answers tell of.
    """
    due, ended, told = log.due[: log.fired], log.ended[: log.fired], _told(log)
    before = np.concatenate(([-np.inf], np.maximum.accumulate(np.where(np.isnan(ended), np.inf, ended))[:-1]))
    free = due >= before
    found = {}
    for model, timings in told.items():
        beside = [ended[k] - due[k] - sum(each.stages) for k, each in timings if free[k]]
        if len(timings) >= FEW and beside:
            found[model] = float(np.median(beside))
    return found


def spreads_of(log: Log) -> dict[Stage, Seconds]:
    """Stage -> distance between the quartiles of what it computed for a request; none of few requests."""
    found = {}
    for model, timings in _told(log).items():
        if len(timings) < FEW:
            continue
        stages = max(len(each.stages) for _, each in timings)
        for stage in range(stages):
            low, high = np.quantile(
                [each.stages[stage] for _, each in timings if len(each.stages) > stage], (0.25, 0.75)
            )
            found[model, stage] = float(high - low)
    return found


def _told(log: Log) -> dict[str, list[tuple[int, Timing]]]:
    """Model -> its requests, and where their time went."""
    found: dict[str, list[tuple[int, Timing]]] = {}
    for k, timing in log.timings():
        found.setdefault(log.models[log.model[k]], []).append((k, timing))
    return found


def per_request(before: Spent, after: Spent) -> dict[Stage, Seconds]:
    """What was computed in between; stages that had nothing to do are left out."""
    sums: dict[Stage, tuple[Seconds, int]] = {}
    for worker, (spent, served) in after.items():
        spent_before, served_before = before.get(worker, (0.0, 0))
        seconds, count = sums.get(worker[:2], (0.0, 0))
        sums[worker[:2]] = seconds + spent - spent_before, count + served - served_before
    return {stage: seconds / count for stage, (seconds, count) in sums.items() if count}


def as_measured(case: Case, placed: Placement, found: Found, loaded: Loaded, computing: StageSeconds) -> Case:
    """The case with what stages compute, ``computing``, and what requests were seen to cost besides under its load.

    A node that always has something to do answers at the rate at which it works: what its stages do not compute of its
    time is what it spends on requests besides, alike for all. What a request takes beside computing and waiting for
    others, and nodes do not work for it, it waits on its way.
    """
    served = list(case.served)
    for groups in coupled(placed):
        overhead = _overhead(case, groups, found)
        for group in groups:
            for replica in group.replicas:
                model = served[replica.model]
                candidates = list(model.candidates)
                candidates[replica.candidate] = _candidate(
                    case, model, candidates[replica.candidate], overhead, found, loaded, computing
                )
                served[replica.model] = replace(model, candidates=tuple(candidates))
    return replace(case, served=tuple(served))


def _overhead(case: Case, groups: Sequence[Group], found: Found) -> Seconds:
    """What the busiest node of some groups spends on a request besides computing its stage."""
    ways = {model: sum(model in group.models for group in groups) for model in models_of(groups)}
    names = {model: case.served[model].name for model in ways}
    busiest, requests = 0.0, 0.0
    for group in groups:
        rates = {model: found.answered[names[model]] / ways[model] for model in group.models}
        for stage in range(len(group.nodes)):
            busy = sum(rate * found.busy[names[model], stage] for model, rate in rates.items())
            if busy > busiest:
                busiest, requests = busy, sum(rates.values())
    return max(1.0 - busiest, 0.0) / requests if requests else 0.0


def _candidate(
    case: Case,
    model: Served,
    candidate: Candidate,
    overhead: Seconds,
    found: Found,
    loaded: Loaded,
    computing: StageSeconds,
) -> Candidate:
    name, stages = model.name, range(candidate.stages)
    speed = case.fleet.nodes[0].speed  # nodes are alike; a candidate's seconds are those of a whole core
    if name in loaded.beside:
        beside = loaded.beside[name]
    else:
        beside = found.alone[name] - sum(found.computing[name, k] for k in stages)
    hop = max(beside - candidate.stages * overhead, 0.0) / (candidate.stages + 1)
    return replace(
        candidate,
        seconds=tuple((computing[name, k] + overhead) * speed for k in stages),
        hops=(hop,) * (candidate.stages + 1),
        spread=tuple(loaded.spread.get((name, k), 0.0) * speed for k in stages),
    )
