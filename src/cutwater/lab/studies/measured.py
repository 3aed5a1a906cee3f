"""Measured: a case with the costs that were seen on real nodes, in place of those it was planned with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cutwater.lab.load.log import Log
from cutwater.lab.studies.cases import Case
from cutwater.plan.many.served import Candidate, Group, Placement, Served
from cutwater.plan.many.tracks import coupled, models_of
from cutwater.units import Seconds

Stage = tuple[str, int]
"""A model, and which of its stages, from 0."""
StageSeconds = dict[Stage, Seconds]
"""Computing one request."""
Spent = dict[Stage, tuple[Seconds, int]]
"""Seconds computed, and requests, of all workers together."""


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
    lone: Mapping[str, Seconds]
    """Model -> mean latency of requests that met no other on their nodes; not of models that had too few of these."""


FEW = 5
"""Requests, of which no mean is taken."""


def lone_means(log: Log, lots: Sequence[Sequence[str]]) -> dict[str, Seconds]:
    """Model -> mean latency of its answers that met no other request; ``lots`` are models that share nodes."""
    found: dict[str, Seconds] = {}
    due, ended, good = log.due[: log.fired], log.ended, log.good
    for models in lots:
        ours = np.isin(log.model[: log.fired], [log.models.index(model) for model in models if model in log.models])
        which = np.flatnonzero(ours & good)
        before = np.maximum.accumulate(np.concatenate([[-np.inf], ended[which]]))[:-1]
        after = np.append(due[which][1:], np.inf)
        lone = which[(before < due[which]) & (after > ended[which])]
        for model in models:
            own = lone[log.model[lone] == log.models.index(model)] if model in log.models else lone[:0]
            if len(own) >= FEW:
                found[model] = float((ended[own] - due[own]).mean())
    return found


def per_request(before: Spent, after: Spent) -> StageSeconds:
    """What was computed in between; stages that had nothing to do are left out."""
    found = {}
    for stage, (spent, served) in after.items():
        spent_before, served_before = before.get(stage, (0.0, 0))
        if served > served_before:
            found[stage] = (spent - spent_before) / (served - served_before)
    return found


def as_measured(case: Case, placed: Placement, found: Found, loaded: Loaded) -> Case:
    """The case with what stages compute under its load, and what requests were seen to cost besides.

    A node that always has something to do answers at the rate at which it works: what its stages do not compute of its
    time is what it spends on requests besides, alike for all. What a request that meets no other takes beyond what
    nodes work for it, it waits on its way; under load that is more, for others have the cores then.
    """
    served = list(case.served)
    for groups in coupled(placed):
        overhead = _overhead(case, groups, found)
        for group in groups:
            for replica in group.replicas:
                model = served[replica.model]
                candidates = list(model.candidates)
                candidates[replica.candidate] = _candidate(
                    case, model, candidates[replica.candidate], overhead, found, loaded
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
    case: Case, model: Served, candidate: Candidate, overhead: Seconds, found: Found, loaded: Loaded
) -> Candidate:
    name, stages = model.name, range(candidate.stages)
    speed = case.fleet.nodes[0].speed  # nodes are alike; a candidate's seconds are those of a whole core
    worked = [loaded.computing[name, k] + overhead for k in stages]
    if name in loaded.lone:
        beside = loaded.lone[name] - sum(worked)
    else:
        beside = found.alone[name] - sum(found.computing[name, k] + overhead for k in stages)
    hop = max(beside, 0.0) / (candidate.stages + 1)
    return replace(candidate, seconds=tuple(each * speed for each in worked), hops=(hop,) * (candidate.stages + 1))
