"""Overview: what runs on this machine, and what the cluster says of itself; also while no coordinator leads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from cutwater.drivers.live import clock
from cutwater.engine.facts.gateways import GatewayBeat
from cutwater.engine.facts.nodes import BEAT, LEASE, LULL, NodeBeat
from cutwater.errors import FabricError, FabricLost, NoReply
from cutwater.fabric.base import Fabric, Message
from cutwater.services.access import fabric_of
from cutwater.services.asking import ClusterStatus, GetStatus, ask_coordinator
from cutwater.services.cluster.cluster import FABRIC
from cutwater.services.cluster.membership import OPERATOR, Membership
from cutwater.services.cluster.refused import refused_by_fabric, refused_by_members
from cutwater.services.coordinator.state import read_state
from cutwater.services.coordinator.status import Sightings
from cutwater.services.facts import GATEWAY_BEATS, LEASES, NODE_BEATS, STATE, decode, gateway_lease, node_key
from cutwater.services.home import Home
from cutwater.settings.settings import FabricSettings, Settings
from cutwater.units import Seconds

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
    refused: dict[str, dict[str, int]] = {}
    """Who -> reason -> how often somebody was refused, since each of them started."""


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
    if record is None and home.alive():
        raise FabricLost("the fabric does not run; `cutwater up` starts it again, and everything else goes on")
    if record is None:
        raise FabricLost(f"no cluster runs in {home.folder}; start it with `cutwater up`")
    settings = msgspec.structs.replace(settings, url=record.facts["url"])
    return Membership(home.folder).access(settings, OPERATOR)


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
        trouble = "no coordinator answers; this is what the last one left, and what nodes and gateways say themselves"
    refused = refused_by_members(
        (node.beat for node in cluster.nodes if node.beat is not None), (gateway.beat for gateway in cluster.gateways)
    )
    if at_the_door := refused_by_fabric(home.log(FABRIC)):
        refused = {FABRIC: at_the_door, **refused}
    return Overview(home=str(home.folder), processes=processes(home), cluster=cluster, trouble=trouble, refused=refused)


def processes(home: Home) -> dict[str, ProcessStatus]:
    """What was started in ``home``, dead or alive, by name."""
    return {
        name: ProcessStatus(pid=record.pid, alive=record.alive, since=record.since, facts=record.facts)
        for name, record in home.records().items()
    }


async def read_cluster(fabric: Fabric) -> ClusterStatus:
    """What the last coordinator has left, and what nodes and gateways say now. Raises FabricLost."""
    known = await read_state(await fabric.keys(STATE))
    leases = await (await fabric.keys(LEASES, LEASE)).entries()
    heard = Sightings()
    expected = {key for key in leases if key.startswith(("node.", "gateway."))}
    await _listen(fabric, heard, expected)
    now = clock()
    return ClusterStatus(
        leader="",
        term=0,
        since="",
        nodes=heard.nodes(known.nodes, known.draining, now),
        gateways=heard.gateways(now),
        models=known.models,
        deployments=heard.deployments(known.deployments, {}, now),
        links=known.links,
    )


async def _listen(fabric: Fabric, heard: Sightings, expected: set[str]) -> None:
    """Hear each of those expected once; who does not speak within two beats' time is left out."""
    missing = set(expected)
    complete = asyncio.Event()

    def came(lease: str) -> None:
        missing.discard(lease)
        if not missing:
            complete.set()

    async def hear_node(message: Message) -> None:
        beat = decode(message.data, NodeBeat)
        heard.node(beat, clock())
        came(node_key(beat.node))

    async def hear_gateway(message: Message) -> None:
        beat = decode(message.data, GatewayBeat)
        heard.gateway(beat, clock())
        came(gateway_lease(beat.gateway))

    if not expected:
        return
    listening = [await fabric.subscribe(NODE_BEATS, hear_node), await fabric.subscribe(GATEWAY_BEATS, hear_gateway)]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LULL + BEAT):
                await complete.wait()
    finally:
        for each in listening:
            await each.close()
