"""Call: one call as whoever answers it sees it."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from cutwater.api.datatypes import Buffer
from cutwater.api.grpc.framing import Framed
from cutwater.api.grpc.status import Pairs
from cutwater.drivers.live import clock
from cutwater.errors import InputError
from cutwater.units import Seconds

_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Way(Protocol):
    """What brings a call's messages."""

    async def write(self, parts: Sequence[Buffer]) -> None:
        """Send one message; waits while the client takes none."""
        ...

    async def unpacked(self, framed: Framed) -> bytes:
        """A message as it was before it was packed. Raises CutwaterError."""
        ...

    def consumed(self) -> None:
        """All that came is read: as much may follow."""
        ...


class Call:
    """Metadata and messages of one call."""

    way: Way

    def __init__(self, metadata: Mapping[bytes, bytes], client: str) -> None:
        """Raises InputError where the deadline is none."""
        self.metadata = metadata
        self.client = client
        """The machine that asks."""
        self.told: Pairs = []
        """What goes with the answer's status."""
        self.deadline = _deadline(metadata)
        """When nobody is there to hear of the answer any more, on the gateway's clock; None: not known."""
        self._came: deque[Framed | None] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def text(self, name: bytes) -> str:
        """Of the metadata; empty where there is none."""
        return self.metadata.get(name, b"").decode("latin-1")

    def remaining(self) -> Seconds | None:
        """Until the deadline."""
        return None if self.deadline is None else self.deadline - clock()

    async def read(self) -> bytes | None:
        """The next message; None: there are no more. Raises CutwaterError for one that cannot be unpacked."""
        while not self._came:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        found = self._came.popleft()
        if not self._came:
            self.way.consumed()
        return None if found is None else await self.way.unpacked(found)

    async def write(self, *parts: Buffer) -> None:
        """Send one message; waits while the client takes none."""
        await self.way.write(parts)

    def came(self, message: Framed | None) -> None:
        """Told by what brings them: a message, or None after the last one."""
        self._came.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Method(NamedTuple):
    """How a method is answered: by one message for one, or freely. Both raise CutwaterError."""

    unary: Callable[[bytes, Call], Awaitable[Sequence[Buffer]]] | None = None
    """The message that came -> the parts of the one that goes."""
    stream: Callable[[Call], Awaitable[None]] | None = None


def _deadline(metadata: Mapping[bytes, bytes]) -> Seconds | None:
    text = metadata.get(b"grpc-timeout")
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text.decode("latin-1"))
    if match is None:
        raise InputError(f"grpc-timeout is a number and one of H M S m u n, not {text[:40].decode('latin-1')!r}")
    return clock() + int(match[1]) * _UNITS[match[2]]
