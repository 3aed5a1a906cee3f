"""LinkOwner: what every machine's hands do with links: open them, tell of them, let go of them."""

import asyncio
import contextlib
from abc import ABC, abstractmethod

from cutwater.drivers.connect import dial
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.live import Live
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.vocabulary import Dial, DialFailed, LinkId, Lost, Opened, Paused, Resumed
from cutwater.errors import CutwaterError
from cutwater.units import Seconds
from cutwater.wire.message import Address, Hello, Message

FAREWELL: Seconds = 0.5
"""How long what was sent last may take to leave."""


class LinkOwner(ABC):
    """An `Owner` of links that tells a machine what happens on them."""

    _live: Live

    def __init__(self, hello: Hello, tls: TlsFiles | None, memory: int) -> None:
        self.cork = Cork()
        self._hello = hello
        self._tls = tls
        self._memory = memory
        self._links: dict[LinkId, Link] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._bare = asyncio.Event()
        """Set while there are no links."""
        self._bare.set()

    @abstractmethod
    def _broke(self, error: Exception) -> None:
        """The machine broke: nobody decides here any more."""

    @abstractmethod
    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`."""

    def opened(self, link: Link) -> None:
        """See `Owner.opened`."""
        assert link.peer is not None
        if self._live.closed:  # it was dialled before that
            link.abort()
            return
        self._links[link.id] = link
        self._bare.clear()
        self._live.tell(Opened(link.id, link.peer.credits, link.address))

    def lost(self, link: Link, reason: str) -> None:
        """See `Owner.lost`."""
        self._links.pop(link.id, None)
        if not self._links:
            self._bare.set()
        self._live.tell(Lost(link.id, reason))

    def paused(self, link: Link) -> None:
        """See `Owner.paused`."""
        self._live.tell(Paused(link.id))

    def resumed(self, link: Link) -> None:
        """See `Owner.resumed`."""
        self._live.tell(Resumed(link.id))

    def close(self) -> None:
        """End at once."""
        self._live.close()
        for task in self._dials:
            task.cancel()
        for link in self._links.values():
            link.close()

    async def leave(self) -> None:
        """End once what was sent has left, and soon in any case."""
        self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._bare.wait()

    def _dial(self, command: Dial) -> None:
        task = asyncio.get_running_loop().create_task(self._try(command.address))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _try(self, address: Address) -> None:
        try:
            await dial(address, self._hello_for(address), self, self._tls, self._memory)
        except CutwaterError as error:
            self._live.tell(DialFailed(address, str(error)))

    def _hello_for(self, address: Address) -> Hello:
        """How this end greets whoever listens at ``address``."""
        return self._hello
