"""with_batches: how many requests of a model a stage takes at once, chosen for a placement as it is.

Batches make a node faster and a request slower. Which models gain is seen on the requests themselves: one model after
the other, those with the most misses first, gets another limit on all its groups, as long as that is better.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cutwater.plan.many.judge import Judge
from cutwater.plan.many.served import Candidate, Placement, Replica, Served, fits


def with_batches(judge: Judge, placement: Placement, go_on: Callable[[], bool] = lambda: True) -> Placement:
    """The placement with the limits that hill climbing finds best; itself where no model has a choice of them."""
    if not has_choice(judge.served):
        return placement
    sizes = [sorted({candidate.batch for candidate in model.candidates}) for model in judge.served]
    worth, better = judge.worth(placement), True
    while better and go_on():
        better = False
        for model in np.argsort(-judge.missed(placement), kind="stable").tolist():
            for batch in sizes[model]:
                changed = _changed(judge, placement, model, batch)
                if changed is not None and go_on() and (new := judge.worth(changed)) > worth:
                    placement, worth, better = changed, new, True
    return placement


def has_choice(served: Sequence[Served]) -> bool:
    """Whether any model has candidates with unlike limits."""
    return any(len({candidate.batch for candidate in model.candidates}) > 1 for model in served)


def _changed(judge: Judge, placement: Placement, model: int, batch: int) -> Placement | None:
    """With this limit wherever the model is; None: some node has no room for that, or no way of it is for batches."""
    groups = []
    for group in placement.groups:
        replicas = tuple(_other(judge, each, batch) if each.model == model else each for each in group.replicas)
        changed = replace(group, replicas=replicas)
        if changed != group and not fits(judge.served, judge.nodes, changed):
            return None
        groups.append(changed)
    limited = Placement(tuple(groups))
    return limited if limited != placement else None


def _other(judge: Judge, replica: Replica, batch: int) -> Replica:
    """The same pipeline with another limit; as it is, where there is none."""
    candidates = judge.served[replica.model].candidates
    now = _pipeline(candidates[replica.candidate])
    which = (k for k, candidate in enumerate(candidates) if candidate.batch == batch and _pipeline(candidate) == now)
    return Replica(replica.model, next(which, replica.candidate))


def _pipeline(candidate: Candidate) -> Candidate:
    """All of it that does not change with the limit."""
    return replace(candidate, batch=1, fixed=(), memory=(0.0,) * candidate.stages)
