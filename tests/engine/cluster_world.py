"""A tiny cluster in one place: real Coordinators and Keepers, and nodes, gateways and a planner that are data."""

from collections.abc import Iterable

import msgspec

from cutwater.engine.control import (
    Assign,
    Beaten,
    CoordinatorCommand,
    CoordinatorEvent,
    DeployAsked,
    Direct,
    GatewayBeaten,
    Leading,
    MakePlan,
    Planned,
)
from cutwater.engine.coordinator.coordinator import Coordinator
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import Blueprint, Chain, DeploySpec, Door, Post, StagePart
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import LEASE, Announcement, Hardware, NodeBeat, Phase, WorkerState
from cutwater.engine.fault import Fault
from cutwater.plan.plan import CutRef, Plan, PlanStage, Score
from cutwater.units import GatewayId, NodeId, StageId, WorkerId

DOOR = Door(border=("x",), travelling=(), codec="raw")
GIB = 2**30


def announcement(node: str, incarnation: str = "1", host: str | None = None, memory: int = 8 * GIB) -> Announcement:
    hardware = Hardware(machine="test", cores=4, memory=memory, speed=1.0)
    host = node if host is None else host
    return Announcement(
        node=NodeId(node),
        incarnation=incarnation,
        host=host,
        hardware=hardware,
        address=f"tcp:{node}:7000",
        version="0",
    )


def model(name: str) -> ModelRecord:
    return ModelRecord(name=name, hash=f"h-{name}", blob=f"b-{name}", nbytes=1, profile="p", speed=1.0)


def chain(name: str, nodes: Iterable[str], stages: int, memory: int = GIB, spares: Iterable[str] = ()) -> Chain:
    """Stages on these nodes in turn, each with a spare on every one of ``spares``."""
    at = [NodeId(node) for node in nodes]
    cuts = [CutRef(f"{k:x}", f"cut {k}") for k in range(stages + 1)]
    where = [at[k % len(at)] for k in range(stages)]
    score = Score(latency=0.01, throughput=100.0, bottleneck="", stages=(), hops=(), memory={}, traffic={})
    plan = Plan(
        model=name,
        model_hash=f"h-{name}",
        objective="throughput",
        source=at[0],
        sink=at[0],
        stages=tuple(PlanStage(begin=cuts[k], end=cuts[k + 1], nodes=(where[k],)) for k in range(stages)),
        codecs=("raw",) * (stages + 1),
        score=score,
        bound=100.0,
        gap=0.0,
        solver="in turn",
    )
    parts = tuple(
        StagePart(stage=StageId(f"stage-{k + 1}"), blob=f"{name}-{k}", nbytes=1, inputs=(), outputs=(), batchable=False)
        for k in range(stages)
    )
    posts = [Post(stage=k, node=where[k], seconds=0.01, memory=memory) for k in range(stages)]
    for spare in spares:
        posts += [Post(stage=k, node=NodeId(spare), seconds=0.01, memory=memory, spare=True) for k in range(stages)]
    return Chain(plan=plan, parts=parts, posts=tuple(posts), entry=DOOR, exit=DOOR)


def blueprint(name: str, *nodes: str, stages: int | None = None, memory: int = GIB) -> Blueprint:
    made = chain(name, nodes, stages or len(nodes), memory)
    return Blueprint(model=name, chains=(made,), throughput=100.0, latency=0.01)


def plan_in_turn(asked: MakePlan, memory: int = GIB) -> Planned:
    """A planner: as many stages as wanted (default three), in turn on the fastest nodes that have room."""
    stages = asked.spec.stages or 3
    free = {view.announcement.node: view.free for view in asked.nodes}
    slow = {view.announcement.node: view.slowdown for view in asked.nodes}
    where: list[NodeId] = []
    for _ in range(stages):
        open_ = [node for node in free if free[node] >= memory]
        if not open_:
            fault = Fault("NoPlan", "no node has room", "planner")
            return Planned(model=asked.spec.model, ticket=asked.ticket, fault=fault, short=True)
        node = min(open_, key=lambda n: (slow[n], where.count(n), n))
        free[node] -= memory
        where.append(node)
    best = 100.0 / max(slow[node] for node in where)
    current = None
    if asked.live is not None:
        used = {post.node for chain in asked.live.chains for post in chain.posts}
        current = 100.0 / max(slow[node] for node in used) if used <= slow.keys() else None
    made = blueprint(asked.spec.model, *where, memory=memory)
    return Planned(model=asked.spec.model, ticket=asked.ticket, blueprint=made, best=best, current=current)


def spec(name: str, **wishes: object) -> DeploySpec:
    return DeploySpec(model=name, **wishes)  # type: ignore[arg-type]


class Story:
    """A Coordinator to tell events to; its books are checked after each. Nodes and a gateway beat when asked to."""

    def __init__(self, *nodes: Announcement, options: CoordinatorOptions = CoordinatorOptions()) -> None:  # noqa: B008
        self.machine = Coordinator(options)
        self.nodes = {node.node: node for node in nodes}
        self.running: dict[NodeId, dict[WorkerId, WorkerState]] = {node.node: {} for node in nodes}
        self.tallies: dict[str, ModelTally] = {}
        self.figures: dict[str, object] = {}
        """Of every tally, unless `uses` is told others."""

    def tell(self, event: CoordinatorEvent, at: float) -> list[CoordinatorCommand]:
        commands = self.machine.handle(event, at)
        self.machine.validate()
        wake = self.machine.wake_at()
        assert wake is None or wake > at
        return commands

    def beat(self, node: str, at: float, **changes: object) -> list[CoordinatorCommand]:
        name = NodeId(node)
        workers = tuple(self.running[name].values())
        incarnation = self.nodes[name].incarnation
        said = NodeBeat(node=name, incarnation=incarnation, cpu=0.0, memory=0, workers=workers)
        return self.tell(Beaten(msgspec.structs.replace(said, **changes)), at)

    def beats(self, at: float) -> list[CoordinatorCommand]:
        """Every node that is still told of beats, and so does the gateway."""
        commands = [command for node in self.running for command in self.beat(node, at)]
        return commands + self.gateway(at)

    def gateway(self, at: float, **changes: object) -> list[CoordinatorCommand]:
        models = tuple(self.tallies.values())
        said = GatewayBeat(
            gateway=GatewayId("g"), incarnation="1", node=NodeId("a"), host="a", clients="unix:/g", models=models
        )
        return self.tell(GatewayBeaten(msgspec.structs.replace(said, **changes)), at)

    def runs(self, node: str, *workers: str, phase: Phase = Phase.READY, **figures: object) -> None:
        """From its next beat on the node shows these workers so, besides what it shows already."""
        for worker in workers:
            addresses = (f"unix:/{worker}", f"tcp:{node}:{worker}") if phase is Phase.READY else ()
            state = WorkerState(worker=WorkerId(worker), phase=phase, addresses=addresses)
            self.running[NodeId(node)][WorkerId(worker)] = msgspec.structs.replace(state, **figures)

    def uses(self, name: str, table: RouteTable, **figures: object) -> None:
        """From its next beat on the gateway shows that it has this table, and has probed what it asks for."""
        probed = {table.candidate.epoch: ""} if table.candidate is not None else {}
        epoch = table.live.epoch if table.live is not None else 0
        tally = ModelTally(model=name, epoch=epoch, mark=table.mark, probed=probed, idle=1000.0)
        self.tallies[name] = msgspec.structs.replace(tally, **{**self.figures, **figures})

    def lead(self, *models: str, at: float = 7.0, **known: object) -> None:
        """Take the lead, hear everybody, and let the lease pass, until 10.0."""
        records = tuple(map(model, models))
        nodes = tuple(self.nodes.values())
        self.tell(Leading(term=1, secret="s", models=records, nodes=nodes, **known), at)  # type: ignore[arg-type]
        for later in (0.0, LEASE / 2, LEASE):
            self.beats(at + later)

    def go_live(self, made: Blueprint, at: float, wish: DeploySpec | None = None) -> None:
        """A first deployment, brought up without any trouble."""
        self.tell(DeployAsked(wish or spec(made.model)), at)
        self.bring_up(made, at)

    def bring_up(self, made: Blueprint, at: float, **scores: float) -> None:
        """Answer the plan that was asked for, and let it come up without any trouble."""
        deployment = self.machine.books.deployments[made.model]
        assert deployment.asked is not None
        ticket = deployment.asked.ticket
        self.obey(self.tell(Planned(model=made.model, ticket=ticket, blueprint=made, **scores), at))  # type: ignore[arg-type]
        for _ in range(8):
            self.obey(self.beats(at))

    def obey(self, commands: list[CoordinatorCommand]) -> None:
        """Nodes run what they are assigned, at once; the gateway probes and uses what it is told."""
        for command in commands:
            if isinstance(command, Assign):
                node = command.assignment.node
                wanted = [spec.worker for spec in command.assignment.workers]
                if node not in self.running:
                    continue
                for worker in set(self.running[node]).difference(wanted):
                    del self.running[node][worker]
                self.runs(node, *(worker for worker in wanted if worker not in self.running[node]))
            elif isinstance(command, Direct):
                self.uses(command.table.model, command.table)
