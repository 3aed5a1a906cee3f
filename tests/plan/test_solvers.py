"""Every solver against the enumeration of all plans, and against the promises a plan makes."""

from dataclasses import replace

import numpy as np
import pytest

from cutwater.errors import NoPlan
from cutwater.plan.instances import branch_masks, chain_masks, random_problem
from cutwater.plan.objective import Objective, parse_objective
from cutwater.plan.problem import Limits, Problem
from cutwater.plan.score import check, tally
from cutwater.plan.solve import make_plan
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.plan.solvers.exact import exact
from cutwater.plan.solvers.exhaustive import every_choice, exhaustive
from cutwater.plan.solvers.wide import wide

SHAPES = ([2, 1], [1, 1], [1, 1, 1])


def effort() -> Effort:
    return Effort(rng=np.random.default_rng(0))


def instance(seed: int) -> Problem:
    """A small problem; by the seed: chain or DAG, memory limits, shared hosts and media, a sink elsewhere."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 4)) if seed % 10 else 4
    small = nodes == 4
    masks = chain_masks(int(rng.integers(2, 4 if small else 5)))
    if seed % 2 and not small:
        masks = branch_masks(SHAPES[int(rng.integers(3))])
    return random_problem(
        rng, nodes=nodes, masks=masks, codecs=1 if small else int(rng.integers(1, 3)), memory=rng.random() < 0.4,
        shared=rng.random() < 0.4, sink=rng.random() < 0.3,
    )  # fmt: skip


def best_values(problem: Problem, rng: np.random.Generator) -> dict[Objective, float]:
    """The four objectives, their limits drawn around what is possible, and the best value of each by enumeration."""
    totals = []
    for choice in every_choice(problem):
        try:
            check(problem, choice)
        except NoPlan:
            continue
        totals.append(tally(problem, choice))
    least = min((total.latency for total in totals), default=1.0)
    period = min((total.period for total in totals), default=1.0)
    objectives = (
        Objective("latency"),
        Objective("throughput"),
        Objective("throughput", latency_bound=least * rng.uniform(0.95, 2.0)),
        Objective("latency", rate=rng.uniform(0.2, 1.05) / period),
    )
    return {
        objective: min((objective.value(problem, total) for total in totals), default=float("inf"))
        for objective in objectives
    }


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 500, 50))
def test_exact_equals_the_enumeration_of_all_plans(first: int) -> None:
    for seed in range(first, first + 50):
        problem = instance(seed)
        for objective, value in best_values(problem, np.random.default_rng(seed)).items():
            solution = exact(problem, objective, effort())
            assert solution.value == pytest.approx(value, rel=1e-8), (seed, str(objective))
            assert solution.gap <= 1e-8, (seed, str(objective))


@pytest.mark.slow
def test_wide_never_claims_a_bound_that_a_plan_beats() -> None:
    gaps = []
    for seed in range(60):
        problem = instance(seed)
        for objective, value in best_values(problem, np.random.default_rng(seed)).items():
            solution = wide(problem, objective, effort())
            assert solution.bound <= value * (1 + 1e-8), (seed, str(objective))
            assert solution.value >= value * (1 - 1e-8), (seed, str(objective))
            if objective in (Objective("latency"), Objective("throughput")) and value < float("inf"):
                gaps.append(solution.value / value - 1.0)
    assert np.mean(np.array(gaps) < 1e-6) > 0.9


@pytest.mark.slow
def test_a_plan_is_never_worse_than_the_best_single_node() -> None:
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed), nodes=5, masks=chain_masks(20), shared=seed % 2 == 0)
        for objective in (Objective("latency"), Objective("throughput")):
            single = exact(replace(problem, limits=Limits(max_stages=1)), objective, effort())
            assert exact(problem, objective, effort()).value <= single.value


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [12, 16])
def test_many_different_nodes_are_planned_with_proof(nodes: int) -> None:
    problem = random_problem(np.random.default_rng(1), nodes=nodes, masks=chain_masks(99), alike=0.0)
    for objective in (Objective("latency"), Objective("throughput")):
        solution = exact(problem, objective, effort())
        assert solution.choice is not None
        assert solution.gap <= 1e-9


@pytest.mark.slow
def test_thirty_thousand_cuts_leave_a_gap_below_two_percent() -> None:
    masks = branch_masks([7, 7, 7, 7, 7])
    problem = random_problem(np.random.default_rng(3), nodes=4, masks=masks, alike=0.0)
    for objective in (Objective("latency"), Objective("throughput")):
        solution = wide(problem, objective, effort())
        assert solution.choice is not None
        check(problem, solution.choice)
        assert solution.gap <= 0.02


def test_pins_and_the_number_of_stages_are_kept() -> None:
    problem = random_problem(np.random.default_rng(5), nodes=3, masks=chain_masks(6), alike=0.0)
    limits = Limits(min_stages=2, max_stages=2, pins={1: 0})
    for objective in (Objective("latency"), Objective("throughput")):
        pinned = replace(problem, limits=limits)
        solution = exact(pinned, objective, effort())
        assert solution.value == pytest.approx(exhaustive(pinned, objective, effort()).value)
        assert solution.choice is not None
        assert solution.choice.nodes[1] == (0,)


def test_a_search_that_is_cut_short_owns_up_to_a_gap() -> None:
    problem = random_problem(np.random.default_rng(7), nodes=8, masks=chain_masks(30), alike=0.0)
    hasty = Effort(rng=np.random.default_rng(0), labels=3, go_on=lambda: False)
    full = exact(problem, Objective("throughput"), effort())
    short = exact(problem, Objective("throughput"), hasty)
    assert short.bound <= full.value <= short.value


@pytest.mark.slow
def test_every_solver_makes_a_plan_whose_numbers_agree() -> None:
    problem = random_problem(np.random.default_rng(11), nodes=3, masks=chain_masks(5))
    best = make_plan(problem, parse_objective("throughput"), "exhaustive")
    for solver in ("auto", "exact", "wide", "anytime"):
        plan = make_plan(problem, parse_objective("throughput"), solver)
        assert plan.score.throughput <= plan.bound * (1 + 1e-9)
        assert plan.bound >= best.score.throughput * (1 - 1e-9)
        assert plan.gap == pytest.approx(max(0.0, 1 - plan.score.throughput / plan.bound))


def test_solutions_know_their_gap() -> None:
    assert Solution(None, 3.0, 2.0, "x").gap == pytest.approx(0.5)
    assert Solution(None, 2.0, 2.0, "x").gap == 0.0


def test_the_limit_that_makes_planning_impossible_is_named() -> None:
    problem = random_problem(np.random.default_rng(5), nodes=3, masks=chain_masks(6), alike=0.0)
    least = make_plan(problem, Objective("latency")).score.latency
    with pytest.raises(NoPlan, match="the least that would work is"):
        make_plan(problem, Objective("throughput", latency_bound=least / 2))
    with pytest.raises(NoPlan, match="the most that would work is below"):
        make_plan(problem, Objective("latency", rate=1e9))
    with pytest.raises(NoPlan, match=r"does not fit .* it would with [0-9.]+ times"):
        make_plan(replace(problem, memory=np.full(3, 2e6)), Objective("latency"))
    with pytest.raises(NoPlan, match="may run a stage"):
        make_plan(replace(problem, runs=np.zeros(3, bool)), Objective("latency"))
    with pytest.raises(NoPlan, match="cannot reach each other"):
        apart = np.where(np.eye(3) > 0, 0.0, np.inf)
        lonely = replace(problem, latency=apart, runs=np.arange(3) != problem.source)
        make_plan(lonely, Objective("latency"))
    with pytest.raises(NoPlan, match="number of stages"):
        make_plan(replace(problem, limits=Limits(min_stages=4, max_stages=4)), Objective("latency"))
