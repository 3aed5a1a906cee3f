"""make_plan: an objective and a solver's name in, a Plan with its bound and gap out."""

import numpy as np

from cutwater.errors import InputError, NoPlan, did_you_mean
from cutwater.plan.impossible import why_none
from cutwater.plan.objective import Objective
from cutwater.plan.plan import Plan, PlanStage
from cutwater.plan.problem import Choice, Problem
from cutwater.plan.score import score
from cutwater.plan.solvers.auto import auto, quick
from cutwater.plan.solvers.base import Effort, Solution, Solver
from cutwater.plan.solvers.exact import exact
from cutwater.plan.solvers.exhaustive import exhaustive
from cutwater.plan.solvers.wide import wide

SOLVERS: dict[str, Solver] = {
    "auto": auto,
    "exact": exact,
    "wide": wide,
    "anytime": quick,
    "exhaustive": exhaustive,
}


def make_plan(problem: Problem, objective: Objective, solver: str = "auto", effort: Effort | None = None) -> Plan:
    """The best plan that ``solver`` finds.

    Raises:
        NoPlan: No placement keeps the limits; the message names the limit and the least value that would work.
        InputError: There is no such solver.
    """
    if solver not in SOLVERS:
        raise InputError(f"there is no solver {solver!r}{did_you_mean(solver, SOLVERS)}")
    solution = SOLVERS[solver](problem, objective, effort or Effort(rng=np.random.default_rng(0)))
    if solution.choice is None:
        raise NoPlan(why_none(problem, objective))
    return as_plan(problem, objective, solution)


def as_plan(problem: Problem, objective: Objective, solution: Solution) -> Plan:
    """A solution in names instead of indices, with its score."""
    assert solution.choice is not None
    choice = solution.choice
    scored = score(problem, choice)
    bound = objective.shown(min(solution.bound, solution.value))
    value = objective.shown(solution.value)
    if bound in (0.0, float("inf")):
        gap = float("inf")
    else:
        gap = max(0.0, (value - bound) / bound if objective.aim == "latency" else (bound - value) / bound)
    return Plan(
        model=problem.model,
        model_hash=problem.model_hash,
        objective=str(objective),
        source=problem.nodes[problem.source],
        sink=problem.nodes[problem.sink],
        stages=plan_stages(problem, choice),
        codecs=tuple(hop.codec for hop in scored.hops),
        score=scored,
        bound=bound,
        gap=gap,
        solver=solution.solver,
        complete=problem.complete,
    )


def plan_stages(problem: Problem, choice: Choice) -> tuple[PlanStage, ...]:
    """The stages of a choice in names."""
    return tuple(
        PlanStage(
            begin=problem.cuts[begin],
            end=problem.cuts[end],
            nodes=tuple(problem.nodes[node] for node in nodes),
        )
        for nodes, begin, end in zip(choice.nodes, choice.cuts, choice.cuts[1:], strict=False)
    )
