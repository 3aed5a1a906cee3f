"""Routes: every way through the replicas that serve, by Unix socket on one host and by TCP between hosts."""

import pytest
from cluster_world import chain
from msgspec.structs import replace

from cutwater.engine.coordinator.rollout import Epoch
from cutwater.engine.coordinator.routes import closest, epoch_table
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import Blueprint, EpochPhase, EpochRecord, Post
from cutwater.engine.facts.nodes import Phase, WorkerState
from cutwater.units import NodeId, WorkerId

HOSTS = {"a": "one", "b": "one", "c": "two"}


def epoch(
    *placed: tuple[int, str],
    chains: int = 1,
    spares: tuple[tuple[int, str], ...] = (),
    batch: int = 1,
    batchable: tuple[bool, bool] = (True, True),
) -> Epoch:
    """Two stages with a worker for each (stage, node), all of which serve."""
    posts = tuple(
        Post(stage=stage, node=NodeId(node), seconds=0.01, memory=1, spare=spare)
        for spare, some in ((False, placed), (True, spares))
        for stage, node in some
    )
    made = chain("m", "a", 2)
    parts = tuple(replace(part, batchable=able) for part, able in zip(made.parts, batchable, strict=True))
    made = replace(made, parts=parts, posts=posts, batch=batch)
    blueprint = Blueprint(model="m", chains=(made,) * chains, throughput=1.0, latency=1.0)
    record = EpochRecord(epoch=3, token="t", phase=EpochPhase.LIVE, blueprint=blueprint)
    result = Epoch("m", record, 0.0, CoordinatorOptions())
    for name, worker in result.workers.items():
        addresses = (f"unix:/{name}", f"tcp:{worker.node}:{name[4:]}")
        worker.state = WorkerState(worker=name, phase=Phase.READY, addresses=addresses)
    return result


def ways(of: Epoch, host: str = "one", most: int = 64, hosts: dict[str, str] = HOSTS) -> list[list[str]]:
    table = epoch_table(of, host, hosts.get, most)  # type: ignore[arg-type]
    return [[hop.address for hop in route.hops] for route in table.routes]


def test_each_hop_goes_by_the_shortest_way_from_the_one_before() -> None:
    here = epoch((0, "a"), (1, "b"))
    assert ways(here, "one") == [["unix:/m.3.0.0.0", "unix:/m.3.0.1.0"]]
    assert ways(here, "two") == [["tcp:a:0.0.0", "unix:/m.3.0.1.0"]]
    there = epoch((0, "a"), (1, "c"))
    assert ways(there, "one") == [["unix:/m.3.0.0.0", "tcp:c:0.1.0"]]


def test_replicas_multiply_and_chains_add_up() -> None:
    of = epoch((0, "a"), (0, "b"), (1, "a"), (1, "b"), chains=2)
    table = epoch_table(of, "one", HOSTS.get, 64)  # type: ignore[arg-type]
    assert [route.chain for route in table.routes] == [0] * 4 + [1] * 4
    assert len({route.hops for route in table.routes}) == 8 and len(table.doors) == 2
    assert {(route.epoch, route.seconds, route.reply_packing) for route in table.routes} == {(3, (0.01, 0.01), "plain")}


@pytest.mark.parametrize(
    ("able", "limits", "said"), [((True, True), [4, 4], 4), ((False, True), [1, 4], 4), ((False, False), [1, 1], 1)]
)
def test_a_way_says_how_many_its_workers_take_at_once(able: tuple[bool, bool], limits: list[int], said: int) -> None:
    of = epoch((0, "a"), (1, "b"), batch=4, batchable=able)
    assert [worker.spec.batching.limit for worker in of.workers.values()] == limits
    [route] = epoch_table(of, "one", HOSTS.get, 64).routes  # type: ignore[arg-type]
    assert route.batch == said


def test_a_worker_that_does_not_serve_or_whose_node_is_gone_leaves_out_its_ways() -> None:
    of = epoch((0, "a"), (0, "c"), (1, "b"))
    assert len(ways(of)) == 2
    assert ways(of, hosts={"a": "one", "b": "one"}) == [["unix:/m.3.0.0.0", "unix:/m.3.0.1.0"]]
    of.workers[WorkerId("m.3.0.0.0")].state = None
    assert ways(of) == [["tcp:c:0.0.1", "tcp:b:0.1.0"]]


def test_ways_over_spares_come_last_and_are_the_first_to_be_left_out() -> None:
    of = epoch((0, "a"), (1, "b"), spares=((0, "c"), (1, "c")))
    table = epoch_table(of, "one", HOSTS.get, 64)  # type: ignore[arg-type]
    assert [route.spare for route in table.routes] == [False, True, True, True]
    assert len(ways(of, most=2)) == 2


def test_a_worker_without_tcp_cannot_be_reached_from_another_host() -> None:
    assert closest(("unix:/w",), local=False) is None
    assert closest(("unix:/w",), local=True) == "unix:/w"
    assert closest(("tcp:h:1",), local=True) == "tcp:h:1"
    of = epoch((0, "a"), (1, "c"))
    last = of.workers[WorkerId("m.3.0.1.0")]
    last.state = WorkerState(worker=last.spec.worker, phase=Phase.READY, addresses=("unix:/w",))
    assert ways(of) == []
