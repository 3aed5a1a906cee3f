"""Front: everything of a gateway that speaks HTTP and gRPC, and everything that watches its requests.

It is imported only by a gateway that opens one of these doors; nothing on the native way depends on it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from cutwater.api.finished import Observer
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.server import GrpcServer
from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.http.tasks import task_routes
from cutwater.api.porch import Porch
from cutwater.api.where import Where, parse_where
from cutwater.engine.facts.gateways import GatewayBeat
from cutwater.errors import BadSetting
from cutwater.fabric.base import Fabric
from cutwater.observe.instruments import Instruments
from cutwater.services.cache import BlobCache
from cutwater.services.dashboard.dashboard import Dashboard
from cutwater.services.dashboard.drills import Drills
from cutwater.services.dashboard.ledger import Ledger
from cutwater.services.errands import Errands
from cutwater.services.front.backend import GatewayBackend
from cutwater.services.front.collect import ClusterCollector
from cutwater.services.front.host import Host
from cutwater.services.front.notes import follow_notes
from cutwater.services.front.picture import Picture
from cutwater.services.home import Home
from cutwater.settings.settings import Settings
from cutwater.units import GatewayId, Seconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrontMeans:
    """What a front has from its gateway."""

    name: GatewayId
    settings: Settings
    home: Home
    fabric: Fabric
    cache: BlobCache
    hosts: Mapping[str, Host]
    """Looked into at each request."""
    beat: Callable[[], GatewayBeat]
    """How the gateway stands."""
    observers: list[Observer]
    """To whom whoever wants to hear of requests is added."""


class Front:
    """Opened once the gateway knows its models, closed when it has answered what is open."""

    def __init__(self, means: FrontMeans) -> None:
        """Nothing is open yet. Raises BadSetting, MissingExtra."""
        settings = means.settings
        self._means = means
        self._picture = Picture(means.fabric)
        self._instruments = instruments = Instruments(settings.observe, means.name)
        self.backend = GatewayBackend(
            means.name,
            means.hosts,
            self._picture,
            means.fabric,
            instruments.statistics.of,
            instruments.spans.begin,
        )
        self._collector = ClusterCollector(
            self._picture, means.beat, lambda: {name: host.table.window for name, host in means.hosts.items()}
        )
        instruments.metrics.register(self._collector)
        drills = Drills(means.home, settings.gateway.drills)
        self._dashboard = Dashboard(self._picture, means.fabric, self.backend, means.cache, drills, Ledger())
        self._porch = Porch(self.backend)
        self._watching = [*instruments.observers, self._dashboard.observe]
        self._http: HttpServer | None = None
        self._grpc: GrpcServer | None = None
        self._errands = Errands("the front")

    async def open(self) -> dict[str, str]:
        """Take clients in; where, by door. Raises BadSetting."""
        gateway = self._means.settings.gateway
        self._means.observers.extend(self._watching)
        self._instruments.spans.start()
        following = follow_notes(self._means.fabric, self._collector.note)
        for work in (self._picture.keep(), self._dashboard.keep(), following):
            self._errands.begin(work)
        facts: dict[str, str] = {}
        if gateway.http:
            where = self._where("gateway.http", gateway.http)
            options = HttpOptions(token=gateway.token, max_request=gateway.max_request)
            more = [
                *task_routes(self.backend, options, porch=self._porch),
                *self._instruments.routes(self.backend, self._reasons),
                *self._dashboard.routes(),
            ]
            self._http = HttpServer(make_app(self.backend, options, more, self._porch), where, options)
            facts["http"] = await self._http.start()
        if gateway.grpc:
            where = self._where("gateway.grpc", gateway.grpc)
            allowed = GrpcOptions(token=gateway.token, max_request=gateway.max_request)
            self._grpc = GrpcServer(self.backend, where, allowed, self._porch)
            facts["grpc"] = await self._grpc.start()
        return facts

    async def close(self, grace: Seconds) -> None:
        """Take nobody in any more, answer what is open within ``grace`` seconds, and let go of everything.

        One who was cancelled while closing, or has more patience than is left, calls it again with less.
        """
        self.backend.draining = True
        servers = [server for server in (self._http, self._grpc) if server is not None]
        self._dashboard.end()
        await asyncio.gather(*(server.stop(grace) for server in servers))
        for observer in self._watching:
            with suppress(ValueError):  # it was never opened
                self._means.observers.remove(observer)
        await self._errands.end()
        await self._instruments.spans.stop()

    def _where(self, name: str, text: str) -> Where:
        """Of a setting. Raises BadSetting, also if strangers from other machines could come in."""
        where = parse_where(name, text)
        if not where.local and not self._means.settings.gateway.token:
            raise BadSetting(f"{name}: {text} can be reached from other machines; set gateway.token")
        return where

    def _reasons(self) -> list[str]:
        """Why the backend is not ready."""
        if self.backend.draining:
            return ["the gateway drains"]
        return ["no coordinator has answered yet"] if self._picture.status is None else []
