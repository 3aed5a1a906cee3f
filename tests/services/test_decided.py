"""Cuts and places that a person has decided: kept while there are nodes for them, refused where they cannot be."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from test_planner import made, node

from cutwater.engine.control import MakePlan, NodeView, Planned
from cutwater.engine.coordinator.replanning import Shortfall
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import InputError
from cutwater.graph.graph import Tensor
from cutwater.plan.plan import Plan
from cutwater.services.coordinator.desk import check_batch, check_decided
from cutwater.services.coordinator.library import Library
from cutwater.services.coordinator.planner import answer, drafted
from cutwater.units import NodeId

THREE = (node("a"), node("b"), node("c"))
Ask = Callable[..., Planned]


@pytest.fixture
def command(plain_record: ModelRecord) -> Callable[..., MakePlan]:
    def made_of(views: tuple[NodeView, ...] = THREE, **spec: object) -> MakePlan:
        return MakePlan(
            ticket=1,
            spec=DeploySpec(model=plain_record.name, **spec),  # type: ignore[arg-type]
            record=plain_record,
            nodes=views,
            links=(),
            source=NodeId("a"),
            source_host="a",
        )

    return made_of


@pytest.fixture
def ask(command: Callable[..., MakePlan], blob_folder: Path) -> Ask:
    library = Library(blob_folder)
    return lambda *args, **spec: answer(command(*args, **spec), library)


def ends(plan: Plan) -> list[str]:
    return [stage.end.label for stage in plan.stages]


def test_a_model_is_cut_and_placed_as_was_decided(ask: Ask) -> None:
    free = made(ask(stages=2))
    other = free.chains[0].plan.stages[0].end.label
    blueprint = made(ask(cuts=("70%",), places=(NodeId("c"), NodeId("b"))))
    [chain] = blueprint.chains
    assert ends(chain.plan)[0] != other, "another cut than the planner's own"
    assert [post.node for post in chain.posts] == ["c", "b"]
    assert blueprint.missed == 0
    assert ends(made(ask(cuts=(other,))).chains[0].plan)[0] == other


def test_places_alone_leave_the_cuts_to_the_planner(ask: Ask) -> None:
    [chain] = made(ask(places=(NodeId("b"), NodeId(""), NodeId("a")))).chains
    assert [post.node for post in chain.posts] == ["b", "c", "a"]


def test_the_plan_that_is_forecast_is_the_plan_that_is_made(
    ask: Ask, command: Callable[..., MakePlan], blob_folder: Path
) -> None:
    decided = {"cuts": ("30%",), "places": (NodeId("b"),)}
    [plan] = drafted(command(**decided), Library(blob_folder).subject(command().record))
    assert made(ask(**decided)).chains[0].plan == plan


def test_what_was_decided_comes_back_with_the_nodes_it_needs(ask: Ask) -> None:
    decided = {"cuts": ("40%",), "places": (NodeId("c"), NodeId("b"))}
    spec = DeploySpec(model="m", **decided)  # type: ignore[arg-type]
    without = made(ask((node("a"), node("b")), **decided))
    alone = made(ask((node("b"),), **decided))
    whole = made(ask(**decided))
    assert [post.node for post in without.chains[0].posts] == ["a", "b"], "one place is left open"
    assert (whole.missed, without.missed, alone.missed) == (0, 1, 3)
    lacks = [Shortfall.of(each, spec) for each in (whole, without, alone)]
    assert lacks == sorted(lacks)
    assert "2 of 3 cuts and places" in lacks[1].said(spec)


@pytest.mark.parametrize(
    ("cuts", "said"),
    [
        (("after nothing",), "has no layer"),
        (("output",), "does not lie before"),
        (("60%", "20%"), "does not lie before"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(ask: Ask, cuts: tuple[str, ...], said: str) -> None:
    fault = ask(cuts=cuts).fault
    assert fault is not None
    assert (fault.kind, said in fault.message) == ("BadCut", True), fault


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"cuts": ("1",), "stages": 3}, "1 cuts make 2 stages, not 3"),
        ({"cuts": ("1",), "places": ("a", "b", "c")}, "3 places are named for 2 stages"),
        ({"places": ("a", "a")}, "at most one stage"),
        ({"places": ("a", "b"), "chains": 2}, "one chain"),
        ({"places": ("a",), "nodes": ("b",)}, "'a' shall run a stage"),
    ],
)
def test_what_was_decided_must_fit_together(spec: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_decided(msgspec.convert({"model": "m", **spec}, DeploySpec))


def test_batches_are_for_models_that_take_several_requests() -> None:
    def record(axis: int | None) -> ModelRecord:
        ends = [Tensor(name, "float32", (1, 4), 16, batch_axis) for name, batch_axis in (("x", 0), ("y", axis))]
        return ModelRecord(
            name="m", hash="h", blob="b", nbytes=1, profile="p", speed=1.0, inputs=(ends[0],), outputs=(ends[1],)
        )

    check_batch(DeploySpec(model="m", batch=4), record(0))
    check_batch(DeploySpec(model="m"), record(None))
    with pytest.raises(InputError, match="m has a fixed batch"):
        check_batch(DeploySpec(model="m", batch=4), record(None))
