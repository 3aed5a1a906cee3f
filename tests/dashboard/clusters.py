"""Clusters as a coordinator would describe them."""

from typing import Any

from cutwater.engine.facts.deployments import DeploySpec, EpochPhase
from cutwater.engine.facts.gateways import GatewayBeat
from cutwater.engine.facts.nodes import Announcement, Hardware, MeasuredLink, NodeBeat, Phase, WorkerState
from cutwater.plan.plan import HopScore, Score
from cutwater.services.asking import (
    ClusterStatus,
    DeploymentStatus,
    EpochStatus,
    GatewayStatus,
    NodeStatus,
    WorkerStatus,
)
from cutwater.units import GatewayId, NodeId, WorkerId


def worker(
    stage: int, node: str, *, busy: float = 0.1, phase: Phase = Phase.READY, pid: int | None = None
) -> WorkerStatus:
    name = WorkerId(f"vit.1.0.{stage}.0")
    state = WorkerState(worker=name, phase=phase, busy=busy, seconds=0.004, served=7, pid=pid)
    ends = ("input", "after a", "output")
    return WorkerStatus(
        worker=name,
        chain=0,
        stage=stage,
        begin=ends[stage],
        end=ends[stage + 1],
        node=NodeId(node),
        spare=False,
        predicted=0.003,
        state=state,
    )


def node(
    name: str, *, age: float | None = 0.2, alive: bool = True, workers: tuple[WorkerStatus, ...] = ()
) -> NodeStatus:
    states = tuple(each.state for each in workers if each.node == name and each.state is not None)
    return NodeStatus(
        announcement=Announcement(
            node=NodeId(name),
            incarnation="1",
            host=f"host of {name}",
            hardware=Hardware(machine="test", cores=4, memory=2**30, speed=1.0),
            address="tcp:10.0.0.1:1",
            version="0",
        ),
        beat=NodeBeat(node=NodeId(name), incarnation="1", cpu=0.25, memory=2**20, workers=states),
        age=age,
        alive=alive,
        draining=False,
    )


def epoch(*workers: WorkerStatus, number: int = 1, phase: EpochPhase = EpochPhase.LIVE) -> EpochStatus:
    hop = HopScore(
        source=NodeId("a"),
        target=NodeId("b"),
        codec="raw",
        nbytes=100.0,
        back_bytes=1.0,
        latency=1e-3,
        back_latency=1e-3,
        occupied=1e-4,
    )
    score = Score(
        latency=0.01, throughput=50.0, bottleneck="link a -> b", stages=(), hops=(hop, hop, hop), memory={}, traffic={}
    )
    return EpochStatus(
        epoch=number, phase=phase, why="deployed", throughput=50.0, latency=0.01, workers=workers, scores=(score,)
    )


def deployment(*epochs: EpochStatus, **more: Any) -> DeploymentStatus:
    facts = {"parked": False, "removed": False, "rate": 5.0, "p50": 0.01, "p99": 0.02, "problem": "", **more}
    return DeploymentStatus(spec=DeploySpec(model="vit", window=9), epochs=epochs, **facts)


def cluster(*nodes: NodeStatus, deployments: tuple[DeploymentStatus, ...] = ()) -> ClusterStatus:
    gateway = GatewayBeat(
        gateway=GatewayId("gateway-1"), incarnation="1", node=NodeId("a"), host="host of a", clients="unix:/x"
    )
    return ClusterStatus(
        leader="coordinator-1",
        term=1,
        since="2026-01-01T00:00:00+00:00",
        nodes=nodes,
        gateways=(GatewayStatus(beat=gateway, age=0.1, alive=True),),
        models=(),
        deployments=deployments,
        links=(MeasuredLink(source=NodeId("a"), target=NodeId("b"), bandwidth=1e7, latency=1e-3, at=""),),
    )
