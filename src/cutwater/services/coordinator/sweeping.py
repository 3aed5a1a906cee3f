"""Sweeper: removes from the state what was written for, or by, nodes and gateways that have been gone for long."""

import asyncio
import logging

from cutwater.drivers.live import clock
from cutwater.errors import FabricError
from cutwater.fabric.base import KeyValue
from cutwater.services.coordinator.state import Outbox
from cutwater.services.facts import gateway_lease, node_key
from cutwater.units import GatewayId, NodeId, Seconds

ROUND: Seconds = 3600.0
"""Between two looks at who is there."""
ABSENCE: Seconds = 24 * 3600.0
"""Who held no lease at any look for so long is not waited for: what is removed is written anew if he comes back."""

_log = logging.getLogger(__name__)


class Sweeper:
    """Announcements stay, so that people see who is missing; assignments, links and route tables go."""

    def __init__(self, state: KeyValue, leases: KeyValue, outbox: Outbox) -> None:
        self._state = state
        self._leases = leases
        self._outbox = outbox
        self._absent: dict[str, Seconds] = {}
        """Lease that nobody holds -> since when."""

    async def tend(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            try:
                await self.sweep(clock())
            except FabricError as error:
                _log.warning("what is left of those who are gone stays for now: %s", error)
            await asyncio.sleep(ROUND)

    async def sweep(self, now: Seconds) -> None:
        """Look who is there, and remove what concerns somebody who was not for `ABSENCE`. Raises FabricError."""
        held = await self._leases.entries()
        concerned = {key: leases for key in await self._state.entries() if (leases := _leases(key))}
        missing = {lease for leases in concerned.values() for lease in leases if lease not in held}
        self._absent = {lease: self._absent.get(lease, now) for lease in missing}
        for key, leases in concerned.items():
            if not any(now - self._absent.get(lease, now) >= ABSENCE for lease in leases):
                continue
            _log.info("%s is removed: nobody has been there for it for long", key)
            self._outbox.put(key, None)


def _leases(key: str) -> tuple[str, ...]:
    """The leases of those whom an entry of the state concerns; none where it outlives them."""
    match key.split("."):
        case ["assign", node]:
            return (node_key(NodeId(node)),)
        case ["link", source, target]:
            return node_key(NodeId(source)), node_key(NodeId(target))
        case ["routes", gateway, _]:
            return (gateway_lease(GatewayId(gateway)),)
        case _:
            return ()
