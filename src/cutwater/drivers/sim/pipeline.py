"""One plan in virtual time: a gateway with fixed routes and the plan's workers, with the costs the plan was made of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from math import inf

from cutwater.drivers.sim.entrance import Entrance
from cutwater.drivers.sim.network import NetworkOptions, PathOptions
from cutwater.drivers.sim.outcomes import Asking
from cutwater.drivers.sim.workers import SimWorker, Work
from cutwater.drivers.sim.world import World, WorldOptions
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.stage.batching import Batching
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import Route
from cutwater.plan.fleet import LOCAL_SOURCE, Fleet
from cutwater.plan.plan import HopScore, Plan
from cutwater.profile.profile import FrameCost, Profile, Rest
from cutwater.units import NodeId, RequestId, Seconds, StageId
from cutwater.wire.message import Hop, TensorSpec

TOKEN = "plan"
WARM_UP: Seconds = 60.0
"""Virtual time before the first request that counts."""


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """How a plan is run; the fields mean what those of a local pipeline mean."""

    world: WorldOptions = field(default_factory=WorldOptions)
    admission: Admission = field(default_factory=Admission)
    batching: Batching = field(default_factory=Batching)
    credits: int = 16
    timeout: Seconds = 60.0
    trace: Trace | None = None


class SimPipeline:
    """A world that runs one plan."""

    def __init__(
        self,
        plan: Plan,
        *,
        fleet: Fleet | None = None,
        profile: Profile | None = None,
        options: PipelineOptions = PipelineOptions(),
    ) -> None:
        """As a local pipeline, it begins with one request that counts for nothing: all links of one way stand then.

        Args:
            plan: What is run; its score says what everything costs.
            fleet: Who shares a machine with whom, and what links are like; without it, nodes of a local plan share
                one machine and all others have their own, and links do what the plan predicts of its hops.
            profile: How much computing at once slows computing down, how much stage times vary, and what a frame
                costs each end; without it the plan's predictions stand for all of these.
            options: How the processes behave.
        """
        self.plan = plan
        self.options = options
        self.model = plan.model
        self._costs = _Costs(plan, fleet, profile)
        self.world = World(self._costs.network(), options.world)
        self.workers: list[SimWorker] = []
        """In order of stage and replica."""
        self._build()
        process = self.entrance.process
        process.loop.add(0.0, self.entrance.ask, Asking(RequestId(0), self.model, 0.0, WARM_UP))
        self.world.run(WARM_UP)
        self.entrance.told = self.world.hear

    def _build(self) -> None:
        world, costs, plan = self.world, self._costs, self.plan
        costs.hosts(world)
        ways: list[list[Hop]] = []
        for k, stage in enumerate(plan.stages):
            ways.append([])
            for replica, node in enumerate(stage.nodes):
                address = f"sim:{k}.{replica}"
                self._worker(k, node, f"stage-{k + 1}" + (f".{replica}" if len(stage.nodes) > 1 else ""), address)
                ways[-1].append(Hop(address, "plain"))
        seconds = tuple(score.compute for score in plan.score.stages)
        routes = [Route(hops, seconds=seconds, latency=plan.score.latency) for hops in product(*ways)]
        process = world.process(plan.source, "gateway")
        machine = Gateway(GatewayOptions(admission=self.options.admission))
        entering = specs("input", plan.score.hops[0].nbytes)
        self.entrance = Entrance(
            process,
            machine,
            world.links,
            lambda route: entering,
            tokens=lambda address: TOKEN,
            frame=costs.entrance(),
            trace=self.options.trace,
        )
        world.watch(process, self.entrance.stepper)
        process.loop.add(0.0, self.entrance.reroute, tuple(routes))

    def _worker(self, k: int, node: NodeId, name: str, address: str) -> None:
        world = self.world
        process = world.process(node, name, threads=self._costs.threads(node))
        options = StageOptions(batching=self.options.batching, credits=self.options.credits)
        worker = SimWorker(
            process,
            StageWorker(StageId(f"stage-{k + 1}"), options),
            self._costs.work(k, node),
            world.links,
            TOKEN,
            trace=self.options.trace,
        )
        worker.listen(address)
        world.watch(process, worker.stepper)
        self.workers.append(worker)

    def offer(self, arrivals: Iterable[Seconds], priority: int = 0, client: str = "") -> None:
        """Have requests come at these times, seconds from now."""
        timeout = self.options.timeout
        self.world.offer(((when, self.model) for when in arrivals), lambda _: self.entrance, timeout, priority, client)


def specs(name: str, nbytes: float) -> tuple[TensorSpec, ...]:
    """One tensor of so many bytes."""
    return (TensorSpec(name, "uint8", (round(nbytes),), round(nbytes)),)


class _Costs:
    """What a plan's parts cost, each by itself."""

    def __init__(self, plan: Plan, fleet: Fleet | None, profile: Profile | None) -> None:
        self.plan = plan
        self.fleet = fleet
        self.profile = profile
        self.local = plan.source == LOCAL_SOURCE
        self._nodes = {node.name: node for node in fleet.nodes} if fleet is not None else {}
        self._measured = {(stage.begin, stage.end): stage for stage in profile.stages} if profile else {}

    def hosts(self, world: World) -> None:
        """Add the machines."""
        used = [self.plan.source, *(node for stage in self.plan.stages for node in stage.nodes)]
        for node in dict.fromkeys(used):
            name, cores = self._host_of(node)
            world.where[node] = name
            if name not in world.hosts:
                contention = self.profile.contention if self.profile is not None else 1.0
                world.host(name, cores, contention=contention, threads=self.threads(node))

    def _host_of(self, node: NodeId) -> tuple[str, int]:
        known = self._nodes.get(node)
        if known is not None and self.fleet is not None:
            return (known.host, self.fleet.hosts[known.host]) if known.host is not None else (node, known.cores)
        if self.local:
            return "local", self.profile.conditions.cores if self.profile is not None else len(self.plan.stages) + 1
        return node, 2

    def threads(self, node: NodeId) -> int:
        """Threads a node computes with."""
        return self._nodes[node].threads if node in self._nodes else 1

    def speed(self, node: NodeId) -> float:
        """Times faster than the profile's device."""
        return self._nodes[node].speed if node in self._nodes else 1.0

    def work(self, k: int, node: NodeId) -> Work:
        """What the ``k``-th stage does with a request."""
        score, stage = self.plan.score.stages[k], self.plan.stages[k]
        seconds = score.compute / self._slowed(k)
        sample = self._measured.get((stage.begin.before, stage.end.before))
        scale = seconds / sample.seconds.median if sample is not None and sample.seconds.median > 0 else 0.0
        sending, receiving = self.frame(node, k)
        return Work(
            seconds=seconds,
            spread=sample.seconds.spread * scale if sample is not None else 0.0,
            rest=Rest(sample.rest.most * scale, sample.rest.time) if sample is not None else Rest(),
            decode=score.decode,
            encode=score.encode,
            outputs=specs(f"output-{k}", self._leaving(k)),
            sending=sending,
            receiving=receiving,
        )

    def _leaving(self, k: int) -> float:
        """Bytes that leave the ``k``-th stage: for the next one, or as the answer."""
        hops = self.plan.score.hops
        return hops[k + 1].nbytes if k + 1 < len(self.plan.stages) else hops[k].back_bytes or hops[k + 1].nbytes

    def _slowed(self, k: int) -> float:
        """The slow-down by other stages on the host that the score's computing includes; see `cutwater.plan.score`."""
        if self.profile is None:
            return 1.0
        node = self.plan.stages[k].nodes[0]
        host, cores = self._host_of(node)
        own = self.threads(node)
        together = [n for stage in self.plan.stages for n in stage.nodes if self._host_of(n)[0] == host]
        busy = sum(self.threads(n) for n in together)
        share = 0.0 if busy <= own else min(1.0, (busy - own) / max(cores - own, 1))
        return 1.0 + (self.profile.contention - 1.0) * share

    def frame(self, node: NodeId, k: int = 0) -> tuple[FrameCost, FrameCost]:
        """CPU of sending a frame and of receiving one."""
        if self.profile is not None:
            return _faster(self.profile.send, self.speed(node)), _faster(self.profile.receive, self.speed(node))
        # A stage receives a request and its answer, and sends both on; the last one has only one end of each.
        ends = 4 if k + 1 < len(self.plan.stages) else 2
        each = FrameCost(fixed=self.plan.score.stages[k].transfer_cpu / ends)
        return each, each

    def entrance(self) -> tuple[FrameCost, FrameCost]:
        """The same of the gateway."""
        source = self.plan.source
        if self.profile is None or self.profile.entrance is None:
            return self.frame(source)
        each = _faster(self.profile.entrance, self.speed(source))
        return each, each

    def network(self) -> NetworkOptions:
        """The paths the plan uses, both ways."""
        ends = [(self.plan.source,), *(stage.nodes for stage in self.plan.stages)]
        paths: dict[tuple[NodeId, NodeId], PathOptions] = {}
        for k, (senders, receivers) in enumerate(pairwise(ends)):
            for a, b in product(senders, receivers):
                paths[a, b] = self._path(a, b, self.plan.score.hops[k], back=False)
                paths[b, a] = self._path(b, a, self.plan.score.hops[k], back=True)
        media: Mapping[str, float] = self.fleet.media if self.fleet is not None else {}
        return NetworkOptions(paths=paths, media=media, default=None)

    def _path(self, a: NodeId, b: NodeId, hop: HopScore, *, back: bool) -> PathOptions:
        link = self.fleet.link(a, b) if self.fleet is not None and a in self._nodes and b in self._nodes else None
        if link is not None:
            bandwidth, latency, medium = link.bandwidth, link.latency, link.medium
        else:
            bandwidth = max(hop.nbytes, hop.back_bytes) / hop.occupied if hop.occupied else inf
            whole, nbytes = (hop.back_latency, hop.back_bytes) if back else (hop.latency, hop.nbytes)
            latency, medium = max(whole - nbytes / bandwidth, 0.0), None
        return PathOptions(bandwidth=bandwidth, latency=latency, medium=medium)


def _faster(cost: FrameCost, speed: float) -> FrameCost:
    return FrameCost(fixed=cost.fixed / speed, per_byte=cost.per_byte / speed)
