"""Many models placed on nodes, in virtual time: the real engine, with the costs that the placement was made of."""

from collections.abc import Sequence
from math import inf

import numpy as np

from cutwater.drivers.faults import Kill
from cutwater.drivers.sim.entrance import Entrance
from cutwater.drivers.sim.network import NetworkOptions, PathOptions
from cutwater.drivers.sim.outcomes import Asking
from cutwater.drivers.sim.pipeline import specs
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Stepper
from cutwater.drivers.sim.workers import SimWorker, Work
from cutwater.drivers.sim.world import World
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.gateway.neighbours import Neighbours
from cutwater.engine.stage.batching import Batching
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.turns import LEAST, Said, Say, Turns
from cutwater.engine.vocabulary import Route
from cutwater.plan.fleet import Node
from cutwater.plan.many.served import Group, Observed, Placement, Replica, Served
from cutwater.plan.many.stream import Stream
from cutwater.plan.many.tracks import coupled, models_of
from cutwater.plan.problem import Floats
from cutwater.profile.profile import Rest
from cutwater.units import NodeId, RequestId, Seconds, StageId, WorkerId
from cutwater.wire.message import Hop

TOKEN = "placement"
SOURCE = NodeId(":source")
"""Where requests come from; a colon, so that it is no node of a fleet."""
WARM_UP: Seconds = 10.0
"""Virtual time before the first request that counts; one request of each door goes before."""
LATE: Seconds = 1e-6
"""An answer may come so much after the SLO: times are sums, and rounded differently from those of a prediction."""
AT_REST: Seconds = 1e-3
"""A node that has had nothing to do for some times as long is at rest."""
NBYTES = 1000
"""Of every tensor; what hops cost is in their seconds, so it does not matter."""


def simulate(
    placement: Placement,
    served: Sequence[Served],
    nodes: Sequence[Node],
    stream: Stream,
    *,
    together: bool = False,
    spares: Sequence[Group] = (),
    kills: Sequence[Kill] = (),
) -> Floats:
    """[R] seconds from each request to its answer; infinite: it was refused, or too late for its model's SLO.

    Each node is one machine that computes one request at a time, of whichever stage; its workers take turns as they do
    live. Where the hops of the models of one group differ, each takes what they take on average.

    Args:
        placement: Who runs what; groups use different nodes, and what was planned with batches is taken in batches.
        served: The models, with the costs of their candidates.
        nodes: The nodes, with their speeds.
        stream: When requests come, and for whom.
        together: Groups that share models, all of which cost the same, have one door with the models as its clients.
            Otherwise every model has its own, as gateways do, and they hear of each other.
        spares: Further ways for replicas that the placement has, of as many stages, on nodes that need not be free and
            may be the same twice; taken where no other way is left.
        kills: Nodes, by name, whose workers are killed; they serve again ``back`` seconds later, or never.
    """
    return _Placed(placement, served, nodes, together, spares).run(stream, kills)


class _Placed:
    """One world: per node one process with the stages of all its models, and the doors before them."""

    def __init__(
        self,
        placement: Placement,
        served: Sequence[Served],
        nodes: Sequence[Node],
        together: bool,
        spares: Sequence[Group] = (),
    ) -> None:
        self.served, self.nodes = served, nodes
        every = Placement((*placement.groups, *spares))
        self.world = World(NetworkOptions(paths=_paths(every, served, nodes), default=None))
        self.world.where[SOURCE] = SOURCE
        self.world.host(SOURCE, len(served) + 1)
        self.processes: dict[int, Process] = {}
        self.turns: dict[int, Stepper] = {}
        for at in sorted({node for group in every.groups for node in group.nodes}):
            name = nodes[at].name
            self.world.where[name] = name
            self.world.host(name, 1)
            self._start(at)
        self.neighbours = Neighbours()
        self.deaths: dict[int, int] = {}
        """Node -> how often its workers were killed."""
        self.workers: dict[str, SimWorker] = {}
        """Address -> who listens there."""
        self.doors: list[tuple[Entrance, list[tuple[Group, Replica, bool]]]] = []
        """Each with its ways, of which some are spare."""
        self.entrances: dict[str, Entrance] = {}
        for groups in coupled(placement):
            models = sorted(models_of(groups))
            for behind in [models] if together and models else [[model] for model in models]:
                which = [(group, each, False) for group in groups for each in group.replicas]
                which += [(group, each, True) for group in spares for each in group.replicas]
                ways = [way for way in which if way[1].model == behind[0]]
                entrance = self._entrance(served[behind[0]].name, [self._route(*way) for way in ways])
                self.doors.append((entrance, ways))
                self.entrances |= {served[model].name: entrance for model in behind}

    def _start(self, at: int) -> None:
        """A node's process, where all its workers are, and who gives them turns; to say a word takes no time."""
        name = self.nodes[at].name
        process = self.processes[at] = self.world.process(name, "worker")

        def say(command: Say) -> None:
            process.loop.add(0.0, self.workers[command.worker].stepper.tell, command.word)

        self.turns[at] = Stepper(Turns(name), {Say: say}, process, f"{name}/turns")

    def _worker(self, node: int, address: str, machine: StageWorker, work: Work) -> None:
        """One more at a node, which begins to listen."""
        process, turns = self.processes[node], self.turns[node]
        worker = self.workers[address] = SimWorker(process, machine, work, self.world.links, TOKEN)
        worker.on_word = lambda word: process.loop.add(0.0, turns.tell, Said(WorkerId(address), word))
        worker.listen(address)

    def _route(self, group: Group, replica: Replica, spare: bool) -> Route:
        """A model's way through a group, whose workers begin to listen."""
        candidate = self.served[replica.model].candidates[replica.candidate]
        seconds = tuple(s / self.nodes[at].speed for s, at in zip(candidate.seconds, group.nodes, strict=True))
        hops = []
        for stage, (node, each) in enumerate(zip(group.nodes, seconds, strict=True)):
            fixed = candidate.fixed[stage] / self.nodes[node].speed if candidate.fixed else 0.0
            axes = {"in": 0, "out": 0} if candidate.batch > 1 else {}
            options = StageOptions(
                batching=Batching(limit=candidate.batch),
                batch_axes=axes,
                credits=max(StageOptions().credits, 2 * candidate.batch),
                expected=each,
                in_turn=LEAST,
            )
            machine = StageWorker(StageId(f"stage-{stage + 1}"), options)
            observed, speed = candidate.observed[stage] if candidate.observed else Observed(), self.nodes[node].speed
            work = Work(
                seconds=each,
                fixed=fixed,
                spread=observed.spread / speed,
                rest=Rest(observed.rested / speed, AT_REST) if observed.rested else Rest(),
                held=observed.held / speed,
                outputs=specs("out", NBYTES),
            )
            hop = Hop(f"{node}.{self.deaths.get(node, 0)}.{replica.model}.{stage}", "plain")
            if hop.address not in self.workers:
                self._worker(node, hop.address, machine, work)
            hops.append(hop)
        return Route(
            tuple(hops),
            seconds=seconds,
            latency=sum(seconds) + sum(candidate.hops),
            spare=spare,
            nodes=tuple(self.nodes[at].name for at in group.nodes),
            batch=candidate.batch,
        )

    def _entrance(self, name: str, routes: list[Route]) -> Entrance:
        process = self.world.process(SOURCE, name)
        entering = specs("in", NBYTES)
        entrance = Entrance(
            process,
            Gateway(),
            self.world.links,
            lambda route: entering,
            tokens=lambda _: TOKEN,
            neighbours=self.neighbours,
        )
        process.loop.add(0.0, entrance.reroute, tuple(routes))
        process.loop.add(0.0, entrance.ask, Asking(RequestId(0), name, 0.0, WARM_UP))
        return entrance

    def _kill(self, kill: Kill) -> None:
        at = next((k for k, node in enumerate(self.nodes) if node.name == kill.name), None)
        if at is None or at not in self.processes:  # nobody is there who could be killed
            return
        self.processes[at].die()
        self.world.links.check()
        if kill.back is not None:
            self.world.clock.after(kill.back, self._start_again, at)

    def _start_again(self, at: int) -> None:
        """Other workers in the place of those that were killed, at other addresses."""
        self.deaths[at] = self.deaths.get(at, 0) + 1
        self._start(at)
        for entrance, ways in self.doors:
            routes = tuple(self._route(*way) for way in ways)
            entrance.process.loop.add(0.0, entrance.reroute, routes)

    def run(self, stream: Stream, kills: Sequence[Kill] = ()) -> Floats:
        """Have the requests come, and wait for all answers."""
        world = self.world
        world.run(WARM_UP)
        for kill in kills:
            world.clock.after(kill.at, self._kill, kill)
        for entrance in set(self.entrances.values()):
            entrance.told = world.hear
        for k, model in enumerate(self.served):
            if model.name in self.entrances:
                coming = [(when, model.name) for when in stream.times[stream.models == k].tolist()]
                world.offer(coming, self.entrances.__getitem__, model.slo + LATE, client=model.name)
        world.settle(inf)
        latencies: Floats = np.full(len(stream.times), inf)
        for k, model in enumerate(self.served):
            taken = [inf if asking.kind else asking.latency for asking in world.askings if asking.model == model.name]
            if taken:
                latencies[stream.models == k] = taken
        return latencies


def _paths(
    placement: Placement, served: Sequence[Served], nodes: Sequence[Node]
) -> dict[tuple[NodeId, NodeId], PathOptions]:
    """What the hops of a group's models take on average; the answer's way back in equal parts."""
    paths = {}
    for group in placement.groups:
        if not group.replicas:
            continue
        hops = np.array([served[each.model].candidates[each.candidate].hops for each in group.replicas]).mean(axis=0)
        back = float(hops[-1]) / len(group.nodes)
        ends = [SOURCE, *(nodes[at].name for at in group.nodes)]
        for k, hop in enumerate(hops[:-1].tolist()):
            paths[ends[k], ends[k + 1]] = PathOptions(latency=hop)
            paths[ends[k + 1], ends[k]] = PathOptions(latency=back)
    return paths
