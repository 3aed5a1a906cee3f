"""The gateway process, run with ``python -m``: clients on one side, the workers' links on the other.

It obeys the route tables it finds on the fabric, and beats; while the fabric is away it goes on as it was told last.
"""

import asyncio
import logging
import secrets
import socket
import sys
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from cutwater.drivers.live import clock
from cutwater.drivers.sockets import split_address
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.nodes import BEAT, LEASE
from cutwater.errors import BadSetting, FabricError
from cutwater.fabric.base import Fabric, KeyValue
from cutwater.services.access import FABRIC_RETRY, fabric_of, tls_of
from cutwater.services.cache import BlobCache
from cutwater.services.errands import Errands, until
from cutwater.services.facts import LEASES, STATE, encode, gateway_beat, gateway_lease, readable, routes_key
from cutwater.services.gateway.hosted import GatewayMeans, HostedModel
from cutwater.services.gateway.reception import Reception, ReceptionOptions
from cutwater.services.hardware import host_id
from cutwater.services.home import Home
from cutwater.services.lease import Holder, Lease
from cutwater.services.revocations import follow_revocations
from cutwater.services.standing import Say, stand
from cutwater.services.tracing import TraceFolder
from cutwater.settings.settings import Settings
from cutwater.units import GatewayId, NodeId, Seconds
from cutwater.wire.message import Address

if TYPE_CHECKING:
    from cutwater.services.gateway.front import Front

REST: Seconds = 0.05
"""Least time between two beats; under load something changes with every request."""
FAREWELL: Seconds = 10.0
"""How long beats still tell of a model that was undeployed, so that the coordinator hears that its workers are free."""
CACHE_LIMIT = 8 * 2**30
"""Bytes of whole models a gateway keeps on disk, for when it has to answer by itself."""
MISSED = 16
"""Most models in a beat that clients want and nobody has told this gateway of."""

_log = logging.getLogger(__name__)


class GatewayProcess:
    """All models, all clients, and what the fabric hears of them."""

    def __init__(self, settings: Settings, fabric: Fabric) -> None:
        assert settings.home is not None, "a process is told its home when it is started"
        gateway, home = settings.gateway, Home(settings.home)
        self._home = home
        self._front: Front | None = None
        self.gateway = GatewayId(gateway.name or socket.gethostname())
        self.incarnation = secrets.token_hex(4)
        self.hosts: dict[str, HostedModel] = {}
        self.reception = Reception(
            self.hosts, ReceptionOptions(name=self.gateway, max_frame=gateway.max_request, token=gateway.token)
        )
        self.clients: tuple[Address, ...] = ()
        self._settings, self._fabric = settings, fabric
        self._tls = tls_of(settings.fabric)
        self._changed = asyncio.Event()
        """There may be something to beat of."""
        self._traces = TraceFolder(gateway.trace, self.gateway)
        self._node = NodeId(gateway.node or socket.gethostname())
        self._means = GatewayMeans(
            name=self.gateway,
            node=self._node,
            # Ids of another start, or of another gateway that has the same workers, are others.
            ids=count((int(self.incarnation, 16) >> 1 << 32) + 1),
            cache=BlobCache(home.data(self.gateway), CACHE_LIMIT, fabric.blobs),
            sockets=home.sockets,
            max_frame=gateway.max_request,
            memory=gateway.memory,
            patience=gateway.patience,
            linger=gateway.linger,
            tls=self._tls,
            trace=self._traces.open,
            on_change=self._changed.set,
        )
        self._sockets = home.sockets
        self._host = host_id()
        self._leaving: dict[str, HostedModel] = {}
        """Models that were undeployed, until nobody need hear of them any more."""
        self._term = 0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when something failed without which a gateway would not hear of new ways, or not be heard of."""
        self._errands = Errands("the gateway", self._break)
        self._farewells = Errands("the gateway")
        self._lost = asyncio.Event()
        """The lease is lost."""

    async def serve(self, say: Say, stop: asyncio.Event) -> None:
        """Serve until ``stop``, then finish what is open.

        Raises:
            CutwaterError: It cannot begin.
            Exception: What it could not go on without failed, and how.
        """
        state = await self._fabric.keys(STATE)
        leases = await self._fabric.keys(LEASES, ttl=LEASE)
        holder = Holder.here(self.gateway, self.incarnation)
        lease = Lease(leases, gateway_lease(self.gateway), holder, self._on_lost)
        await lease.take_or_refuse()
        try:
            await self._open_doors()
            for table in await self._tables(state):
                self._see(table)
            front = await self._open_front()
            trust = follow_revocations(state, self._settings.fabric)
            for work in (self._watch(state), self._beat(), self._keep(lease), trust):
                self._errands.begin(work)
            say({"clients": self.clients[-1], "socket": self.clients[0], **front})
            try:
                await until(stop, self._over)
            finally:
                await self._drain()
        finally:
            await self._end(lease)

    # Clients

    async def _open_doors(self) -> None:
        """A Unix socket in the home, and TCP where it is wanted. Raises InputError."""
        socket_ = f"unix:{self._sockets / self.gateway}"
        self.clients = (await self.reception.open(socket_),)
        wanted = self._settings.gateway.clients
        if wanted and wanted != socket_:
            address = wanted if wanted.startswith(("unix:", "tcp:")) else f"tcp:{wanted}"
            _check_open(address, self._tls, self._settings.gateway.token)
            self.clients += (await self.reception.open(address, self._tls),)

    async def _open_front(self) -> dict[str, str]:
        """Take clients in by HTTP and gRPC, where that is wanted; returns where."""
        gateway = self._settings.gateway
        if not (gateway.http or gateway.grpc):
            return {}
        # Others need not wait for all that this imports.
        from cutwater.services.gateway.front import Front, FrontMeans

        means = FrontMeans(
            name=self.gateway,
            settings=self._settings,
            home=self._home,
            fabric=self._fabric,
            cache=self._means.cache,
            hosts=self.hosts,
            beat=self.beat,
            observers=self._means.observers,
        )
        self._front = Front(means)
        return await self._front.open()

    # Tables

    async def _tables(self, state: KeyValue) -> list[RouteTable]:
        entries = await state.entries(routes_key(self.gateway, "*"))
        return [table for entry in entries.values() if (table := readable(entry, RouteTable)) is not None]

    async def _watch(self, state: KeyValue) -> None:
        prefix = routes_key(self.gateway, "")
        while True:
            try:
                async with state.watch(routes_key(self.gateway, "*")) as entries:
                    async for entry in entries:
                        if entry.value is None:
                            self._remove(entry.key.removeprefix(prefix))
                        elif (table := readable(entry, RouteTable)) is not None:
                            self._see(table)
            except FabricError as error:
                _log.warning("cannot watch the route tables: %s", error)
            await asyncio.sleep(FABRIC_RETRY)

    def _see(self, table: RouteTable) -> None:
        if table.term < self._term:
            _log.info("ignoring a table of %s from a coordinator that leads no more", table.model)
            return
        self._term = table.term
        self._changed.set()
        host = self.hosts.get(table.model)
        if host is not None:
            host.apply(table)
        elif not table.removed:
            self.hosts[table.model] = host = HostedModel(table, self._means)
        if table.removed and host is not None:
            self._remove(table.model)

    def _remove(self, model: str) -> None:
        """Take nobody in for it any more, and let go of it when its last request has ended."""
        host = self.hosts.pop(model, None)
        if host is not None:
            _log.info("%s is deployed no more", model)
            self._leaving[model] = host
            self._changed.set()
            self._farewells.begin(self._let_go(model, host))

    async def _let_go(self, model: str, host: HostedModel) -> None:
        try:
            await host.drain()
        finally:
            await host.close()
        await asyncio.sleep(FAREWELL)
        if self._leaving.get(model) is host:
            del self._leaving[model]

    # Beats

    async def _beat(self) -> None:
        said: object = None
        beat_at = clock()
        while True:
            self._changed.clear()
            notable = self._notable()
            if notable != said or clock() >= beat_at:
                said, beat_at = notable, clock() + BEAT
                with suppress(FabricError):  # the next one says the same and more
                    await self._fabric.publish(gateway_beat(self.gateway), encode(self.beat()))
                self._traces.flush()
            await asyncio.sleep(REST)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(beat_at - clock(), 0.0)):
                    await self._changed.wait()

    def _notable(self) -> object:
        """What is worth a beat when it changes."""
        return [(name, host.notable()) for name, host in self._told_of().items()]

    def _told_of(self) -> dict[str, HostedModel]:
        return {**self._leaving, **self.hosts}

    def beat(self) -> GatewayBeat:
        """How it stands."""
        told, missed = self._told_of(), self.reception.missed
        tallies = []
        for name, host in told.items():
            tally = host.tally()
            tallies.append(msgspec.structs.replace(tally, refused=tally.refused + missed.get(name, 0)))
        others = sorted((name for name in missed if name not in told), key=lambda name: -missed[name])
        tallies += [ModelTally(model=name, refused=missed[name]) for name in others[:MISSED]]
        return GatewayBeat(
            gateway=self.gateway,
            incarnation=self.incarnation,
            node=self._node,
            host=self._host,
            clients=self.clients[-1] if self.clients else "",
            models=tuple(tallies),
            turned_away=self.reception.refusals.counts,
            suspects=tuple(sorted({each for host in self.hosts.values() for each in host.suspects})),
        )

    # The lease, and the end

    def _break(self, error: BaseException) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    def _on_lost(self, why: str) -> None:
        _log.warning("%s; serving on", why)
        self._lost.set()

    async def _keep(self, lease: Lease) -> None:
        """Take the lease again whenever it is lost: the fabric was away, which is no reason to stop."""
        while True:
            await self._lost.wait()
            try:
                await lease.take()
                self._lost.clear()
            except FabricError:
                await asyncio.sleep(FABRIC_RETRY)

    async def _drain(self) -> None:
        self.reception.draining = True
        limit = self._settings.cluster.stop_limit * 0.8
        try:
            async with asyncio.timeout(limit):
                if self._front is not None:
                    await self._front.close(limit * 0.8)  # the rest is for those who come by native link
                await asyncio.gather(*(host.drain() for host in self.hosts.values()))
                await self.reception.finished()
        except TimeoutError:
            _log.warning("some requests did not end within %g s", limit)

    async def _end(self, lease: Lease) -> None:
        self.reception.close()
        if self._front is not None:
            await self._front.close(0.0)
        await self._errands.end()
        await self._farewells.end()
        await asyncio.gather(*(host.close() for host in self.hosts.values()), return_exceptions=True)
        self._traces.flush()
        with suppress(FabricError):  # then it runs out
            await lease.give_up()


def _check_open(address: Address, tls: TlsFiles | None, token: str) -> None:
    """Raise BadSetting if strangers from other machines could come in."""
    kind, host, _ = split_address(address)
    if kind == "tcp" and host not in ("127.0.0.1", "::1", "localhost") and tls is None and not token:
        raise BadSetting(
            f"gateway.clients: {address} can be reached from other machines; set gateway.token, or the certificates "
            "fabric.ca, fabric.certificate and fabric.key"
        )


async def serve(settings: Settings, say: Say, stop: asyncio.Event) -> None:
    """See `cutwater.services.standing.Serve`."""
    async with fabric_of(settings.fabric, settings.gateway.name or "gateway") as fabric:
        await GatewayProcess(settings, fabric).serve(say, stop)


if __name__ == "__main__":
    sys.exit(stand(serve))
