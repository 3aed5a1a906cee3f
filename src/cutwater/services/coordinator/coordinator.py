"""The coordinator process, run with ``python -m``: leads while it holds the lease, else stands by.

Whoever leads writes all it decides to the fabric, so one that stands by only has to read it to go on. A coordinator
that can no longer renew its lease stops deciding before another one can begin.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.nodes import LEASE
from cutwater.errors import FabricError
from cutwater.fabric.base import Fabric, KeyValue
from cutwater.services.access import fabric_of
from cutwater.services.cache import BlobCache
from cutwater.services.coordinator.leadership import CoordinatorMeans, Leadership
from cutwater.services.coordinator.planning import PlannerProcess
from cutwater.services.coordinator.state import born, read_state
from cutwater.services.facts import COORDINATOR, LEASES, STATE
from cutwater.services.home import Home
from cutwater.services.lease import Holder, Lease
from cutwater.services.standing import Say, stand
from cutwater.services.tracing import TraceFolder
from cutwater.settings.settings import CoordinatorSettings, Settings
from cutwater.units import Seconds

CACHE_LIMIT = 8 * 2**30
"""Bytes of models and stages a coordinator keeps on disk."""
TERM_PAUSE: Seconds = 0.5
"""Between a term that ended, or did not begin, and the next try."""

T = TypeVar("T")
_log = logging.getLogger("cutwater.services.coordinator.coordinator")


class CoordinatorProcess:
    """Leads, stands by, leads again."""

    def __init__(self, settings: Settings, fabric: Fabric) -> None:
        assert settings.home is not None, "a process is told its home when it is started"
        self.name = settings.coordinator.name or socket.gethostname()
        self._fabric = fabric
        self._cache = BlobCache(Home(settings.home).data(self.name), CACHE_LIMIT, fabric.blobs)
        self._options = options_of(settings.coordinator)
        self._traces = TraceFolder(settings.coordinator.trace, self.name)
        self._leadership: Leadership | None = None

    async def run(self, say: Say, stop: asyncio.Event) -> None:
        """Until ``stop``. Raises FabricLost if the fabric is not there at the start."""
        leases, state = await self._buckets()
        holder = Holder.here(self.name, secrets.token_hex(4))
        lease = Lease(leases, COORDINATOR, holder, self._lost)
        planner = PlannerProcess(self._cache.folder)
        trace = self._traces.open("cluster")
        means = CoordinatorMeans(self.name, self._fabric, state, self._cache, planner, self._options, trace)
        say({"name": self.name})
        while not stop.is_set():
            try:
                term = await _unless(stop, lease.take())
                if term is None:
                    break
                term += await born(state)
                await self._lead(Leadership(means, term, await read_state(state)), lease, term, stop)
            except FabricError as error:
                _log.warning("cannot lead: %s", error)
                with contextlib.suppress(FabricError):  # its store may have been lost, and the buckets with it
                    await self._buckets()
            finally:
                self._traces.flush()
                with contextlib.suppress(FabricError):
                    await lease.give_up()
            await _unless(stop, asyncio.sleep(TERM_PAUSE))  # another one may do better

    async def _buckets(self) -> tuple[KeyValue, KeyValue]:
        """The leases and the state, made if need be. Raises FabricLost."""
        return await self._fabric.keys(LEASES, LEASE), await self._fabric.keys(STATE)

    async def _lead(self, leadership: Leadership, lease: Lease, term: int, stop: asyncio.Event) -> None:
        if not lease.held:
            return
        _log.info("%s leads, term %d", self.name, term)
        self._leadership = leadership
        try:
            why = await leadership.run(stop)
            _log.info("%s leads no more: %s", self.name, why)
        finally:
            self._leadership = None

    def _lost(self, why: str) -> None:
        if self._leadership is not None:
            self._leadership.end(why)


def options_of(settings: CoordinatorSettings) -> CoordinatorOptions:
    """How the machine steers under these settings."""
    return CoordinatorOptions(
        gain=1.0 + settings.gain,
        interval=settings.interval,
        scale_headroom=settings.scale_headroom,
        scale_hold=settings.scale_hold,
    )


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What ``work`` returns; None, and ``work`` is cancelled, if ``stop`` is set first."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        stopping.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def serve(settings: Settings, say: Say, stop: asyncio.Event) -> None:
    """See `cutwater.services.standing.Serve`."""
    name = settings.coordinator.name or socket.gethostname()
    async with fabric_of(settings.fabric, f"coordinator {name}") as fabric:
        await CoordinatorProcess(settings, fabric).run(say, stop)


if __name__ == "__main__":
    sys.exit(stand(serve))
