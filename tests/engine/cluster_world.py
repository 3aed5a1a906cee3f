"""A tiny cluster in one place: real Coordinators and Keepers, and nodes, gateways and a planner that are data."""

from collections.abc import Iterable

from cutwater.engine.cluster import (
    Announcement,
    Blueprint,
    Chain,
    DeploySpec,
    Door,
    Hardware,
    ModelRecord,
    Placement,
    StagePart,
)
from cutwater.engine.control import MakePlan, Planned
from cutwater.engine.fault import Fault
from cutwater.plan.plan import CutRef, Plan, PlanStage, Score
from cutwater.units import NodeId, StageId

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
    placements = [Placement(stage=k, node=where[k], seconds=0.01, memory=memory) for k in range(stages)]
    for spare in spares:
        placements += [
            Placement(stage=k, node=NodeId(spare), seconds=0.01, memory=memory, spare=True) for k in range(stages)
        ]
    return Chain(plan=plan, parts=parts, placements=tuple(placements), entry=DOOR, exit=DOOR)


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
        used = {placement.node for chain in asked.live.chains for placement in chain.placements}
        current = 100.0 / max(slow[node] for node in used) if used <= slow.keys() else None
    made = blueprint(asked.spec.model, *where, memory=memory)
    return Planned(model=asked.spec.model, ticket=asked.ticket, blueprint=made, best=best, current=current)


def spec(name: str, **wishes: object) -> DeploySpec:
    return DeploySpec(model=name, **wishes)  # type: ignore[arg-type]
