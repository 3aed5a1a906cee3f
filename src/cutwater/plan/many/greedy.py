"""greedy: fill given groups with replicas, one after the other, each where it helps most, as long as it helps.

The faster of the two heuristics of AlpaServe (Li et al., OSDI 2023, section 4.2): the model that misses most gets the
next replica, on the group with the least to do that has the memory for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from cutwater.plan.many.judge import Judge, Worth
from cutwater.plan.many.served import Group, Placement, Replica, fits
from cutwater.plan.problem import Floats

TRIES = 2
"""Groups that are tried for a model before the next model has its turn."""
PATIENCE = 16
"""Replicas in a row that may turn out not to help before no more are tried."""


def filled(
    judge: Judge, placement: Placement, go_on: Callable[[], bool] = lambda: True, *, many: int = 1
) -> tuple[Placement, Worth]:
    """A placement with as many more replicas as help.

    ``many``: so many models get one at a time in the beginning, and half as many whenever that does not help. With
    hundreds of groups each look at a placement takes long, and the first replicas are not hard to choose.
    """
    worth = judge.worth(placement)
    while go_on():
        better = _several(judge, placement, worth, many) if many > 1 else _one(judge, placement, worth)
        if better is not None:
            placement, worth = better
        elif many > 1:
            many //= 2
        else:
            break
    return placement, worth


def _several(judge: Judge, placement: Placement, worth: Worth, many: int) -> tuple[Placement, Worth] | None:
    """One more replica of each of so many models."""
    missed = judge.missed(placement)
    busy = loads(judge, placement)
    grown = placement
    for model in np.argsort(-missed, kind="stable")[:many].tolist():
        for at in np.argsort(busy, kind="stable").tolist() if missed[model] else ():
            more = with_replica(judge, grown, model, at)
            if more is not None:
                grown = more
                seconds = judge.served[model].candidates[grown.groups[at].replicas[-1].candidate].seconds
                busy[at] += missed[model] * max(seconds)
                break
    new = judge.worth(grown)
    return (grown, new) if new.answered > worth.answered else None


def _one(judge: Judge, placement: Placement, worth: Worth) -> tuple[Placement, Worth] | None:
    """One more replica of the first model for which it helps."""
    missed = judge.missed(placement)
    busy = loads(judge, placement)
    tries = 0
    for model in np.argsort(-missed, kind="stable").tolist():
        if not missed[model]:
            return None
        places = (with_replica(judge, placement, model, at) for at in np.argsort(busy, kind="stable").tolist())
        for grown in islice((place for place in places if place is not None), TRIES):
            new = judge.worth(grown)
            if new.answered > worth.answered:
                return grown, new
            tries += 1
        if tries >= PATIENCE:
            return None
    return None


def loads(judge: Judge, placement: Placement) -> Floats:
    """[groups] of each group the seconds that its busiest node works, if replicas share their model's requests."""
    ways = np.zeros(len(judge.served))
    for group in placement.groups:
        ways[list(group.models)] += 1
    busy = np.zeros(len(placement.groups))
    for at, group in enumerate(placement.groups):
        work = np.zeros(len(group.nodes))
        for replica in group.replicas:
            candidate = judge.served[replica.model].candidates[replica.candidate]
            work += np.array(candidate.seconds) * judge.stream.counts[replica.model] / ways[replica.model]
        busy[at] = (work / [judge.nodes[node].speed for node in group.nodes]).max()
    return busy


def with_replica(judge: Judge, placement: Placement, model: int, at: int) -> Placement | None:
    """With one more replica, by the first candidate that fits; None: none does, or the group has the model."""
    group = placement.groups[at]
    if model in group.models:
        return None
    for candidate in ways_on(judge, model, len(group.nodes)):
        grown = replace(group, replicas=(*group.replicas, Replica(model, candidate)))
        if fits(judge.served, judge.nodes, grown):
            more = exchanged(placement, {at: (grown,)})
            if judge.allows(more):
                return more
    return None


def ways_on(judge: Judge, model: int, stages: int) -> list[int]:
    """The candidates of a model with so many stages, those first whose slowest, or largest, stage is the least.

    They take as few requests at a time as the model can; `cutwater.plan.many.batch_limits` decides afterwards.
    """
    candidates = judge.served[model].candidates
    least = min((candidate.batch for candidate in candidates), default=1)
    which = [k for k, candidate in enumerate(candidates) if candidate.stages == stages and candidate.batch == least]
    return sorted(which, key=lambda k: candidates[k].largest if judge.sparing else max(candidates[k].seconds))


def exchanged(placement: Placement, new: dict[int, Sequence[Group]]) -> Placement:
    """With other groups in the place of some."""
    groups: list[Group] = []
    for at, group in enumerate(placement.groups):
        groups += new.get(at, (group,))
    return Placement(tuple(groups))
