"""Overview: what runs on this machine, and what the cluster says of itself; also while no coordinator leads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from cutwater.engine.cluster import BEAT, LEASE, DeploymentRecord, EpochRecord, GatewayBeat, NodeBeat, WorkerState
from cutwater.errors import FabricError, FabricLost, NoReply
from cutwater.fabric.base import Fabric, Message
from cutwater.services.access import fabric_of
from cutwater.services.asking import (
    ClusterStatus,
    DeploymentStatus,
    EpochStatus,
    GatewayStatus,
    GetStatus,
    NodeStatus,
    WorkerStatus,
    ask_coordinator,
)
from cutwater.services.cluster import FABRIC
from cutwater.services.facts import GATEWAY_BEATS, LEASES, NODE_BEATS, STATE, decode, gateway_lease, node_key
from cutwater.services.home import Home
from cutwater.services.state import read_state
from cutwater.settings.settings import FabricSettings, Settings
from cutwater.units import Seconds, WorkerId

T = TypeVar("T", bound=msgspec.Struct)

PATIENCE: Seconds = 2.0
"""How long to wait for the coordinator's answer before the fabric is read instead."""


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A process that was started on this machine."""

    pid: int
    alive: bool
    since: str
    facts: dict[str, str]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to say."""

    home: str
    processes: dict[str, ProcessStatus]
    cluster: ClusterStatus | None
    """None: nobody could say anything."""
    trouble: str = ""
    """Why this is less than the coordinator would say; empty if it is not."""


@asynccontextmanager
async def reached(home: Home, settings: FabricSettings, name: str) -> AsyncIterator[Fabric]:
    """The fabric of the cluster in ``home``. Raises FabricLost, with what to do, where there is none."""
    async with fabric_of(located(home, settings), name) as fabric:
        yield fabric


def located(home: Home, settings: FabricSettings) -> FabricSettings:
    """The settings with the address of the server that runs in ``home``. Raises FabricLost where none does."""
    if settings.url:
        return settings
    record = home.alive().get(FABRIC)
    if record is None:
        raise FabricLost(f"no cluster runs in {home.folder}; start it with `cutwater up`")
    return msgspec.structs.replace(settings, url=record.facts["url"])


async def look(home: Home, settings: Settings) -> Overview:
    """Everything that can be found out now. Raises FabricLost only where no process of the home is left either."""
    try:
        async with reached(home, settings.fabric, "status") as fabric:
            return await look_through(home, fabric)
    except FabricError as error:
        if not home.records():
            raise
        return Overview(home=str(home.folder), processes=processes(home), cluster=None, trouble=str(error))


async def look_through(home: Home, fabric: Fabric) -> Overview:
    """Everything that can be found out through this fabric. Raises FabricLost."""
    trouble = ""
    try:
        cluster = await ask_coordinator(fabric, GetStatus(), ClusterStatus, PATIENCE)
    except NoReply:
        cluster = await read_cluster(fabric)
        trouble = (
            "no coordinator answers; this is what stands on the fabric, and what nodes and gateways say themselves"
        )
    return Overview(home=str(home.folder), processes=processes(home), cluster=cluster, trouble=trouble)


def processes(home: Home) -> dict[str, ProcessStatus]:
    """What was started in ``home``, dead or alive, by name."""
    return {
        name: ProcessStatus(pid=record.pid, alive=record.alive, since=record.since, facts=record.facts)
        for name, record in home.records().items()
    }


async def read_cluster(fabric: Fabric) -> ClusterStatus:
    """What the last coordinator has left, and what nodes and gateways say now. Raises FabricLost."""
    known = await read_state(await fabric.keys(STATE))
    leases = set(await (await fabric.keys(LEASES, LEASE)).entries())
    nodes = await _listen(fabric, NODE_BEATS, NodeBeat, sum(key.startswith("node.") for key in leases))
    gateways = await _listen(fabric, GATEWAY_BEATS, GatewayBeat, sum(key.startswith("gateway.") for key in leases))
    beats = {beat.node: beat for beat in nodes}
    workers = {state.worker: state for beat in nodes for state in beat.workers}
    return ClusterStatus(
        leader="",
        term=0,
        since="",
        nodes=tuple(
            NodeStatus(
                announcement=each,
                beat=beats.get(each.node),
                age=0.0 if each.node in beats else None,
                alive=node_key(each.node) in leases,
                draining=each.node in known.draining,
            )
            for each in known.nodes
        ),
        gateways=tuple(
            GatewayStatus(beat=beat, age=0.0, alive=gateway_lease(beat.gateway) in leases) for beat in gateways
        ),
        models=known.models,
        deployments=tuple(_deployment(record, workers, gateways) for record in known.deployments),
        links=known.links,
    )


async def _listen(fabric: Fabric, pattern: str, kind: type[T], expected: int) -> list[T]:
    """The newest beat of each, heard within two beats' time; less where ``expected`` have been heard before."""
    heard: dict[str, T] = {}
    all_heard = asyncio.Event()

    async def hear(message: Message) -> None:
        heard[message.subject] = decode(message.data, kind)
        if len(heard) >= expected:
            all_heard.set()

    if not expected:
        return []
    listening = await fabric.subscribe(pattern, hear)
    try:
        async with asyncio.timeout(2 * BEAT):
            await all_heard.wait()
    except TimeoutError:
        pass  # who did not speak is shown as silent
    finally:
        await listening.close()
    return [heard[subject] for subject in sorted(heard)]


def _deployment(
    record: DeploymentRecord, workers: dict[WorkerId, WorkerState], gateways: list[GatewayBeat]
) -> DeploymentStatus:
    tallies = [tally for beat in gateways for tally in beat.models if tally.model == record.spec.model]
    return DeploymentStatus(
        spec=record.spec,
        parked=record.parked,
        removed=False,
        epochs=tuple(_epoch(record.spec.model, epoch, workers) for epoch in record.epochs),
        rate=sum(tally.rate for tally in tallies),
        p50=max((tally.p50 for tally in tallies), default=0.0),
        p99=max((tally.p99 for tally in tallies), default=0.0),
        problem="",
    )


def _epoch(model: str, record: EpochRecord, workers: dict[WorkerId, WorkerState]) -> EpochStatus:
    blueprint = record.blueprint
    return EpochStatus(
        epoch=record.epoch,
        phase=record.phase,
        why=record.why,
        throughput=blueprint.throughput,
        latency=blueprint.latency,
        workers=tuple(_workers(model, record, workers)),
    )


def _workers(model: str, record: EpochRecord, states: dict[WorkerId, WorkerState]) -> Iterator[WorkerStatus]:
    for number, chain in enumerate(record.blueprint.chains):
        replicas = [0] * len(chain.parts)
        for placement in chain.placements:
            stage = chain.plan.stages[placement.stage]
            name = WorkerId(f"{model}.{record.epoch}.{number}.{placement.stage}.{replicas[placement.stage]}")
            replicas[placement.stage] += 1
            yield WorkerStatus(
                worker=name,
                chain=number,
                stage=placement.stage,
                begin=stage.begin.label,
                end=stage.end.label,
                node=placement.node,
                spare=placement.spare,
                predicted=placement.seconds,
                state=states.get(name),
            )
