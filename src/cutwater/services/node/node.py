"""The node agent, run with ``python -m``: offers this machine to a cluster and runs what it is assigned.

It only dials out. While the fabric is away it keeps what it runs; when it is back it announces itself again. Everything
it runs are children that end with it, however it ends.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from cutwater import __version__
from cutwater.drivers.live import Hands, Live, clock
from cutwater.engine.control import Assigned, End, Fetch, Report, Start
from cutwater.engine.facts.nodes import BEAT, LEASE, LULL, Announcement, Assignment, Hardware, MeasuredLink, NodeBeat
from cutwater.engine.keeper import Keeper, KeeperOptions
from cutwater.errors import BadFile, BadSetting, CutwaterError, FabricError, Refused
from cutwater.fabric.base import Entry, Fabric, KeyValue, Message
from cutwater.services.access import FABRIC_RETRY, fabric_of, tls_of
from cutwater.services.asking import LinksMeasured, MeasureLinks
from cutwater.services.cache import BlobCache
from cutwater.services.errands import Errands, until
from cutwater.services.facts import (
    COORDINATOR,
    LEASES,
    STATE,
    ask_node,
    assign_key,
    decode,
    encode,
    link_key,
    node_beat,
    node_key,
)
from cutwater.services.hardware import Meter, host_id, processor, temperature, usable_cores, usable_memory
from cutwater.services.home import Home
from cutwater.services.lease import Holder, Lease
from cutwater.services.node.crew import Crew
from cutwater.services.node.survey import Surveyor
from cutwater.services.revocations import follow_revocations
from cutwater.services.speed import machine_speed
from cutwater.services.standing import Say, stand
from cutwater.settings.settings import NodeSettings, Settings
from cutwater.units import NodeId, Seconds, check_name
from cutwater.zoo.packages import default_cache

HANDING_OVER: Seconds = 4.0
"""How long one who leaves waits for a coordinator to put its work elsewhere."""
ANYWHERE = ("0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_RARELY: Seconds = 5.0
"""Between two looks at the thermometer."""
_log = logging.getLogger("cutwater.services.node.node")


class NodeAgent:
    """One node of the cluster."""

    def __init__(self, settings: Settings, fabric: Fabric) -> None:
        """Nothing starts yet. Raises InputError for a name that is none, BadSetting for a node open to strangers."""
        assert settings.home is not None, "a process is told its home when it is started"
        node, home = settings.node, Home(settings.home)
        self.node = NodeId(node.name or socket.gethostname())
        check_name("node", self.node)
        tls = tls_of(settings.fabric)
        if node.listen and tls is None and node.listen not in LOOPBACK:
            raise BadSetting(
                f"node.listen: {node.listen} can be reached from other machines; set the certificates fabric.ca, "
                "fabric.certificate and fabric.key, or leave it empty"
            )
        if node.listen in ANYWHERE:
            raise BadSetting(f"node.listen: {node.listen} is no address that others can dial; name one of them")
        self.incarnation = secrets.token_hex(4)
        self._settings = node
        self._trusted = settings.fabric
        self._fabric = fabric
        self._sockets = home.sockets
        self._cache = BlobCache(node.cache or home.data(self.node), node.cache_limit, fabric.blobs)
        self._live: Live
        self._crew = Crew(
            self.node,
            self._cache,
            self._sockets,
            self._tell,
            listen=node.listen,
            tls=tls,
            threads=node.threads,
            places=max(1, cores_of(node) // node.threads),
            reserve=node.reserve,
        )
        self._surveyor = Surveyor(self.node, tls)
        self._keeper = Keeper(self.node, KeeperOptions(grace=node.grace))
        self._meter = Meter()
        self._cpu = 0.0
        self._measured_at = 0.0
        self._warmth: tuple[Seconds, float | None] = (float("-inf"), None)
        self._beat_now = asyncio.Event()
        self._empty = asyncio.Event()
        self._leaving = False
        self._lease_lost = asyncio.Event()
        self._announcement: Announcement
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._errands = Errands(f"node {self.node}", self._break)

    async def run(self, say: Say, stop: asyncio.Event) -> None:
        """Serve until ``stop``, then hand over what runs here and end it.

        Raises:
            Refused: a node of this name lives already, or took the name during an outage.
            FabricLost: the fabric is not there at the start.
        """
        leases = await self._fabric.keys(LEASES, LEASE)
        state = await self._fabric.keys(STATE)
        holder = Holder.here(self.node, self.incarnation)
        lease = Lease(leases, node_key(self.node), holder, self._lose)
        async with AsyncExitStack() as stack:
            await lease.take_or_refuse()
            stack.push_async_callback(_quietly, lease.give_up)
            hands: Hands = {Fetch: self._crew.fetch, Start: self._crew.start, End: self._crew.end, Report: self._report}
            self._live = Live(self._keeper, hands, self.node, on_broken=self._break)
            stack.callback(self._live.close)
            stack.push_async_callback(self._crew.close)
            stack.callback(self._surveyor.close)
            self._announcement = await self._describe()
            await state.put(node_key(self.node), encode(self._announcement))
            stack.push_async_callback((await self._fabric.serve(ask_node(self.node), self._answer(state))).close)
            stack.callback(self._errands.cancel)
            self._fabric.on_change(lambda connected: self._changed(connected, state))
            self._errands.begin(self._keep_lease(lease))
            self._errands.begin(self._beat())
            self._errands.begin(follow_revocations(state, self._trusted))
            assignments = self._errands.begin(self._obey(state))
            say({"name": self.node})
            _log.info("%s is here: %s", self.node, _words(self._announcement.hardware))
            await until(stop, self._over)
            assignments.cancel()
            await self._leave(leases)

    async def _describe(self) -> Announcement:
        if self._settings.listen:
            address = await self._surveyor.listen(f"tcp:{self._settings.listen}:0")
        else:
            address = await self._surveyor.listen(f"unix:{self._sockets / self._crew.mark}.links")
        return Announcement(
            node=self.node,
            incarnation=self.incarnation,
            host=self._settings.host or host_id(),
            hardware=await asyncio.to_thread(hardware_of, self._settings),
            address=address,
            version=__version__,
        )

    # Obeying

    def _tell(self, event: Any) -> None:
        self._live.tell(event)

    async def _obey(self, state: KeyValue) -> None:
        while True:
            try:
                async with state.watch(assign_key(self.node)) as entries:
                    async for entry in entries:
                        self._assigned(entry)
            except FabricError as error:
                _log.warning("cannot see what is assigned: %s", error)
                await asyncio.sleep(FABRIC_RETRY)

    def _assigned(self, entry: Entry) -> None:
        if entry.value is None:
            return
        try:
            self._live.tell(Assigned(decode(entry.value, Assignment)))
        except BadFile as error:
            _log.error("an assignment that cannot be read is ignored: %s", error)

    def _report(self, command: Report) -> None:
        self._beat_now.set()

    # Being there

    async def _beat(self) -> None:
        before: NodeBeat | None = None
        while True:
            self._beat_now.clear()
            beat = self._measure()
            pause = until_next_lull(time.time()) if before is not None and _alike(before, beat) else BEAT
            before = beat
            if not beat.workers:
                self._empty.set()
            else:
                self._empty.clear()
            with contextlib.suppress(FabricError):  # the next one says it all again
                await self._fabric.publish(node_beat(self.node), encode(beat))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._beat_now.wait()

    def _measure(self) -> NodeBeat:
        now = clock()
        if now - self._measured_at > BEAT / 2:
            self._cpu, self._measured_at = self._meter.read(), now
        if now - self._warmth[0] > _RARELY:
            self._warmth = (now, temperature())
        workers = tuple(map(self._crew.figures, self._keeper.snapshot().workers))
        return NodeBeat(
            node=self.node,
            incarnation=self.incarnation,
            cpu=self._cpu,
            memory=sum(worker.memory for worker in workers),
            temperature=self._warmth[1],
            workers=workers,
            leaving=self._leaving,
            refused=dict(self._crew.refused),
        )

    def _changed(self, connected: bool, state: KeyValue) -> None:
        if not connected:
            _log.warning("the fabric is away; what runs here goes on")
        elif not self._leaving:
            self._errands.begin(self._again(state))

    async def _again(self, state: KeyValue) -> None:
        """The fabric is back; it may have forgotten this node."""
        _log.info("the fabric is back")
        while self._fabric.connected and not self._leaving:
            try:
                await state.put(node_key(self.node), encode(self._announcement))
                break
            except FabricError as error:  # its store may need a moment longer than the server itself
                _log.warning("cannot announce this node: %s", error)
                await asyncio.sleep(FABRIC_RETRY)
        self._beat_now.set()

    def _lose(self, why: str) -> None:
        _log.warning("%s; what runs here goes on", why)
        self._lease_lost.set()

    async def _keep_lease(self, lease: Lease) -> None:
        while True:
            await self._lease_lost.wait()
            self._lease_lost.clear()
            while not lease.held:
                try:
                    await lease.take_or_refuse()
                except Refused as error:
                    self._over.set_exception(error)
                    return
                except FabricError:
                    await asyncio.sleep(FABRIC_RETRY)

    # Being asked

    def _answer(self, state: KeyValue) -> Any:
        async def answer(message: Message) -> bytes:
            request = decode(message.data, MeasureLinks)
            return encode(await self._measure_links(state, request.peers))

        return answer

    async def _measure_links(self, state: KeyValue, peers: tuple[tuple[NodeId, str], ...]) -> LinksMeasured:
        """One after the other, so that they do not disturb each other; each is written as soon as it is known."""
        links: list[MeasuredLink] = []
        failed: dict[NodeId, str] = {}
        for peer, address in peers:
            try:
                link = await self._surveyor.measure(peer, address)
            except CutwaterError as error:
                failed[peer] = str(error)
                continue
            await state.put(link_key(self.node, peer), encode(link))
            links.append(link)
        return LinksMeasured(tuple(links), failed)

    # Leaving

    async def _leave(self, leases: KeyValue) -> None:
        """Let others take over what runs here, as long as there is somebody to see to that; then end it."""
        self._leaving = True
        self._beat_now.set()
        no_longer = clock() + HANDING_OVER
        while not self._empty.is_set() and clock() < no_longer and await self._is_led(leases):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._empty.wait()
        _log.info("%s leaves", self.node)
        nothing = Assignment(node=self.node, term=self._keeper.snapshot().term)
        self._live.tell(Assigned(nothing))
        self._beat_now.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.grace):
                await self._empty.wait()

    async def _is_led(self, leases: KeyValue) -> bool:
        try:
            return await leases.get(COORDINATOR) is not None
        except FabricError:
            return False

    def _break(self, error: BaseException) -> None:
        if not self._over.done():
            self._over.set_exception(error)


def until_next_lull(now: Seconds) -> Seconds:
    """How long an idle node waits with its next beat: until the next multiple of `LULL` by the clock on the wall.

    So the idle nodes of a cluster beat together, and the coordinator wakes up for all of them at once: for fifty nodes
    that takes a quarter of the processor time of beats that come one by one.
    """
    pause = LULL - now % LULL
    return pause if pause >= LULL / 4 else pause + LULL


def _alike(before: NodeBeat, beat: NodeBeat) -> bool:
    """Whether nothing has changed but what always does."""
    return msgspec.structs.replace(before, cpu=beat.cpu, memory=beat.memory, temperature=beat.temperature) == beat


async def _quietly(work: Any) -> None:
    with contextlib.suppress(FabricError):
        await work()


def hardware_of(settings: NodeSettings) -> Hardware:
    """What this machine is, as far as settings do not say it. Takes a quarter of a second the first time."""
    name = processor()
    return Hardware(
        machine=name,
        cores=cores_of(settings),
        memory=settings.memory or usable_memory() * 4 // 5,
        speed=settings.speed or machine_speed(default_cache()) * min(usable_cores(), 1.0),
    )


def cores_of(settings: NodeSettings) -> int:
    """How many cores the node's workers may use."""
    return settings.cores or max(int(usable_cores()), 1)


def _words(hardware: Hardware) -> str:
    return f"{hardware.machine}, {hardware.cores} cores, {hardware.memory >> 20} MiB, speed {hardware.speed:.2f}"


async def serve(settings: Settings, say: Say, stop: asyncio.Event) -> None:
    """See `cutwater.services.standing.Serve`."""
    name = settings.node.name or socket.gethostname()
    async with fabric_of(settings.fabric, f"node {name}") as fabric:
        await NodeAgent(settings, fabric).run(say, stop)


if __name__ == "__main__":
    sys.exit(stand(serve))
