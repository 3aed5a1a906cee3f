"""From a placement to deployments: what can be said of one, and what cannot."""

import msgspec
import pytest

from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import NoPlan
from cutwater.plan.many.files import ManyPlan, PlannedModel, Predicted, Way
from cutwater.services.cluster.placing import left_open, to_specs
from cutwater.services.coordinator.desk import check_decided
from cutwater.units import NodeId

NONE = Predicted(asked=0, answered=0, mean=None, p50=None, p90=None, p99=None)


def way(*places: str, cuts: tuple[str, ...] = (), batch: int = 1) -> Way:
    nodes = tuple(map(NodeId, places))
    return Way(cuts=cuts, places=nodes, seconds=(0.1,) * len(nodes), latency=0.1, batch=batch)


def many(*models: tuple[str, tuple[Way, ...]]) -> ManyPlan:
    planned = tuple(PlannedModel(name=name, slo=0.5, ways=ways, predicted=NONE) for name, ways in models)
    return ManyPlan(method="anytime", models=planned, groups=(), memory={}, predicted=NONE)


def test_one_pipeline_has_its_cuts_and_places() -> None:
    [spec] = to_specs(many(("cat", (way("b", "a", cuts=("after op3",)),)), ("dog", ())))
    assert spec == DeploySpec(
        model="cat",
        stages=2,
        nodes=(NodeId("b"), NodeId("a")),
        cuts=("after op3",),
        places=(NodeId("b"), NodeId("a")),
        fallback=False,
        timeout=0.5,
    )
    check_decided(spec)


def test_whole_models_are_chains_of_one_stage_on_their_nodes() -> None:
    placement = many(("cat", (way("a"), way("c"))))
    [spec] = to_specs(placement)
    assert (spec.stages, spec.chains, spec.nodes, spec.places) == (1, 2, (NodeId("a"), NodeId("c")), ())
    check_decided(spec)
    assert left_open(placement) == []


def test_limits_of_batches_are_those_of_the_deployment() -> None:
    [spec] = to_specs(many(("cat", (way("a", batch=4), way("c", batch=4)))))
    assert spec.batch == 4


def test_which_nodes_of_several_pipelines_belong_together_is_left_open() -> None:
    placement = many(("cat", (way("a", "b", cuts=("50%",)), way("c", "d", cuts=("50%",)))))
    [spec] = to_specs(placement)
    assert (spec.cuts, spec.chains, len(spec.nodes)) == (("50%",), 2, 4)
    check_decided(spec)
    assert left_open(placement) == ["cat"]


@pytest.mark.parametrize(
    ("ways", "why"),
    [
        ((way("a"), way("b", "c", cuts=("50%",))), "cat was planned to run in different ways at once"),
        ((way("a", batch=4), way("b")), "cat was planned to run in different ways at once"),
    ],
)
def test_what_no_deployment_can_be_is_refused(ways: tuple[Way, ...], why: str) -> None:
    with pytest.raises(NoPlan, match=why):
        to_specs(many(("cat", ways)))


def test_a_pipeline_without_a_place_for_each_stage_is_no_way() -> None:
    with pytest.raises(msgspec.ValidationError, match="1 cuts do not make 1 stages"):
        msgspec.json.decode(b'{"cuts": ["50%"], "places": ["a"], "seconds": [0.1], "latency": 0.1}', type=Way)
