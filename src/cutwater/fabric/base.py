"""The port behind which a messaging system carries the control plane; `tests/fabric` holds its conformance suite.

Subjects and keys are words joined by dots; in a pattern ``*`` stands for one word and ``>`` for all that follow.
Every call may raise FabricLost while the system cannot be reached; implementations reconnect by themselves, and
subscriptions, services and watches go on afterwards (a watch then repeats the current values).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import msgspec

from cutwater.units import Seconds

TIMEOUT: Seconds = 5.0
"""Time for the system to confirm, where the caller does not say."""


class Message(NamedTuple):
    """What was published."""

    subject: str
    data: bytes


class Entry(NamedTuple):
    """One key's value, or its end."""

    key: str
    value: bytes | None
    """None: the key was deleted or ran out."""
    revision: int
    """Grows with every change in the bucket."""


class BlobRef(msgspec.Struct, frozen=True):
    """A blob is known by what it contains."""

    hash: str
    """sha256, hex."""
    nbytes: int


class Closing(Protocol):
    """Something that goes on until it is closed."""

    async def close(self) -> None:
        """End it; harmless if it has ended."""
        ...


class KeyValue(Protocol):
    """One bucket of keys."""

    async def get(self, key: str) -> Entry | None:
        """The current value; None where there is none."""
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Write; returns the new revision."""
        ...

    async def create(self, key: str, value: bytes) -> int:
        """Write a key that must not exist. Raises Conflict."""
        ...

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Write if ``revision`` still is the current one (compare and set). Raises Conflict."""
        ...

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove; with ``revision`` only if it still is the current one (else Conflict). Harmless if there is none."""
        ...

    async def entries(self, pattern: str = ">") -> dict[str, Entry]:
        """All current values whose key matches."""
        ...

    def watch(self, pattern: str = ">") -> AbstractAsyncContextManager[AsyncIterator[Entry]]:
        """Current values first, then changes, in order; a value that is replaced at once may be left out."""
        ...


class Delivery(Protocol):
    """One item taken from a queue. Until it is acknowledged it is the taker's for ``ack_wait`` seconds."""

    data: bytes
    attempt: int
    """1 for the first delivery; a system that crashed in between may count too few."""

    async def ack(self) -> None:
        """Done: it will not come again."""
        ...

    async def nack(self, delay: Seconds = 0.0) -> None:
        """Not done: somebody gets it again, after ``delay``."""
        ...

    async def working(self) -> None:
        """Still at it: ``ack_wait`` begins anew."""
        ...


class WorkQueue(Protocol):
    """A durable queue: each item goes to one of the takers, and again if it is not acknowledged in time."""

    async def put(self, data: bytes, id: str | None = None) -> None:
        """Add an item, durably; a second item with the same ``id`` within two minutes is dropped."""
        ...

    async def take(self, timeout: Seconds) -> Delivery | None:  # noqa: ASYNC109
        """The next item; None if none came in time."""
        ...

    async def depth(self) -> int:
        """Items that wait or are under way."""
        ...

    async def dead(self) -> list[bytes]:
        """Items that were delivered too often without an acknowledgement and set aside, oldest first."""
        ...


Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""


class Blobs(Protocol):
    """Files by hash, of any size, sent in pieces."""

    async def put(self, source: Path | bytes, progress: Progress | None = None) -> BlobRef:
        """Store it; one that is already there is not sent again."""
        ...

    async def fetch(self, hash: str, target: Path, progress: Progress | None = None) -> BlobRef:
        """Write it to ``target``, which appears only when complete and verified.

        A fetch that was broken off goes on where it stopped (in ``target`` + ".part").

        Raises:
            BadBlob: there is none, or what came does not have this hash; nothing is left at ``target``.
        """
        ...

    async def find(self, hash: str) -> BlobRef | None:
        """Whether it is there, whole."""
        ...

    async def delete(self, hash: str) -> None:
        """Remove it; harmless if there is none."""
        ...


Handler = Callable[[Message], Awaitable[bytes]]


class Fabric(Protocol):
    """A connection to the messaging system; an asynchronous context."""

    @property
    def blobs(self) -> Blobs:
        """Its store of blobs."""
        ...

    async def __aenter__(self) -> Self:
        """Connect. Raises FabricLost, Forbidden."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits to leave, and disconnect."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the system can be reached right now."""
        ...

    def on_change(self, told: Callable[[bool], None]) -> None:
        """Call ``told(connected)`` on the event loop whenever the connection is lost or back."""
        ...

    async def publish(self, subject: str, data: bytes) -> None:
        """Tell whoever listens now; nobody may. While disconnected it is dropped, and FabricLost raised."""
        ...

    async def subscribe(self, pattern: str, told: Callable[[Message], Awaitable[None]], group: str = "") -> Closing:
        """Call ``told`` for each message, one after the other; of a ``group`` only one member is told."""
        ...

    async def request(self, subject: str, data: bytes, timeout: Seconds = TIMEOUT) -> bytes:  # noqa: ASYNC109
        """The answer of whoever serves ``subject``.

        Raises:
            NoReply: nobody does, or not in time.
            CutwaterError: what the handler raised, of the same type.
        """
        ...

    async def serve(self, subject: str, handler: Handler) -> Closing:
        """Answer requests; several handlers of one subject share them. A CutwaterError raised is the answer."""
        ...

    async def keys(self, bucket: str, ttl: Seconds | None = None) -> KeyValue:
        """The bucket, made if need be. With ``ttl`` a key runs out so many seconds after it was last written."""
        ...

    async def queue(self, name: str, *, ack_wait: Seconds = 30.0, attempts: int = 5) -> WorkQueue:
        """The queue, made if need be; an item is delivered ``attempts`` times at most, then set aside."""
        ...
