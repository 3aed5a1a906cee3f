"""SimCluster: a whole cluster in virtual time: coordinators, fabric, nodes, gateways, and what befalls them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

import msgspec

from cutwater.drivers.faults import Fault
from cutwater.drivers.sim.coordinators import SimCoordinator
from cutwater.drivers.sim.entrance import Entrance
from cutwater.drivers.sim.fabric import SimFabric
from cutwater.drivers.sim.gateways import SimGateway
from cutwater.drivers.sim.mischief import Mischief
from cutwater.drivers.sim.models import Planner, SimModel, quick_planner
from cutwater.drivers.sim.network import NetworkOptions
from cutwater.drivers.sim.nodes import SimNode
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.workers import SimWorker, Work
from cutwater.drivers.sim.world import Arrival, World, WorldOptions
from cutwater.engine.control import CoordinatorEvent, DeployAsked, ModelAdded
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.nodes import Announcement, Hardware, WorkerSpec
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.trace import Trace
from cutwater.engine.turns import LEAST
from cutwater.engine.vocabulary import StandIn
from cutwater.graph.graph import Tensor
from cutwater.profile.profile import FrameCost
from cutwater.units import GatewayId, NodeId, Seconds, StageId
from cutwater.wire.message import TensorSpec

DESK = NodeId("(desk)")
"""Where coordinators run: on no node that runs stages."""


class NodeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One machine that runs stages."""

    node: NodeId
    host: str = ""
    """Empty: a machine of its own."""
    cores: int = 2
    memory: int = 2 * 2**30
    speed: float = 1.0


class ClusterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster consists of, and what things take in it."""

    world: WorldOptions = WorldOptions()
    coordinators: int = 2
    """One leads, the others stand by."""
    steering: CoordinatorOptions = CoordinatorOptions()
    planning: Seconds = 0.2
    spawning: Seconds = 0.4
    """From starting a process until it loads."""
    load_rate: float = 500e6
    """Bytes of weights per second, loading."""
    fetch_rate: float = 60e6
    """Bytes per second from the fabric."""
    frame: FrameCost = FrameCost(fixed=50e-6, per_byte=2e-10)
    """What each end of a link spends on a frame."""


class SimCluster:
    """A world with everything a cluster has."""

    def __init__(
        self,
        nodes: Sequence[NodeOptions],
        models: Iterable[SimModel],
        *,
        gateways: Sequence[NodeId] = (),
        network: NetworkOptions | None = None,
        options: ClusterOptions = ClusterOptions(),  # noqa: B008
        planner: Planner | None = None,
        trace: Trace | None = None,
    ) -> None:
        """``gateways``: the node each of them runs on; none: one on the first node."""
        self.options = options
        self.models = {model.name: model for model in models}
        self.nodes = {node.node: node for node in nodes}
        self.world = World(network or NetworkOptions(), options.world)
        self.fabric = SimFabric(self.world.clock, self.world.network)
        self._agents: dict[NodeId, SimNode] = {}
        self.coordinators: list[SimCoordinator] = []
        self.gateways: dict[GatewayId, SimGateway] = {}
        self._planner = planner or quick_planner(self.models)
        self._trace = trace
        self._pids = count(1)
        self._probes = count(-1, -1)
        self._stand_ins: dict[str, SimWorker] = {}
        self._slow: dict[NodeId, float] = {}
        self._caches: dict[NodeId, set[str]] = {node.node: set() for node in nodes}
        self.mischief = Mischief(self)
        self._begin(gateways or [next(iter(self.nodes))])

    def _begin(self, gateways: Sequence[NodeId]) -> None:
        world = self.world
        world.host(DESK, 8)
        world.where[DESK] = DESK
        for node in self.nodes.values():
            name = node.host or node.node
            world.where[node.node] = name
            if name not in world.hosts:
                world.host(name, node.cores)
        for _ in range(self.options.coordinators):
            self.start_coordinator()
        for node_id in self.nodes:
            self.start_node(node_id)
        for number, node_id in enumerate(gateways):
            self._start_gateway(GatewayId(f"gateway-{number + 1}"), node_id)

    @property
    def agents(self) -> Mapping[NodeId, SimNode]:
        """The newest agent of each node, dead or alive."""
        return self._agents

    # Processes

    def start_coordinator(self) -> None:
        """One more, standing by until the lease is free."""
        process = self.world.process(DESK, f"coordinator-{next(self._pids)}")
        self.coordinators.append(
            SimCoordinator(
                process,
                self.fabric,
                self.world.network,
                self._planner,
                planning=self.options.planning,
                options=self.options.steering,
                watch=self.world.watch,
                trace=self._trace,
            )
        )

    def start_node(self, node: NodeId) -> None:
        """A node's agent, for the first time or again."""
        told = self.nodes[node]
        process = self._process(node, f"{node}.{next(self._pids)}")
        hardware = Hardware(machine="simulated", cores=told.cores, memory=told.memory, speed=told.speed)
        announcement = Announcement(
            node=node,
            incarnation=process.name,
            host=process.host.name,
            hardware=hardware,
            address=f"tcp:{node}:0",
            version="simulated",
        )
        self._agents[node] = SimNode(
            process,
            announcement,
            self.fabric,
            self._spawn,
            self,
            self._caches[node],
            watch=self.world.watch,
            trace=self._trace,
        )

    def _start_gateway(self, gateway: GatewayId, node: NodeId) -> None:
        process = self.world.process(node, gateway)
        self.gateways[gateway] = SimGateway(
            gateway,
            process,
            self.fabric,
            self.world.links,
            stand_in=self._stand_in,
            watch=self.world.watch,
            told=self.world.hear,
            probes=self._probes,
            trace=self._trace,
        )

    def _process(self, node: NodeId, name: str) -> Process:
        process = self.world.process(node, name)
        process.slowdown = self._slow.get(node, 1.0)
        return process

    def _spawn(self, spec: WorkerSpec, parent: Process) -> SimWorker:
        process = self._process(parent.node, f"{spec.worker}.{next(self._pids)}")
        axes = {tensor.name: 0 for tensor in spec.inputs} if spec.batching.limit > 1 else {}
        options = StageOptions(batching=spec.batching, batch_axes=axes, credits=spec.credits, in_turn=LEAST)
        return self._worker(process, spec.stage, spec.blob, spec.outputs, spec.token, options)

    def _worker(
        self, process: Process, stage: StageId, blob: str, outputs: Sequence[Tensor], token: str, options: StageOptions
    ) -> SimWorker:
        model = self.models[blob.split("/", 1)[0]]
        seconds = model.seconds(blob) / self.nodes[process.node].speed
        specs = tuple(TensorSpec(t.name, t.dtype, t.shape, t.nbytes) for t in outputs)
        frame = self.options.frame
        work = Work(seconds=seconds, outputs=specs, sending=frame, receiving=frame)
        machine = StageWorker(stage, options)
        worker = SimWorker(process, machine, work, self.world.links, token, trace=self._trace)
        self.world.watch(process, worker.stepper)
        return worker

    def _stand_in(self, gateway: SimGateway, model: str, command: StandIn) -> None:
        """Bring up, or take down, the gateway's own worker of the whole model."""
        running = self._stand_ins.pop(command.address, None)
        if running is not None:
            running.process.die()
        if not command.on:
            return
        table = gateway.models[model].table
        assert table is not None and table.whole is not None
        part = table.whole.part
        process = self._process(gateway.process.node, f"{gateway.gateway}/{model}/whole.{next(self._pids)}")
        worker = self._worker(process, part.stage, part.blob, part.outputs, gateway.gateway, StageOptions())
        self._stand_ins[command.address] = worker
        gateway.process.on_death.append(process.die)
        loading = self.options.spawning + part.nbytes / self.options.load_rate
        self.world.links.expect(command.address)
        process.computing.add(loading, lambda _: worker.listen(command.address), None)

    # Costs

    def fetching(self, blob: str) -> Seconds:
        """See `cutwater.drivers.sim.nodes.Costs`."""
        model = self.models[blob.split("/", 1)[0]]
        _, begin, end = blob.rsplit("/", 2)
        return 0.01 + model.memory * (int(end) - int(begin)) / self.options.fetch_rate

    def loading(self, spec: WorkerSpec) -> Seconds:
        """See `cutwater.drivers.sim.nodes.Costs`."""
        return self.options.spawning + spec.nbytes / self.options.load_rate

    # What people do

    @property
    def leader(self) -> SimCoordinator | None:
        """The coordinator that leads; of two that believe so, the newer one."""
        leading = [each for each in self.coordinators if each.leading]
        return max(leading, key=lambda each: each.term, default=None)

    def ask(self, seconds: Seconds, event: CoordinatorEvent) -> None:
        """Tell whoever leads ``seconds`` from now what a person wants; where nobody does, again a little later."""

        def told(_: None) -> None:
            leader = self.leader
            if leader is not None and leader.process.running:
                leader.process.loop.add(0.0, leader.tell, event)
            else:
                self.world.clock.after(0.5, told)

        self.world.clock.after(seconds, told)

    def deploy(self, spec: DeploySpec) -> None:
        """Add the model, and ask for its deployment."""
        self.ask(0.0, ModelAdded(self.models[spec.model].record))
        self.ask(0.0, DeployAsked(spec))

    def live(self, model: str) -> bool:
        """Whether every gateway has an epoch of ``model`` in use, with a way through workers that live."""
        for gateway in self.gateways.values():
            frontage = gateway.models.get(model)
            if frontage is None or frontage.table is None or frontage.table.live is None:
                return False
            if not frontage.table.live.routes:
                return False
        return True

    def run_until(self, done: Callable[[], bool], limit: Seconds) -> bool:
        """Let time pass until ``done``, but no longer than ``limit`` seconds; whether it is."""
        end = self.world.clock.now + limit
        while not done() and self.world.clock.now < end:
            self.world.run(min(self.world.clock.now + 0.1, end))
        return done()

    def offer(self, arrivals: Iterable[Arrival], timeout: Seconds) -> None:
        """Have requests come at the gateways in turn, at times from now."""
        gateways = list(self.gateways.values())
        turns = count()

        def entrance(model: str) -> Entrance:
            return gateways[next(turns) % len(gateways)].entrance(model)

        self.world.offer(arrivals, entrance, timeout)

    def suffer(self, faults: Iterable[Fault]) -> None:
        """Have these befall the cluster; times from now."""
        for fault in faults:
            self.mischief.plan(fault)

    def slow_down(self, node: NodeId, factor: float) -> None:
        """Everything that node computes from now on takes ``factor`` times as long as it should."""
        self._slow[node] = factor
        agent = self._agents[node]
        for process in (agent.process, *(child.worker.process for child in agent.children.values())):
            process.slowdown = factor
