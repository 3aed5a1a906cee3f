"""anytime: a good plan soon, a better one later; for sizes beyond proof, or when there is no time for one.

A narrow label search gives the start; then chance moves it (a cut, a node, a codec, a stage more or less) and keeps
what is no worse. It ends after ``effort.steps`` moves or when ``effort.go_on`` says so.
"""

from dataclasses import replace

import numpy as np

from cutwater.errors import NoPlan
from cutwater.plan.objective import Objective
from cutwater.plan.problem import Choice, Problem, within
from cutwater.plan.score import check
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.plan.solvers.exact import Hunt


def anytime(problem: Problem, objective: Objective, effort: Effort, start: Solution) -> Solution:
    """``start``, or something better near it."""
    hunt = Hunt(problem, objective, effort)
    hunt.choice, hunt.value = start.choice, start.value
    here = start.choice
    for _ in range(effort.steps if here is not None else 0):
        if hunt.value <= start.bound or not effort.go_on():
            break
        assert here is not None
        there = _move(problem, here, effort.rng)
        if there is None or not within(problem.limits, there):
            continue
        try:
            check(problem, there)
        except NoPlan:
            continue
        if hunt.offer(there) <= hunt.value * 1.02:
            here = there
    return Solution(hunt.choice, hunt.value, start.bound, f"{start.solver}+anytime")


def _move(problem: Problem, choice: Choice, rng: np.random.Generator) -> Choice | None:
    """A neighbour of ``choice``, not always a legal one."""
    kind = int(rng.integers(5))
    stages = len(choice.nodes)
    cuts, nodes, codecs = list(choice.cuts), list(choice.nodes), list(choice.codecs)
    at = int(rng.integers(stages))
    if kind == 0 and stages > 1:
        at = int(rng.integers(1, stages))
        reach = max(1, len(problem.cuts) // 50)
        cuts[at] = int(np.clip(cuts[at] + rng.integers(-reach, reach + 1), 1, problem.last - 1))
    elif kind == 1:
        codecs[int(rng.integers(stages + 1))] = int(rng.integers(len(problem.codecs)))
    elif kind == 2:
        other = int(rng.integers(stages))
        nodes[at], nodes[other] = nodes[other], nodes[at]
    elif kind == 3:
        used = {node for stage in nodes for node in stage}
        free = [node for node in np.flatnonzero(problem.runs).tolist() if node not in used]
        if not free:
            return None
        node = int(rng.choice(free))
        if rng.random() < 0.5:
            nodes[at] = (node,)
        else:
            cuts.insert(at + 1, int(rng.integers(1, max(2, problem.last))))
            nodes.insert(at, (node,))
            codecs.insert(at + 1, codecs[at])
    elif stages > 1:
        del nodes[at], codecs[at], cuts[min(at + 1, stages - 1)]
    return replace(choice, nodes=tuple(nodes), cuts=tuple(cuts), codecs=tuple(codecs))
