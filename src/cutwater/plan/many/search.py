"""search: from the best placement that is known to better ones, by simulated annealing."""

from collections.abc import Callable, Sequence
from math import exp

from cutwater.plan.many.greedy import filled
from cutwater.plan.many.judge import Judge, Worth
from cutwater.plan.many.moves import MOVES
from cutwater.plan.many.served import Placement
from cutwater.plan.solvers.base import Effort

KEPT = 4
"""Placements that a search comes back with."""
HEAT = 0.003
"""Share of the requests that a search may lose by one step, in the beginning; in the end it loses none."""
FILLING = 0.3
"""Share of the steps after which all groups are filled up with more replicas, as far as that helps."""

Shape = tuple[int, ...]
"""How many nodes each group has that runs anything, the smallest first."""


def search(
    judge: Judge, starts: Sequence[Placement], effort: Effort, told: Callable[[float], None] = lambda share: None
) -> list[Placement]:
    """The best placements of the best few shapes, found from the best start by simulated annealing, the best first.

    Two have the same shape where they divide the nodes into as large groups: within one the queues are compared with
    each other at the same mistake, between two it may be another one, and a closer look is worth its time.

    (Kirkpatrick, Gelatt, Vecchi, "Optimization by simulated annealing", Science 220, 1983.) Steps are worth the
    requests that are answered in time, or where these stay the same, how soon they are. What is worth the same is taken
    as well: it may make room for what is worth more.
    """
    rng = effort.rng
    best: dict[Shape, tuple[Worth, Placement]] = {}
    for start in starts:
        if start.groups:
            _remember(best, start, judge.worth(start))
    if not best:
        return []
    worth, here = next(iter(best.values()))
    for step in range(effort.steps):
        if not effort.go_on():
            break
        told(step / effort.steps)
        changed = MOVES[int(rng.integers(len(MOVES)))](judge, here, rng)
        if changed is None or not judge.allows(changed):
            continue
        full = rng.random() < FILLING
        changed, new = filled(judge, changed, effort.go_on) if full else (changed, judge.worth(changed))
        heat = HEAT * len(judge.stream.times) * (1.0 - step / effort.steps)
        if new >= worth or rng.random() < _chance(new, worth, heat):
            here, worth = changed, new
        _remember(best, changed, new)
    return [placement for _, placement in best.values()]


def _remember(best: dict[Shape, tuple[Worth, Placement]], placement: Placement, worth: Worth) -> None:
    """Keep it if it is the best of its shape, and that one of the best few; the best one stays first."""
    shape = tuple(sorted(len(group.nodes) for group in placement.groups if group.replicas))
    if shape in best and best[shape][0] >= worth:
        return
    best[shape] = (worth, placement)
    order = sorted(best.items(), key=lambda entry: entry[1][0], reverse=True)
    best.clear()
    best.update(order[:KEPT])


def _chance(new: Worth, old: Worth, heat: float) -> float:
    lost = old.answered - new.answered
    return exp(-lost / heat) if lost > 0 and heat > 0.0 else 0.0
