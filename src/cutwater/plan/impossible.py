"""why_none: names the limit that no plan can keep, and the least value of it that would work."""

from dataclasses import replace

import numpy as np

from cutwater.plan.objective import Objective
from cutwater.plan.problem import Limits, Problem
from cutwater.plan.solvers.auto import auto
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.units import format_bytes, format_seconds


def why_none(problem: Problem, objective: Objective) -> str:
    """What makes planning impossible, found by loosening one limit after the other."""
    quickest = _solve(problem, Objective("latency"))
    if quickest.choice is not None:
        return _objective(problem, objective, quickest)
    if not problem.runs.any():
        return "no node of the fleet may run a stage; leave out 'stages: false' on one of them"
    if np.isfinite(problem.memory).any():
        free = _solve(replace(problem, memory=np.full_like(problem.memory, np.inf)), Objective("latency"))
        if free.choice is not None:
            return _memory(problem)
    if _solve(replace(problem, limits=Limits(max_replicas=None)), Objective("latency")).choice is not None:
        return "no plan has the number of stages and the pinned nodes asked for; ask for fewer, or for other nodes"
    return "the nodes cannot reach each other; add links, or a 'default_link', to the fleet file"


def _solve(problem: Problem, objective: Objective) -> Solution:
    return auto(problem, objective, Effort(rng=np.random.default_rng(0), labels=20_000))


def _objective(problem: Problem, objective: Objective, quickest: Solution) -> str:
    if objective.latency_bound is not None:
        return (
            f"no plan answers within {format_seconds(objective.latency_bound)}; "
            f"the least that would work is {format_seconds(quickest.value)}"
        )
    most = _solve(problem, Objective("throughput"))
    return f"no plan sustains {objective.rate:g} requests/s; the most that would work is below {1 / most.value:.4g}/s"


def _memory(problem: Problem) -> str:
    """The least factor on all memory limits with which a plan exists, to within a hundredth."""
    low, high = 1.0, 2.0
    while _solve(replace(problem, memory=problem.memory * high), Objective("latency")).choice is None:
        low, high = high, high * 2.0
    while high > low * 1.01:
        middle = float(np.sqrt(low * high))
        fits = _solve(replace(problem, memory=problem.memory * middle), Objective("latency")).choice is not None
        low, high = (low, middle) if fits else (middle, high)
    needs = ", ".join(
        f"{problem.nodes[node]} {format_bytes(problem.memory[node])} -> {format_bytes(problem.memory[node] * high)}"
        for node in np.flatnonzero(np.isfinite(problem.memory) & problem.runs)
    )
    return f"the model does not fit into the nodes' memory; it would with {high:.3g} times of it ({needs})"
