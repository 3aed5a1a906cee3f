"""Surveyor: a node's small listener at which its peers measure the link to it, and its own measurements of theirs."""

from datetime import UTC, datetime

from cutwater.drivers.connect import Listener, listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.measure import measure_link
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.errors import FrameError
from cutwater.units import NodeId, Seconds
from cutwater.wire.message import PROTOCOL, Address, Hello, Message

TOKEN = "links"
"""What both ends of a link that is being measured show. It opens nothing: all one can do there is ping."""
_WORDS = 30
_FEW = 4 * 2**20
"""Bytes of the first try, which a slow link takes a few seconds for."""
_MOST = 64 * 2**20
_LONG: Seconds = 0.5
"""A transfer of so long says how fast the link is; after a shorter one a longer one follows."""


class Surveyor:
    """An `Owner` of links on which nothing but pings travel."""

    def __init__(self, node: NodeId, tls: TlsFiles | None = None) -> None:
        self.cork = Cork()
        self._node = node
        self._tls = tls
        self._listener: Listener | None = None
        self._links: set[Link] = set()

    async def listen(self, address: Address) -> Address:
        """Be measured at ``address``; returns it with the port the system chose. Raises InputError."""
        hello = Hello(PROTOCOL, TOKEN, self._node, 0, 4 * 2**20)
        self._listener = await listen(address, hello, self, self._tls, memory=0)
        return self._listener.address

    async def measure(self, peer: NodeId, address: Address) -> MeasuredLink:
        """The link to a peer. Raises LinkLost, Refused, InputError."""
        found = await measure_link(address, TOKEN, tls=self._tls, nbytes=_FEW, words=_WORDS)
        if _FEW / found.bandwidth < _LONG:
            enough = min(int(found.bandwidth * _LONG * 2), _MOST)
            more = await measure_link(address, TOKEN, tls=self._tls, nbytes=enough, words=2)
            bandwidth = max(found.bandwidth, more.bandwidth)
        else:
            bandwidth = found.bandwidth
        return MeasuredLink(
            source=self._node,
            target=peer,
            bandwidth=bandwidth,
            latency=found.round_trip.median / 2,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def close(self) -> None:
        """Be measured no more."""
        if self._listener is not None:
            self._listener.close()
        for link in tuple(self._links):
            link.close()

    # Owner

    def opened(self, link: Link) -> None:
        """See `Owner.opened`."""
        self._links.add(link)

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`. Raises FrameError: pings never come here, and nothing else belongs here."""
        raise FrameError(f"a {type(message).__name__} came to where links are measured")

    def lost(self, link: Link, reason: str) -> None:
        """See `Owner.lost`."""
        self._links.discard(link)

    def paused(self, link: Link) -> None:
        """See `Owner.paused`."""

    def resumed(self, link: Link) -> None:
        """See `Owner.resumed`."""
