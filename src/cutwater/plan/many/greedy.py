"""greedy: fill given groups with replicas, one after the other, each where it helps most, as long as it helps.

The faster of the two heuristics of AlpaServe (Li et al., OSDI 2023, section 4.2): the model that misses most gets the
next replica, on the group with the least to do that has the memory for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cutwater.plan.many.judge import Judge, Worth
from cutwater.plan.many.served import Group, Placement, Replica, fits
from cutwater.plan.problem import Floats

TRIES = 2
"""Groups that are tried for a model before the next model has its turn."""


def filled(judge: Judge, placement: Placement, go_on: Callable[[], bool] = lambda: True) -> tuple[Placement, Worth]:
    """A placement with as many more replicas as help."""
    worth = judge.worth(placement)
    while go_on():
        better = _one_more(judge, placement, worth)
        if better is None:
            break
        placement, worth = better
    return placement, worth


def _one_more(judge: Judge, placement: Placement, worth: Worth) -> tuple[Placement, Worth] | None:
    missed = judge.missed(placement)
    busy = loads(judge, placement)
    for model in np.argsort(-missed, kind="stable").tolist():
        if not missed[model]:
            return None
        tried = 0
        for at in np.argsort(busy, kind="stable").tolist():
            grown = with_replica(judge, placement, model, at)
            if grown is None:
                continue
            new = judge.worth(grown)
            if new.answered > worth.answered:
                return grown, new
            tried += 1
            if tried == TRIES:
                break
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
            return exchanged(placement, {at: (grown,)})
    return None


def ways_on(judge: Judge, model: int, stages: int) -> list[int]:
    """The candidates of a model with so many stages, those first whose slowest stage is the fastest."""
    candidates = judge.served[model].candidates
    which = [k for k, candidate in enumerate(candidates) if candidate.stages == stages]
    return sorted(which, key=lambda k: max(candidates[k].seconds))


def exchanged(placement: Placement, new: dict[int, Sequence[Group]]) -> Placement:
    """With other groups in the place of some."""
    groups: list[Group] = []
    for at, group in enumerate(placement.groups):
        groups += new.get(at, (group,))
    return Placement(tuple(groups))
