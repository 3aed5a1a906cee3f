"""A coordinator and three agents on a real fabric, with real workers: brought up in order, mended when one dies."""

import asyncio
import functools
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_bed import Nursery, Watcher, alive, watching
from fabric_bed import NatsBed

from cutwater.drivers.loop import run
from cutwater.engine.facts.deployments import DeploySpec, EpochPhase
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Phase
from cutwater.engine.replay import replay
from cutwater.engine.trace import from_line
from cutwater.errors import NotFound, Refused
from cutwater.fabric.server import ServerOptions
from cutwater.services.asking import (
    Deploy,
    DrainNode,
    LinksMeasured,
    MeasureLinks,
    Undeploy,
    ask_a_node,
)
from cutwater.units import NodeId

pytestmark = [pytest.mark.alone, pytest.mark.slow]
NODES = ("n1", "n2", "n3")

Story = Callable[..., Coroutine[Any, Any, None]]


@pytest.fixture
def fabric_server(tmp_path: Path) -> Iterator[NatsBed]:
    """A server of the test's own: its state is the cluster's."""
    bed = NatsBed(ServerOptions(home=tmp_path / "nats"))
    asyncio.run(bed.restart())
    yield bed
    bed.end(signal.SIGTERM)


def story(test: Story) -> Callable[..., None]:
    """Run a test with a nursery and a watcher, on the processes' own event loop, and never let it hang."""

    @functools.wraps(test)
    def told(fabric_server: NatsBed, tmp_path: Path, plain_record: ModelRecord, blob_folder: Path) -> None:
        async def within_limit() -> None:
            nursery = Nursery(fabric_server.fabric, fabric_server.url, tmp_path / "home")
            async with asyncio.timeout(60), watching(fabric_server.fabric) as watcher:
                try:
                    await test(nursery, watcher, Model(watcher, plain_record, blob_folder), fabric_server)
                finally:
                    await nursery.end()

        run(within_limit())

    del told.__wrapped__  # type: ignore[attr-defined] # pytest shall see the fixtures this one asks for
    return told


class Model:
    """The small transformer, to be deployed."""

    def __init__(self, watcher: Watcher, record: ModelRecord, folder: Path) -> None:
        self._watcher, self._record, self._folder = watcher, record, folder

    async def deploy(self, **spec: Any) -> Any:
        return await self._watcher.deploy(self._record, self._folder, **spec)


async def three(nursery: Nursery, watcher: Watcher) -> None:
    await nursery.coordinator("c1")
    for name in NODES:
        await nursery.agent(name)
    await watcher.status(lambda seen: sum(node.alive for node in seen.nodes) == 3)


@story
async def test_workers_come_up_from_the_last_stage_to_the_first(nursery, watcher, model, server) -> None:
    await three(nursery, watcher)
    table = await model.deploy(stages=3)
    assert [len(route.hops) for route in table.routes] == [3]
    ready = [worker for worker, phase in watcher.history if phase is Phase.READY]
    assert ready == ["vit.1.0.2.0", "vit.1.0.1.0", "vit.1.0.0.0"]
    seen = await watcher.status(lambda seen: seen.deployments[0].epochs[0].phase is EpochPhase.LIVE)
    [deployment] = seen.deployments
    assert {worker.node for worker in deployment.epochs[0].workers} == set(NODES)
    assert all(w.state is not None and w.state.phase is Phase.READY for w in deployment.epochs[0].workers)
    pids = [state.pid for state in watcher.workers().values()]
    await watcher.ask(Undeploy("vit"))
    await watcher.until(lambda: not any(beat.workers for beat in watcher.beats.values()))
    assert not any(map(alive, pids))
    await watcher.status(lambda seen: not seen.deployments)
    await nursery.stop("c1")
    with (nursery.home.folder / "traces" / "c1.cluster.jsonl").open("rb") as lines:
        again = replay(from_line(line) for line in lines)
    assert again.steps > 10
    assert again.difference is None


@story
async def test_a_killed_agent_takes_its_workers_along_and_the_others_take_over(nursery, watcher, model, server) -> None:
    await nursery.coordinator("c1")
    await nursery.agent("n1")
    await nursery.agent("n2")
    await nursery.process("node", "n3")
    await watcher.status(lambda seen: sum(node.alive for node in seen.nodes) == 3)
    await model.deploy(stages=3)
    lost = [state.pid for state in watcher.beats[NodeId("n3")].workers]
    assert len(lost) == 1
    await watcher.ask(Deploy(DeploySpec(model="vit")))  # as many stages as are best
    began = time.monotonic()
    nursery.kill("n3")
    table = await watcher.live(2)
    assert not any(map(alive, lost))
    assert time.monotonic() - began < 20
    assert {hop.address for route in table.routes for hop in route.hops} <= {
        address for name in ("n1", "n2") for state in watcher.beats[NodeId(name)].workers for address in state.addresses
    }
    seen = await watcher.status(lambda seen: not next(n for n in seen.nodes if n.announcement.node == "n3").alive)
    assert len(seen.nodes) == 3


@story
async def test_a_standby_leads_when_the_coordinator_is_killed_and_restarts_nothing(
    nursery, watcher, model, server
) -> None:
    await nursery.process("coordinator", "c1")
    first = await watcher.status(lambda seen: True)
    await nursery.coordinator("c2")
    for name in NODES:
        await nursery.agent(name)
    await model.deploy(stages=3)
    before = {worker: state.pid for worker, state in watcher.workers().items()}
    began = time.monotonic()
    nursery.kill("c1")
    seen = await watcher.status(lambda seen: seen.leader == "c2")
    assert time.monotonic() - began < 5.0
    assert seen.term > first.term
    await watcher.status(lambda seen: sum(node.alive for node in seen.nodes) == 3)
    # A change shows that the new one leads indeed, and that what runs is what it knows.
    await watcher.ask(Deploy(DeploySpec(model="vit", stages=2)))
    assert {worker: state.pid for worker, state in watcher.workers().items() if worker in before} == before
    table = await watcher.live(2)
    assert len(table.routes[0].hops) == 2


@story
async def test_a_coordinator_that_ends_in_good_order_hands_over_at_once(nursery, watcher, model, server) -> None:
    await nursery.coordinator("c1")
    await watcher.status(lambda seen: seen.leader == "c1")
    await nursery.coordinator("c2")
    began = time.monotonic()
    await nursery.stop("c1")
    await watcher.status(lambda seen: seen.leader == "c2")
    assert time.monotonic() - began < 2.5


@story
async def test_all_goes_on_when_the_fabric_is_back(nursery, watcher, model, server) -> None:
    await three(nursery, watcher)
    await model.deploy(stages=3)
    before = {worker: state.pid for worker, state in watcher.workers().items()}
    await server.crash()
    watcher.beats.clear()
    await server.restart()
    await watcher.until(lambda: len(watcher.beats) == 3)
    assert {worker: state.pid for worker, state in watcher.workers().items()} == before
    await watcher.ask(Deploy(DeploySpec(model="vit", stages=2)))
    table = await watcher.live(2)
    assert len(table.routes[0].hops) == 2


@story
async def test_a_worker_that_dies_is_started_again(nursery, watcher, model, server) -> None:
    await three(nursery, watcher)
    await model.deploy(stages=1)
    [(worker, state)] = watcher.workers().items()
    os.kill(state.pid, signal.SIGKILL)
    again = await watcher.until(lambda: (found := watcher.workers().get(worker)) and found.restarts and found)
    assert again.pid != state.pid
    assert again.restarts == 1


@story
async def test_a_node_that_leaves_hands_over_first(nursery, watcher, model, server) -> None:
    await three(nursery, watcher)
    await model.deploy(stages=1)
    [node] = [node for node, beat in watcher.beats.items() if beat.workers]
    [pid] = [state.pid for state in watcher.beats[node].workers]
    leaving = asyncio.create_task(nursery.stop(node))
    table = await watcher.live(2)
    await leaving
    assert not alive(pid)
    assert table.routes[0].hops[0].address not in [a for s in watcher.beats[node].workers for a in s.addresses]


@story
async def test_a_drained_node_runs_nothing_until_it_is_used_again(nursery, watcher, model, server) -> None:
    await three(nursery, watcher)
    await model.deploy(stages=1)
    [node] = [node for node, beat in watcher.beats.items() if beat.workers]
    await watcher.ask(DrainNode(node))
    await watcher.live(2)
    await watcher.until(lambda: not watcher.beats[node].workers)
    seen = await watcher.status(lambda seen: True)
    assert [each.announcement.node for each in seen.nodes if each.draining] == [node]
    with pytest.raises(NotFound, match="did you mean 'n1'"):
        await watcher.ask(DrainNode(NodeId("n11")))


@story
async def test_one_name_is_one_node(nursery, watcher, model, server) -> None:
    await nursery.agent("n1")
    with pytest.raises(Refused, match="'n1' runs already"):
        await nursery.agent("n1", host="elsewhere")


@story
async def test_a_node_measures_the_links_to_its_peers(nursery, watcher, model, server) -> None:
    await three(nursery, watcher)
    seen = await watcher.status(lambda seen: len(seen.nodes) == 3)
    [n2] = [each.announcement for each in seen.nodes if each.announcement.node == "n2"]
    peers = MeasureLinks(((n2.node, n2.address), (NodeId("n9"), "tcp:127.0.0.1:1")))
    found = await ask_a_node(watcher.fabric, NodeId("n1"), peers, LinksMeasured, 20.0)
    [link] = found.links
    assert (link.source, link.target) == ("n1", "n2")
    assert link.bandwidth > 1e7
    assert 0 < link.latency < 0.1
    assert list(found.failed) == ["n9"]
    seen = await watcher.status(lambda seen: len(seen.links) == 6)
    assert {(each.source, each.target) for each in seen.links} == {(a, b) for a in NODES for b in NODES if a != b}
