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


def search(
    judge: Judge, starts: Sequence[Placement], effort: Effort, told: Callable[[float], None] = lambda share: None
) -> list[Placement]:
    """The best few placements, found from the best start by simulated annealing, the best first.

    (Kirkpatrick, Gelatt, Vecchi, "Optimization by simulated annealing", Science 220, 1983.) Steps are worth the
    requests that are answered in time, or where these stay the same, how soon they are.
    """
    rng = effort.rng
    best = {start: judge.worth(start) for start in starts if start.groups}
    if not best:
        return []
    here = max(best, key=best.__getitem__)
    worth = best[here]
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
        if new > worth or rng.random() < _chance(new, worth, heat):
            here, worth = changed, new
        if len(best) < KEPT or new > min(best.values()):
            best[changed] = new
            best = dict(sorted(best.items(), key=lambda entry: entry[1], reverse=True)[:KEPT])
    return list(best)


def _chance(new: Worth, old: Worth, heat: float) -> float:
    lost = old.answered - new.answered
    return exp(-lost / heat) if lost > 0 and heat > 0.0 else 0.0
