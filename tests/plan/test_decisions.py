"""What a person decides is scored like any plan; what holds a plan back is named; plans survive being written down."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cutwater.errors import BadCut, BadFile, InputError
from cutwater.plan.choose import Decision, decided_plan, even_cuts
from cutwater.plan.explain import choice_of, explain, improved
from cutwater.plan.files import load_plan, save_plan
from cutwater.plan.instances import branch_masks, chain_masks, random_problem
from cutwater.plan.objective import Objective
from cutwater.plan.plan import Plan
from cutwater.plan.problem import Problem
from cutwater.plan.score import score, tally
from cutwater.plan.solve import make_plan

THROUGHPUT = Objective("throughput")


@pytest.fixture
def problem() -> Problem:
    return random_problem(np.random.default_rng(9), nodes=3, masks=chain_masks(12), alike=0.0)


@pytest.fixture
def best(problem: Problem) -> Plan:
    return make_plan(problem, THROUGHPUT)


def test_no_decision_beats_the_best_plan(problem: Problem, best: Plan) -> None:
    for mode in ("only-source", "only-remote", "even"):
        plan = decided_plan(problem, THROUGHPUT, Decision(mode=mode), best)
        assert plan.solver == mode
        assert plan.score.throughput <= best.score.throughput * (1 + 1e-9)
        assert plan.gap == pytest.approx(1 - plan.score.throughput / best.bound)


def test_modes_do_what_they_say(problem: Problem, best: Plan) -> None:
    source = problem.nodes[problem.source]
    (home,) = decided_plan(problem, THROUGHPUT, Decision(mode="only-source"), best).stages
    (away,) = decided_plan(problem, THROUGHPUT, Decision(mode="only-remote"), best).stages
    even = decided_plan(problem, THROUGHPUT, Decision(mode="even"), best).stages
    assert home.nodes == (source,)
    assert source not in away.nodes
    assert sorted(node for stage in even for node in stage.nodes) == ["n0", "n1", "n2"]
    assert len(decided_plan(problem, THROUGHPUT, Decision(mode="even", stages=2), best).stages) == 2


def test_chosen_cuts_and_pinned_nodes_are_kept(problem: Problem, best: Plan) -> None:
    decision = Decision(cuts=(3, 9), nodes=(None, "n1"))
    plan = decided_plan(problem, THROUGHPUT, decision, best)
    assert plan.stages[0].end.label == "cut 3"
    assert plan.stages[1].nodes == ("n1",)
    assert len(plan.stages) == 3


def test_mistaken_decisions_are_explained(problem: Problem, best: Plan) -> None:
    for decision, error, complaint in (
        (Decision(mode="evn"), InputError, "did you mean 'even'"),
        (Decision(cuts=(5, 3)), BadCut, "does not lie before"),
        (Decision(cuts=(5,), nodes=("n9",)), InputError, "no node 'n9'"),
        (Decision(cuts=(5,), nodes=("n0", "n1", "n2")), InputError, "3 nodes are named for 2 stages"),
        (Decision(cuts=(5,), stages=4), InputError, "4 stages are asked for, but .* makes 2 stages"),
        (Decision(mode="even", cuts=(5,)), InputError, "leave out the cuts"),
        (Decision(mode="only-remote", nodes=("n1",)), InputError, "leave out the nodes"),
        (Decision(mode="only-source", stages=2), InputError, "makes 1 stage$"),
    ):
        with pytest.raises(error, match=complaint):
            decided_plan(problem, THROUGHPUT, decision, best)


def test_even_cuts_of_a_dag_lie_one_before_the_other() -> None:
    dag = random_problem(np.random.default_rng(2), nodes=4, masks=branch_masks([3, 2, 2]))
    cuts = [0, *even_cuts(dag, 4), dag.last]
    assert all(dag.below(a, b) for a, b in pairwise(cuts))


def test_the_bottleneck_comes_first_and_more_of_it_helps(problem: Problem, best: Plan) -> None:
    advice = explain(problem, THROUGHPUT, best)
    assert advice[0].resource == best.score.bottleneck
    assert advice[0].value == pytest.approx(best.score.throughput)
    assert all(one.replanned >= one.same >= one.value * (1 - 1e-9) for one in advice)
    assert "is busy" in str(advice[0]) and "throughput becomes" in str(advice[0])


def test_twice_the_speed_halves_a_nodes_time(problem: Problem, best: Plan) -> None:
    choice = choice_of(problem, best)
    assert score(problem, choice) == best.score
    before = tally(problem, choice)
    node = max(before.nodes, key=lambda n: before.nodes[n])
    after = tally(improved(problem, "node", node), choice)
    assert after.nodes[node] == pytest.approx(before.nodes[node] / 2)


def test_a_plan_survives_its_file(best: Plan, tmp_path: Path) -> None:
    save_plan(best, tmp_path / "plan.yaml")
    assert load_plan(tmp_path / "plan.yaml") == best


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("objective:", "objectve:", r"plan.yaml:\d+: objectve: unknown field; did you mean 'objective'"),
        ("solver: exact\n", "", "needs the field 'solver'"),
        ("gap: 0", "gap: wide", "gap"),
        ("label: input", "lable: input", r"stages\[0\].begin.lable: unknown field; did you mean 'label'"),
    ],
)
def test_a_mistake_in_a_plan_file_is_named(best: Plan, tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "plan.yaml"
    save_plan(best, path)
    text = path.read_text().replace("label: cut 0\n", "label: input\n", 1)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadFile, match=complaint):
        load_plan(path)
