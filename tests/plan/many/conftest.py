"""A placement in virtual time with the real engine: what the fast queues are to agree with."""

from collections.abc import Callable, Sequence
from math import inf

import numpy as np
import pytest

from cutwater.drivers.sim.entrance import Entrance
from cutwater.drivers.sim.network import NetworkOptions, PathOptions
from cutwater.drivers.sim.outcomes import Asking
from cutwater.drivers.sim.pipeline import specs
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.workers import SimWorker, Work
from cutwater.drivers.sim.world import World
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.stage.batching import Batching
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.vocabulary import Route
from cutwater.plan.fleet import Node
from cutwater.plan.many.served import Group, Placement, Replica, Served
from cutwater.plan.many.stream import Stream
from cutwater.plan.many.tracks import coupled, models_of
from cutwater.units import NodeId, RequestId, StageId
from cutwater.wire.message import Hop

TOKEN = "placement"
WARM_UP = 10.0
CAMERA = NodeId("camera")
Simulate = Callable[..., np.ndarray]


class Simulated:
    """One world: per node one process that computes the stages of all its models, and gateway machines.

    ``doors``: "lot": groups that share models, all of which cost the same, have one gateway, and the models are its
    clients; "model": every model has its own, which knows nothing of the others'.
    """

    def __init__(
        self, placement: Placement, served: Sequence[Served], nodes: Sequence[Node], hop: float, doors: str
    ) -> None:
        self.world = World(NetworkOptions(default=PathOptions(latency=hop)))
        self.served, self.nodes = served, nodes
        self.world.where[CAMERA] = "camera"
        self.world.host("camera", len(served) + 1)
        self.processes: dict[int, Process] = {}
        for at, node in enumerate(nodes):
            self.world.where[node.name] = node.name
            self.world.host(node.name, 1)
            self.processes[at] = self.world.process(node.name, "worker")
        self.entrances: dict[str, Entrance] = {}
        for groups in coupled(placement):
            models = sorted(models_of(groups))
            for behind in [models] if doors == "lot" else [[model] for model in models]:
                which = [(g, next((r for r in g.replicas if r.model == behind[0]), None)) for g in groups]
                routes = [self.route(group, replica) for group, replica in which if replica is not None]
                entrance = self.entrance(served[behind[0]].name, routes)
                self.entrances |= {served[model].name: entrance for model in behind}

    def route(self, group: Group, replica: Replica) -> Route:
        candidate = self.served[replica.model].candidates[replica.candidate]
        hops = []
        for stage, node in enumerate(group.nodes):
            fixed = candidate.fixed[stage] if candidate.fixed else 0.0
            assert not fixed, "a worker's batches take as long as their requests one by one"
            address = f"{node}.{replica.model}"
            options = StageOptions(batching=Batching(limit=candidate.batch))
            machine = StageWorker(StageId(f"stage-{stage + 1}"), options)
            work = Work(seconds=candidate.seconds[stage] / self.nodes[node].speed, outputs=specs("out", 1000))
            worker = SimWorker(self.processes[node], machine, work, self.world.links, TOKEN)
            worker.listen(address)
            hops.append(Hop(address, "plain"))
        seconds = tuple(s / self.nodes[n].speed for s, n in zip(candidate.seconds, group.nodes, strict=True))
        return Route(tuple(hops), seconds=seconds, latency=sum(seconds) + sum(candidate.hops))

    def entrance(self, name: str, routes: list[Route]) -> Entrance:
        process = self.world.process(CAMERA, name)
        entering = specs("in", 1000)
        entrance = Entrance(process, Gateway(), self.world.links, lambda route: entering, tokens=lambda _: TOKEN)
        self.world.watch(process, entrance.stepper)
        process.loop.add(0.0, entrance.reroute, tuple(routes))
        process.loop.add(0.0, entrance.ask, Asking(RequestId(0), name, 0.0, WARM_UP))
        return entrance

    def run(self, stream: Stream) -> np.ndarray:
        world = self.world
        world.run(WARM_UP)
        for entrance in set(self.entrances.values()):
            entrance.told = world.hear
        for k, model in enumerate(self.served):
            if model.name in self.entrances:
                times = stream.times[stream.models == k].tolist()
                coming = [(when, model.name) for when in times]
                world.offer(coming, self.entrances.__getitem__, model.slo + 1e-6, client=model.name)
        world.settle(inf)
        latencies = np.full(len(stream.times), inf)
        for k, model in enumerate(self.served):
            taken = [inf if a.kind else a.latency for a in world.askings if a.model == model.name]
            if taken:
                latencies[stream.models == k] = taken
        return latencies


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """(placement, served, nodes, stream, hop) -> [R] latencies, infinite where there was no result in time."""

    def run(
        placement: Placement,
        served: Sequence[Served],
        nodes: Sequence[Node],
        stream: Stream,
        hop: float = 0.0,
        *,
        doors: str = "lot",
    ) -> np.ndarray:
        return Simulated(placement, served, nodes, hop, doors).run(stream)

    return run
