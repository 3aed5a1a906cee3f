"""exhaustive: every choice there is, through `score`'s own arithmetic; the oracle the other solvers are tested by."""

from collections.abc import Iterator
from itertools import product

from cutwater.errors import NoPlan
from cutwater.plan.objective import Objective
from cutwater.plan.problem import RAW, Choice, Problem
from cutwater.plan.score import check, tally
from cutwater.plan.solvers.base import Effort, Solution


def exhaustive(problem: Problem, objective: Objective, effort: Effort) -> Solution:
    """The best of all choices. Its work grows beyond reason past a handful of nodes and cuts."""
    best: Choice | None = None
    value = float("inf")
    for choice in every_choice(problem):
        try:
            check(problem, choice)
        except NoPlan:
            continue
        candidate = objective.value(problem, tally(problem, choice))
        if candidate < value:
            best, value = choice, candidate
    return Solution(best, value, value, "exhaustive")


def every_choice(problem: Problem) -> Iterator[Choice]:
    """Every sequence of stages, nodes, replicas and codecs within the problem's `Limits`, checked for nothing else.

    Of nodes that differ in nothing but their name, only the first ones are taken.
    """
    most = problem.limits.max_stages or len(problem.nodes)
    for stages in range(problem.limits.min_stages, most + 1):
        for nodes in _placements(problem, stages, [0] * len(problem.types)):
            for cuts in _paths(problem, 0, stages):
                ends = ((problem.source,), *nodes, (problem.sink,))
                free = [
                    range(len(problem.codecs))
                    if ends[k] != ends[k + 1] and not (k == stages and problem.returns)
                    else (RAW,)
                    for k in range(stages + 1)
                ]
                for codecs in product(*free):
                    yield Choice(nodes, cuts, codecs)


def _placements(problem: Problem, stages: int, used: list[int], at: int = 0) -> Iterator[tuple[tuple[int, ...], ...]]:
    if at == stages:
        yield ()
        return
    for kind, group in enumerate(problem.types):
        for replicas in range(1, min(problem.limits.max_replicas or len(group), len(group) - used[kind]) + 1):
            nodes = group[used[kind] : used[kind] + replicas]
            if nodes[0] != problem.limits.pins.get(at, nodes[0]):
                continue
            used[kind] += replicas
            for rest in _placements(problem, stages, used, at + 1):
                yield (nodes, *rest)
            used[kind] -= replicas


def _paths(problem: Problem, begin: int, stages: int) -> Iterator[tuple[int, ...]]:
    if stages == 1:
        if problem.below(begin, problem.last):
            yield (begin, problem.last)
        return
    for end in range(begin + 1, problem.last):
        if problem.below(begin, end):
            for rest in _paths(problem, end, stages - 1):
                yield (begin, *rest)
