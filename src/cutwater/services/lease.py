"""Lease: one key that only one process holds at a time, for as long as it renews it.

Everything about who is who lives in this file. A lease is lost when it could not be renewed in time, or when somebody
else has written the key: whoever held it then stops acting on it before anybody else can have it.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

import msgspec

from cutwater.drivers.live import clock
from cutwater.engine.facts.nodes import LEASE
from cutwater.errors import Conflict, FabricError, Refused
from cutwater.fabric.base import Entry, KeyValue
from cutwater.services.facts import encode, readable
from cutwater.units import Seconds

RENEWAL: Seconds = 1.0
"""How often a lease is renewed."""
_MARGIN: Seconds = 0.5
"""So long before it runs out it counts as lost: the fabric's clock began after ours."""
_LOOK: Seconds = 0.5
"""How often one who waits looks whether the key has run out, should nobody tell him."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lease."""

    name: str
    incarnation: str
    host: str = ""
    pid: int = 0

    @classmethod
    def here(cls, name: str, incarnation: str) -> "Holder":
        """This process."""
        return cls(name=name, incarnation=incarnation, host=socket.gethostname(), pid=os.getpid())


class Lease:
    """One key of the leases bucket, wanted by ``holder``."""

    def __init__(self, leases: KeyValue, key: str, holder: Holder, on_lost: Callable[[str], None]) -> None:
        """``on_lost`` is told why, once for each time the lease was taken, on the event loop."""
        self.key = key
        self.holder = holder
        self.held = False
        self._leases = leases
        self._on_lost = on_lost
        self._revision = 0
        self._renewing: asyncio.Task[None] | None = None

    async def take(self) -> int:
        """Wait until the key is free, and hold it; returns its revision, which grows from holder to holder.

        Raises FabricLost; cancel it to wait no longer.
        """
        while (revision := await self._try()) is None:
            await self._until_free()
        return revision

    async def take_or_refuse(self) -> int:
        """Hold the key, unless somebody who lives holds it. Takes up to the length of a lease after a crash.

        Raises:
            Refused: names who holds it.
            FabricLost: the fabric cannot be reached.
        """
        seen: Entry | None = None
        while (revision := await self._try()) is None:
            found = await self._leases.get(self.key)
            if found is not None and found.value is not None:
                if seen is not None and found.revision != seen.revision:
                    raise Refused(self._refusal(found))
                seen = found
            await asyncio.sleep(RENEWAL / 4)
        return revision

    async def give_up(self) -> None:
        """Let go of it, so that the next one need not wait. Harmless if it is not held; raises FabricLost."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
            self._renewing = None
        if self.held:
            self.held = False
            with contextlib.suppress(Conflict):  # then it is somebody else's already
                await self._leases.delete(self.key, self._revision)

    async def _try(self) -> int | None:
        asked = clock()
        try:
            self._revision = await self._leases.create(self.key, encode(self.holder))
        except Conflict:
            # After an outage it may still stand there as this very holder wrote it.
            if not await self._wrote_it_itself():
                return None
            try:
                self._revision = await self._leases.update(self.key, encode(self.holder), self._revision)
            except Conflict:
                return None
        self.held = True
        self._renewing = asyncio.create_task(self._renew(asked), name=f"lease {self.key}")
        return self._revision

    async def _until_free(self) -> None:
        """Until the key is deleted or has run out."""
        async with self._leases.watch(self.key) as entries:
            while True:
                try:
                    async with asyncio.timeout(_LOOK):
                        entry = await anext(entries)
                except TimeoutError:
                    if await self._leases.get(self.key) is None:
                        return
                    continue
                if entry.value is None:
                    return

    async def _renew(self, since: Seconds) -> None:
        """``since``: when the write was asked for that holds the lease now."""
        while True:
            await asyncio.sleep(max(since + RENEWAL - clock(), 0.05))
            asked = clock()
            try:
                async with asyncio.timeout(max(since + LEASE - _MARGIN - asked, 0.0)):
                    self._revision = await self._leases.update(self.key, encode(self.holder), self._revision)
                since = asked
            except Conflict:
                if not await self._wrote_it_itself():
                    return self._lose(f"somebody else holds the lease {self.key}, or it ran out")
                since = asked
            except TimeoutError:
                return self._lose(f"the lease {self.key} could not be renewed for {LEASE - _MARGIN:g} s")
            except FabricError:
                if clock() > since + LEASE - _MARGIN:
                    return self._lose(f"the lease {self.key} could not be renewed: the fabric is away")

    async def _wrote_it_itself(self) -> bool:
        """Whether it was our own earlier write, whose confirmation was lost, that changed the key."""
        try:
            found = await self._leases.get(self.key)
        except FabricError:
            return False
        if found is None or readable(found, Holder) != self.holder:
            return False
        self._revision = found.revision
        return True

    def _lose(self, why: str) -> None:
        self.held = False
        self._on_lost(why)

    def _refusal(self, found: Entry) -> str:
        other = readable(found, Holder)
        who = "nobody knows where" if other is None else f"process {other.pid} on {other.host}"
        return f"{self.holder.name!r} runs already ({who}); stop it first, or give this one another name"
