"""Following a bucket: current values, then changes, again and again as consumers come and go.

A follower is a task that keeps one ephemeral consumer. It makes a new one when the connection was lost, when the server
has forgotten the old one, or when a message is missing; each begins with all current values.
"""

import asyncio
import logging
from types import TracebackType

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from cutwater.errors import FabricError
from cutwater.fabric.base import Entry
from cutwater.fabric.nats_line import Connection, Line, plainly
from cutwater.fabric.watch import Watch
from cutwater.units import Seconds

HEARTBEAT: Seconds = 5.0
"""The consumer says so often that it is there when there is nothing else to say."""
PATIENCE: Seconds = 12.0
"""Silence after which it is taken for gone."""
RETRY: Seconds = 0.25

_log = logging.getLogger(__name__)


def is_end(headers: dict[str, str] | None) -> bool:
    """Whether a message marks the end of its key: deleted by somebody, or run out."""
    return headers is not None and ("KV-Operation" in headers or "Nats-Marker-Reason" in headers)


class Follower:
    """Follows the keys of one pattern; an asynchronous context that gives the Watch."""

    def __init__(self, line: Line, stream: str, prefix: str, pattern: str) -> None:
        self._line = line
        self._stream = stream
        self._prefix = prefix
        self._pattern = pattern
        self._watch = Watch()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        """Begin; the first consumer is made here. Raises FabricLost, Forbidden."""
        consumer = await self._open(self._line.connection)
        self._task = asyncio.create_task(self._follow(consumer), name=f"watch {self._stream} {self._pattern}")
        return self._watch

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def snapshot(self) -> dict[str, Entry]:
        """All current values, once."""
        consumer = await self._open(self._line.connection)
        try:
            await consumer.wait_for_current()
            return {key: entry for key, entry in consumer.current.items() if entry.value is not None}
        finally:
            await consumer.close()

    async def _follow(self, consumer: "_Consumer") -> None:
        while True:
            try:
                await consumer.run(self._watch)
            finally:
                await consumer.close()
            consumer = await self._reopen()

    async def _reopen(self) -> "_Consumer":
        waits = False
        while True:
            try:
                consumer = await self._open(await self._line.back())
            except FabricError as error:
                if not waits:  # and then no more, several times a second
                    waits = True
                    _log.info("the watch of %s %s waits: %s", self._stream, self._pattern, error)
                await asyncio.sleep(RETRY)
            else:
                if waits:
                    _log.info("the watch of %s %s is back", self._stream, self._pattern)
                return consumer

    async def _open(self, connection: Connection) -> "_Consumer":
        consumer = _Consumer(connection, self._stream, self._prefix)
        with plainly(f"watch {self._pattern} of {self._stream}"):
            try:
                await consumer.open(self._prefix + self._pattern)
            except BaseException:
                await consumer.close()
                raise
        return consumer


class _Consumer:
    """One ephemeral consumer on one connection."""

    def __init__(self, connection: Connection, stream: str, prefix: str) -> None:
        self.current: dict[str, Entry] = {}
        """What has come so far of the values there were at the beginning, ends included."""
        self._connection = connection
        self._stream = stream
        self._prefix = prefix
        self._name = connection._nuid.next().decode()
        self._coming: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._sequence = 0
        self._pending = 0
        self._subscription: object = None
        self._ending = asyncio.create_task(self._end())

    async def open(self, subject: str) -> None:
        """Have the server make it."""
        inbox = self._connection.new_inbox()
        self._subscription = await self._connection.subscribe(inbox, cb=self._coming.put)
        info = await self._connection.jsm().add_consumer(
            self._stream,
            ConsumerConfig(
                name=self._name,
                deliver_subject=inbox,
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
                filter_subject=subject,
                ack_policy=AckPolicy.NONE,
                max_deliver=1,
                idle_heartbeat=HEARTBEAT,
                inactive_threshold=2 * PATIENCE,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        # The first of them may have been delivered before the server says so.
        delivered = info.delivered.consumer_seq if info.delivered else 0
        self._pending = max(0, (info.num_pending or 0) + delivered - self._sequence)

    async def wait_for_current(self) -> None:
        """Until all values there were at the beginning have come."""
        while self._pending > 0:
            entry = await self._next()
            if entry is not None:
                self.current[entry.key] = entry

    async def run(self, watch: Watch) -> None:
        """Tell ``watch`` everything, until the consumer has come to its end."""
        try:
            while self._pending > 0:
                entry = await self._next()
                if entry is not None:
                    self.current[entry.key] = entry
                    watch.tell(entry)
            watch.reconcile([key for key, entry in self.current.items() if entry.value is not None])
            self.current.clear()
            while True:
                entry = await self._next()
                if entry is not None:
                    watch.tell(entry)
        except nats.errors.Error as error:
            _log.debug("the consumer of %s ended: %s", self._stream, error)

    async def close(self) -> None:
        """Forget it, here and on the server."""
        self._ending.cancel()
        if self._connection.is_connected and self._subscription is not None:
            try:
                await self._subscription.unsubscribe()  # type: ignore[attr-defined]
                # The server would notice by itself, later; nobody waits for its answer.
                await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}")
            except nats.errors.Error as error:
                _log.debug("the consumer of %s ended with its connection: %s", self._stream, error)

    async def _next(self) -> Entry | None:
        """The next entry; None for a sign of life. Raises nats.errors.Error when there will be no more."""
        try:
            async with asyncio.timeout(PATIENCE):
                message = await self._coming.get()
        except TimeoutError:
            raise nats.errors.TimeoutError from None
        if message is None:
            raise nats.errors.ConnectionClosedError
        if message.headers and message.headers.get("Status") == "100":
            last = message.headers.get("Nats-Last-Consumer")
            if last is not None and int(last) != self._sequence:
                raise nats.errors.SlowConsumerError(message.subject, message.reply, 0, None)  # type: ignore[arg-type]
            # An idle consumer has nothing more to say of the beginning, even if keys ran out before it could.
            self._pending = 0
            return None
        meta = message.metadata
        if meta.sequence.consumer != self._sequence + 1:
            raise nats.errors.SlowConsumerError(message.subject, message.reply, 0, None)  # type: ignore[arg-type]
        self._sequence = meta.sequence.consumer
        self._pending = meta.num_pending
        value = None if is_end(message.headers) else message.data
        return Entry(message.subject.removeprefix(self._prefix), value, meta.sequence.stream)

    async def _end(self) -> None:
        await self._connection.ended.wait()
        self._coming.put_nowait(None)
