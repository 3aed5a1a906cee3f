"""candidates_of: the exact solver's best pipelines of one model, one for each number of nodes and for each aim."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from cutwater.plan.many.served import Candidate
from cutwater.plan.objective import Objective
from cutwater.plan.problem import Choice, Floats, Problem
from cutwater.plan.score import score
from cutwater.plan.solvers.base import Effort, Solver
from cutwater.plan.solvers.exact import exact

AIMS = (Objective("throughput"), Objective("latency"))
"""A pipeline is wanted whose slowest stage is fast, or one that adds little to the latency of a request."""

SHARES = (1.1, 1.6)
"""Times an even share of the weights that a stage may have where memory is short."""

WORTH = 0.05
"""Of what a request takes, that a batch has to pay once for it to be worth while."""


def candidates_of(
    problem: Problem,
    stages: Iterable[int],
    *,
    speed: float = 1.0,
    batches: Sequence[int] = (),
    fixed: Floats | None = None,
    tight: bool = False,
    solver: Solver = exact,
    go_on: Callable[[], bool] = lambda: True,
) -> tuple[Candidate, ...]:
    """Ways to run a problem's model as pipelines, the fewest stages first; alike ones once.

    Each is solved exactly where the problem's limits allow so many stages on different nodes without replicas. Its
    seconds are put in terms of a node of speed 1 by ``speed``, so the nodes of a problem should be alike: take one kind
    of node at a time.

    Args:
        problem: One model on nodes of one kind, and a source.
        stages: How many stages to try.
        speed: Of the problem's nodes.
        batches: Further ones for each pipeline, whose stages may take so many requests at once, if that saves `WORTH`.
        fixed: [C] seconds on such a node of all ops before a cut that a batch pays once; what a stage costs whatever it
            computes, it pays once as well. None: there are no ``batches``.
        tight: Memory is short: pipelines are wanted as well whose stages have hardly more than an even share of the
            weights, at the price of time; without, only those that are fast.
        solver: Finds the cuts.
        go_on: Asked now and then; False ends a search with what was found.
    """
    found: dict[Candidate, None] = {}

    def solve(limited: Problem, objective: Objective) -> Candidate | None:
        choice = solver(limited, objective, Effort(rng=np.random.default_rng(0), go_on=go_on)).choice
        if choice is None:
            return None
        made = _candidate(problem, choice, speed)
        found.setdefault(made)
        for more in _together(problem, choice, made, fixed, speed, batches) if fixed is not None else ():
            found.setdefault(more)
        return made

    for count in stages:
        limits = replace(problem.limits, min_stages=count, max_stages=count, max_replicas=1)
        limited = replace(problem, limits=limits)
        made = [solve(limited, objective) for objective in (AIMS if count > 1 else AIMS[:1])]
        fastest = made[0]
        if not tight or count == 1 or fastest is None:
            continue
        for times in SHARES:
            most = max(fastest.memory) + times * float(problem.weight[-1]) / count
            solve(replace(limited, memory=np.minimum(limited.memory, most)), AIMS[0])
    return tuple(found)


def _candidate(problem: Problem, choice: Choice, speed: float) -> Candidate:
    scored = score(problem, choice)
    cuts, weight = choice.cuts, problem.weight
    spans = tuple((float(weight[a]), float(weight[b])) for a, b in pairwise(cuts))
    seconds = tuple(stage.busy * speed for stage in scored.stages)
    back = sum(hop.back_latency for hop in scored.hops) + (0.0 if problem.returns else scored.hops[-1].latency)
    return Candidate(
        seconds=seconds,
        hops=(*(hop.latency for hop in scored.hops[: len(seconds)]), back),
        spans=spans,
        memory=tuple(stage.memory - (end - begin) for stage, (begin, end) in zip(scored.stages, spans, strict=True)),
        cuts=tuple(_name(problem, c) for c in cuts[1:-1]),
    )


def _together(
    problem: Problem, choice: Choice, alone: Candidate, fixed: Floats, speed: float, batches: Sequence[int]
) -> list[Candidate]:
    """The same pipeline for batches."""
    nodes, spans = [stage[0] for stage in choice.nodes], tuple(pairwise(choice.cuts))
    each = tuple(
        min(max(float(fixed[end] - fixed[begin]) + float(problem.overhead[node]), 0.0) * speed, seconds)
        for (begin, end), node, seconds in zip(spans, nodes, alone.seconds, strict=True)
    )
    if sum(each) < WORTH * sum(alone.seconds):
        return []
    found = []
    for batch in batches:
        larger = replace(problem, batch=batch)
        needs = [larger.stage_memory(node, *span) for node, span in zip(nodes, spans, strict=True)]
        beside = tuple(need - (end - begin) for need, (begin, end) in zip(needs, alone.spans, strict=True))
        found.append(replace(alone, fixed=each, batch=batch, memory=beside))
    return found


def _name(problem: Problem, cut: int) -> str:
    """Its label; where another cut has the same, its place among them."""
    label = problem.cuts[cut].label
    return label if sum(each.label == label for each in problem.cuts) == 1 else str(cut)
