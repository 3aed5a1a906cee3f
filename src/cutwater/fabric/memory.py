"""The fabric in memory: one MemoryServer, and any number of connections to it in the same process.

Time is the event loop's unless another clock is given; the server can go down and come back like a real one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from types import TracebackType
from typing import NamedTuple, Self

from cutwater.engine.fault import Fault
from cutwater.errors import CutwaterError, FabricLost, NoReply
from cutwater.fabric.base import TIMEOUT, Closing, Handler, KeyValue, Message, WorkQueue
from cutwater.fabric.clock import Clock, within
from cutwater.fabric.inbox import Inbox
from cutwater.fabric.memory_blobs import MemoryBlobs
from cutwater.fabric.memory_keys import Bucket, MemoryKeys
from cutwater.fabric.memory_queue import Items, MemoryQueue
from cutwater.fabric.subjects import check_label, check_name, matches
from cutwater.units import Seconds

_log = logging.getLogger(__name__)


class _Service(NamedTuple):
    subject: str
    handler: Handler
    fabric: "MemoryFabric"


class _Subscription(NamedTuple):
    inbox: Inbox
    group: str
    fabric: "MemoryFabric"


class MemoryServer:
    """What all connections share. Buckets, queues and blobs outlive its going down; messages do not."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self.up = True
        self.lost = asyncio.Event()
        """Set while down: ends every call that waits."""
        self.buckets: dict[str, Bucket] = {}
        self.queues: dict[str, Items] = {}
        self.blobs: dict[str, bytes] = {}
        self.subscriptions: list[_Subscription] = []
        self.services: list[_Service] = []
        self.fabrics: list[MemoryFabric] = []
        self.turns = count()

    @property
    def clock(self) -> Clock:
        """The clock given, or the running loop."""
        return self._clock or asyncio.get_running_loop()

    def check(self) -> None:
        """Raises FabricLost while it is down."""
        if not self.up:
            raise FabricLost("the fabric is down")

    def go_down(self) -> None:
        """Be lost to every connection until `come_back`."""
        if self.up:
            self.up = False
            self.lost.set()
            self._tell()

    def come_back(self) -> None:
        """Be there again: subscriptions and services go on, watches repeat the current values."""
        if not self.up:
            self.up = True
            self.lost = asyncio.Event()
            for bucket in self.buckets.values():
                bucket.repeat()
            self._tell()

    def _tell(self) -> None:
        for fabric in tuple(self.fabrics):
            for told in fabric.listeners:
                told(self.up)


class MemoryFabric:
    """One connection to a MemoryServer."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self.listeners: list[Callable[[bool], None]] = []
        self.blobs = MemoryBlobs(server.blobs, server.check)

    async def __aenter__(self) -> Self:
        """Connect. Raises FabricLost while the server is down."""
        self._server.check()
        self._server.fabrics.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect: subscriptions and services of this connection end."""
        self._server.fabrics.remove(self)
        self._server.services = [service for service in self._server.services if service.fabric is not self]
        for subscription in [s for s in self._server.subscriptions if s.fabric is self]:
            self._server.subscriptions.remove(subscription)
            await subscription.inbox.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def connected(self) -> bool:
        """Whether the server is up, and this connection open."""
        return self._server.up and self in self._server.fabrics

    def on_change(self, told: Callable[[bool], None]) -> None:
        """Call ``told`` whenever the server goes down or comes back."""
        self.listeners.append(told)

    async def publish(self, subject: str, data: bytes) -> None:
        """Tell all subscribers, and of each group one, in turn."""
        check_name(subject)
        self._check()
        groups: dict[tuple[str, str], list[Inbox]] = {}
        for inbox, group, _ in self._server.subscriptions:
            if not matches(inbox.pattern, subject):
                continue
            if group:
                groups.setdefault((inbox.pattern, group), []).append(inbox)
            else:
                inbox.put(Message(subject, data))
        for members in groups.values():
            members[next(self._server.turns) % len(members)].put(Message(subject, data))

    async def subscribe(self, pattern: str, told: Callable[[Message], Awaitable[None]], group: str = "") -> Closing:
        """See `Fabric.subscribe`."""
        self._check()
        subscription = _Subscription(Inbox(pattern, told), group, self)
        self._server.subscriptions.append(subscription)

        async def close() -> None:
            if subscription in self._server.subscriptions:
                self._server.subscriptions.remove(subscription)
            await subscription.inbox.close()

        return _Ending(close)

    async def request(self, subject: str, data: bytes, timeout: Seconds = TIMEOUT) -> bytes:  # noqa: ASYNC109
        """See `Fabric.request`."""
        check_name(subject)
        self._check()
        able = [service for service in self._server.services if service.subject == subject]
        if not able:
            raise NoReply(f"nobody answers {subject}")
        service = able[next(self._server.turns) % len(able)]
        answer: asyncio.Future[bytes | Fault] = asyncio.get_running_loop().create_future()
        service.fabric.answer(service, Message(subject, data), answer)
        waiting = asyncio.ensure_future(_first(answer, self._server.lost))
        try:
            result = await within(self._server.clock, timeout, waiting)
        except TimeoutError:
            raise NoReply(f"no answer from {subject} within {timeout:g} s") from None
        if isinstance(result, Fault):
            raise result.error()
        return result

    def answer(self, service: _Service, message: Message, answer: "asyncio.Future[bytes | Fault]") -> None:
        """Have ``service`` answer, at the expense of this connection."""

        async def handle() -> None:
            try:
                result: bytes | Fault = await service.handler(message)
            except CutwaterError as error:
                result = Fault.of(error, service.subject)
            except Exception:  # noqa: BLE001 - a request that breaks its handler must not break the others
                _log.exception("the service %s failed", service.subject)
                return
            if not answer.done():
                answer.set_result(result)

        task = asyncio.create_task(handle(), name=f"answer {service.subject}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def serve(self, subject: str, handler: Handler) -> Closing:
        """See `Fabric.serve`; requests are handled side by side."""
        check_name(subject)
        self._check()
        service = _Service(subject, handler, self)
        self._server.services.append(service)

        async def close() -> None:
            if service in self._server.services:
                self._server.services.remove(service)

        return _Ending(close)

    async def keys(self, bucket: str, ttl: Seconds | None = None) -> KeyValue:
        """See `Fabric.keys`."""
        check_label(bucket)
        self._check()
        found = self._server.buckets.get(bucket)
        if found is None:
            found = self._server.buckets[bucket] = Bucket(self._server.clock, lambda: self._server.up)
        found.ttl = ttl
        return MemoryKeys(found, self._check)

    async def queue(self, name: str, *, ack_wait: Seconds = 30.0, attempts: int = 5) -> WorkQueue:
        """See `Fabric.queue`."""
        check_label(name)
        self._check()
        items = self._server.queues.setdefault(name, Items(self._server.clock))
        items.ack_wait, items.attempts = ack_wait, attempts
        return MemoryQueue(items, self._check)

    def _check(self) -> None:
        self._server.check()
        if self not in self._server.fabrics:
            raise FabricLost("this connection to the fabric is closed")


class _Ending:
    def __init__(self, end: Callable[[], Awaitable[None]]) -> None:
        self._end = end

    async def close(self) -> None:
        await self._end()


async def _first(answer: "asyncio.Future[bytes | Fault]", lost: asyncio.Event) -> bytes | Fault:
    """The answer, unless the fabric is lost before it comes. Raises FabricLost."""
    gone = asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
    if answer.done():
        return answer.result()
    raise FabricLost("the fabric went down before the answer came")
