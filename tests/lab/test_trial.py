"""A trial runs a plan with real workers and tells what came of every input."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cutwater.cut.lattice import Lattice
from cutwater.errors import BadFile, BadPicture, CutwaterError
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.lab.inputs import InputOptions, Item, open_inputs
from cutwater.lab.planning import LocalTask, plan_locally
from cutwater.lab.timing import MeasureOptions
from cutwater.lab.trial import run_trial
from cutwater.plan.plan import Plan
from cutwater.services.workers.outcome import Outcome
from cutwater.services.workers.stages import plan_cuts, plan_stages

pytestmark = pytest.mark.slow

QUICK = MeasureOptions(rounds=5, seconds=0.05)


@pytest.fixture(scope="module")
def plan(vit_lattice: Lattice, shared_cache: Path) -> Plan:
    graph = vit_lattice.graph
    items = open_inputs("synthetic:1", [graph.tensors[name] for name in graph.inputs])
    task = LocalTask(vit_lattice, [item.feeds for item in items], stages=3, measure=QUICK)
    return plan_locally(task, shared_cache / "profiles")[0]


def collect(into: list[tuple[Item, Outcome | CutwaterError]]) -> Callable[[Item, Outcome | CutwaterError], None]:
    return lambda item, outcome: into.append((item, outcome))


def test_every_stage_of_a_plan_was_measured_and_every_answer_is_the_uncut_models(
    vit_lattice: Lattice, vit_tiny: Path, plan: Plan
) -> None:
    graph = vit_lattice.graph
    items = list(open_inputs("synthetic:5", [graph.tensors[name] for name in graph.inputs], InputOptions(repeat=6)))
    told: list[tuple[Item, Outcome | CutwaterError]] = []
    trial = asyncio.run(run_trial(plan_stages(vit_lattice, plan), plan, items, on_outcome=collect(told)))
    assert [item.name for item, _ in told] == [item.name for item in items]
    assert (trial.requests, trial.answered, trial.failures) == (30, 30, ())
    whole = OnnxRuntime().load(vit_tiny.read_bytes())
    for item, outcome in told:
        assert isinstance(outcome, Outcome)
        [wanted] = whole.run(item.feeds)
        deviation = np.abs(outcome.outputs[graph.outputs[0]] - wanted).max() / np.abs(wanted).max()
        assert deviation <= 1e-5
    assert len(trial.stages) == 3
    assert all(stage.computed.rounds == len(trial.trails) for stage in trial.stages)
    assert [hop.nbytes for hop in trial.hops[1:3]] == [hop.predicted_bytes for hop in trial.hops[1:3]]


def test_an_input_that_cannot_be_read_is_its_own_outcome_and_the_others_are_answered(
    vit_lattice: Lattice, plan: Plan
) -> None:
    graph = vit_lattice.graph
    good = list(open_inputs("synthetic:20", [graph.tensors[name] for name in graph.inputs]))
    items = [*good[:10], Item("torn.jpg", {}, BadPicture("torn.jpg: cannot be decoded")), *good[10:]]
    told: list[tuple[Item, Outcome | CutwaterError]] = []
    trial = asyncio.run(run_trial(plan_stages(vit_lattice, plan), plan, items, on_outcome=collect(told)))
    assert (trial.requests, trial.answered) == (21, 20)
    assert [(failed.name, failed.kind) for failed in trial.failures] == [("torn.jpg", "BadPicture")]
    assert isinstance(told[10][1], BadPicture)


def test_a_plan_for_another_model_is_refused(vit_lattice: Lattice, plan: Plan) -> None:
    other = msgspec.structs.replace(plan, model_hash="0" * 64, model="other")
    with pytest.raises(BadFile, match="made for another model"):
        plan_cuts(vit_lattice, other)
