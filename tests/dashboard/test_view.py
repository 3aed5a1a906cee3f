"""The view: what a page is told of a cluster, in the words people read."""

import pytest
from clusters import cluster, deployment, epoch, node, worker
from ended import ended

from cutwater.engine.facts.deployments import EpochPhase
from cutwater.engine.facts.nodes import Phase
from cutwater.services.asking import DeploymentStatus, NodeStatus
from cutwater.services.dashboard.ledger import Ledger
from cutwater.services.dashboard.view import bottleneck, entries, resource_words
from cutwater.units import NodeId

PAIR = (worker(0, "a"), worker(1, "b"))


@pytest.mark.parametrize(
    ("seen", "gone", "state"),
    [
        (node("a"), {}, "alive"),
        (node("a", age=1.7), {}, "silent"),
        (node("a", age=1.7), {NodeId("a"): "1"}, "lost"),
        (node("a", age=1.7), {NodeId("a"): "an earlier life"}, "silent"),
        (node("a", age=0.1), {NodeId("a"): "1"}, "alive"),
        (node("a", age=3.1, alive=False), {}, "lost"),
        (node("a", age=None, alive=False), {}, "lost"),
    ],
)
def test_a_node_that_is_not_heard_is_said_to_be_silent_and_then_lost(
    seen: NodeStatus, gone: dict[NodeId, str], state: str
) -> None:
    assert entries(cluster(seen), {}, gone)["node/a"]["state"] == state


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (deployment(epoch(*PAIR)), "live"),
        (deployment(epoch(worker(0, "a"), worker(1, "b", phase=Phase.BACKING_OFF))), "degraded"),
        (deployment(epoch(*PAIR), epoch(*PAIR, number=2, phase=EpochPhase.PROBING)), "rolling out"),
        (deployment(epoch(*PAIR, phase=EpochPhase.STARTING)), "starting"),
        (deployment(), "planning"),
        (deployment(epoch(*PAIR), parked=True), "parked"),
        (deployment(epoch(*PAIR), removed=True), "going"),
    ],
)
def test_a_deployment_says_how_it_stands(seen: DeploymentStatus, state: str) -> None:
    assert entries(cluster(deployments=(seen,)), {}, {})["deployment/vit"]["state"] == state


def test_predicted_stands_beside_measured() -> None:
    ledger = Ledger()
    ledger.observe(ended(latency=0.012))
    told = entries(cluster(deployments=(deployment(epoch(*PAIR)),)), {"vit": ledger.spent("vit")}, {})["deployment/vit"]
    [shown] = told["epochs"]
    first = shown["chains"][0]["stages"][0]["workers"][0]
    assert (first["predicted"], first["measured"], first["served"]) == (0.003, 0.004, 7)
    assert shown["chains"][0]["hops"][1] == {
        "source": "a",
        "target": "b",
        "codec": "raw",
        "nbytes": 100,
        "predicted": 0.001,
    }
    assert [len(each) for each in shown["phases"]] == [5, 5, 5]


def test_the_bottleneck_is_named_in_words() -> None:
    busy = epoch(worker(0, "a", busy=0.3), worker(1, "b", busy=0.93))
    assert bottleneck(busy) == "Stage 2 on b holds it back: it computes 93% of the time, 4 ms for each request"
    idle = bottleneck(epoch(*PAIR))
    assert idle == "Under full load the link from a to b would hold it back, at 50 requests/s"
    assert resource_words("host of a, b") == "the cores that a, b share"
    assert resource_words("host of a") == "the cores of a"
    assert resource_words("node a") == "the work on a"
    assert resource_words("medium wifi") == "the medium wifi"
