"""auto: the solver that suits the problem's size."""

from dataclasses import replace

from cutwater.plan.objective import Objective
from cutwater.plan.problem import Problem
from cutwater.plan.solvers.anytime import anytime
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.plan.solvers.exact import TIE, exact
from cutwater.plan.solvers.wide import wide

MOST_PAIRS = 12_000_000
"""Units times pairs of cuts up to which `exact` holds its matrices."""


def auto(problem: Problem, objective: Objective, effort: Effort) -> Solution:
    """`exact` where its matrices fit into memory, `wide` beyond; `anytime` on what neither could prove."""
    solution = auto_start(problem, objective, effort)
    return solution if solution.gap <= TIE else anytime(problem, objective, effort, solution)


def quick(problem: Problem, objective: Objective, effort: Effort) -> Solution:
    """A few hundred labels and then chance: `anytime` without waiting for a proof."""
    start = auto_start(problem, objective, replace(effort, labels=min(effort.labels, 200)))
    return anytime(problem, objective, effort, start)


def auto_start(problem: Problem, objective: Objective, effort: Effort) -> Solution:
    """`exact` or `wide`, by size."""
    units = sum(min(len(group), problem.limits.max_replicas or len(group)) for group in problem.types)
    small = units * len(problem.cuts) ** 2 <= MOST_PAIRS
    return exact(problem, objective, effort) if small else wide(problem, objective, effort)
