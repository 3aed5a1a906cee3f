"""Measured: a case with the costs that were seen on real nodes, in place of those it was planned with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cutwater.lab.studies.cases import Case
from cutwater.lab.studies.loaded import Loaded, Stage, StageSeconds
from cutwater.plan.many.served import Candidate, Group, Observed, Placement, Served
from cutwater.plan.many.tracks import coupled, models_of
from cutwater.units import Seconds

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


def per_request(*windows: tuple[Spent, Spent]) -> dict[Stage, Seconds]:
    """What was computed from one look to another, all windows together; stages that had nothing to do are left out."""
    sums: dict[Stage, tuple[Seconds, int]] = {}
    for before, after in windows:
        for worker, (spent, served) in after.items():
            spent_before, served_before = before.get(worker, (0.0, 0))
            seconds, count = sums.get(worker[:2], (0.0, 0))
            sums[worker[:2]] = seconds + spent - spent_before, count + served - served_before
    return {stage: seconds / count for stage, (seconds, count) in sums.items() if count}


def as_measured(case: Case, placed: Placement, found: Found, loaded: Loaded) -> Case:
    """The case with what stages compute, and what requests were seen to cost besides, under its load.

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
    if name in loaded.beside:
        beside = loaded.beside[name]
    else:
        beside = found.alone[name] - sum(found.computing[name, k] for k in stages)
    hop = max(beside - candidate.stages * overhead, 0.0) / (candidate.stages + 1)
    queued = [loaded.queued.get((name, k), loaded.computing[name, k]) for k in stages]
    return replace(
        candidate,
        seconds=tuple((seconds + overhead) * speed for seconds in queued),
        hops=(hop,) * (candidate.stages + 1),
        observed=tuple(_times(loaded.observed.get((name, k), Observed()), speed) for k in stages),
    )


def _times(observed: Observed, factor: float) -> Observed:
    return Observed(spread=observed.spread * factor, rested=observed.rested * factor, held=observed.held * factor)
