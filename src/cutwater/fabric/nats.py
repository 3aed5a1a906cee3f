"""The fabric over NATS: messages on its subjects, keys, queues and blobs in JetStream.

What a user must be allowed to publish to, besides the subjects of its messages. It must also be allowed to subscribe to
``INBOX.>`` (NatsOptions.inbox), and, if it serves anything, to answer (``allow_responses``).

    keys      $JS.API.STREAM.{INFO,CREATE,UPDATE}.KV_BUCKET, $JS.API.DIRECT.GET.KV_BUCKET.$KV.BUCKET.KEY,
              $KV.BUCKET.KEY to write, $JS.API.CONSUMER.{CREATE,DELETE}.KV_BUCKET.> to watch
    queues    $JS.API.STREAM.{INFO,CREATE,UPDATE}.{QUEUE,DEAD}_NAME, queue.NAME, dead.NAME,
              $JS.API.CONSUMER.{CREATE.QUEUE_NAME.>,MSG.NEXT.QUEUE_NAME.takers}, $JS.ACK.QUEUE_NAME.>
    blobs     $JS.API.STREAM.{INFO,CREATE,UPDATE,PURGE}.BLOBS, $JS.API.DIRECT.GET.BLOBS.blob.>, blob.> to store
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cutwater.engine.fault import Fault
from cutwater.errors import CutwaterError, FabricError, Forbidden, NoReply
from cutwater.fabric.base import TIMEOUT, Closing, Handler, KeyValue, Message, WorkQueue
from cutwater.fabric.blobs import NatsBlobs
from cutwater.fabric.inbox import Inbox
from cutwater.fabric.nats_keys import NatsKeys
from cutwater.fabric.nats_line import Connection, Line, NatsOptions, plainly
from cutwater.fabric.nats_queue import NatsQueue
from cutwater.fabric.subjects import check_label, check_name
from cutwater.units import Seconds

FAULT = "Cutwater-Fault"
"""Header of an answer whose data is a Fault."""

_SERVERS = "servers"
"""Group in which the servers of one subject share its requests."""

_log = logging.getLogger(__name__)


class NatsFabric:
    """One connection to a NATS server."""

    def __init__(self, options: NatsOptions) -> None:
        self._line = Line(options)
        self._line.on_connection.append(self._renew)
        self._line.on_failure = self._end_owner
        self._owner: asyncio.Task[object] | None = None
        """Who entered this context. It is cancelled when the line is lost for good, and hears why at its end."""
        self._standing: list[_Standing] = []
        self.blobs = NatsBlobs(options)

    async def __aenter__(self) -> Self:
        """Connect. Raises FabricLost, Forbidden."""
        await self._line.open()
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits to leave, and disconnect. Raises what made the line be lost for good."""
        owner, self._owner = self._owner, None
        for standing in tuple(self._standing):
            await standing.close()
        await self.blobs.close()
        failure = self._line.failure
        await self._line.close()
        if failure is not None and (task := asyncio.current_task()) is not None and task is owner:
            task.uncancel()
            raise failure

    def _end_owner(self) -> None:
        if self._owner is not None:
            self._owner.cancel()

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._line.connected

    def on_change(self, told: Callable[[bool], None]) -> None:
        """See `Fabric.on_change`."""
        self._line.listeners.append(told)

    async def publish(self, subject: str, data: bytes) -> None:
        """See `Fabric.publish`."""
        check_name(subject)
        with plainly(f"publish {subject}"):
            await self._line.connection.publish(subject, data)

    async def subscribe(self, pattern: str, told: Callable[[Message], Awaitable[None]], group: str = "") -> Closing:
        """See `Fabric.subscribe`."""
        inbox = Inbox(pattern, told)

        async def put(message: Msg) -> None:
            inbox.put(Message(message.subject, message.data))

        return await self._stand(_Standing(self._standing, pattern, group, put, inbox.close))

    async def request(self, subject: str, data: bytes, timeout: Seconds = TIMEOUT) -> bytes:  # noqa: ASYNC109
        """See `Fabric.request`."""
        check_name(subject)
        with plainly(f"request {subject}"):
            try:
                answer = await self._line.connection.request(subject, data, timeout)
            except nats.errors.NoRespondersError:
                raise NoReply(f"nobody answers {subject}") from None
            except nats.errors.TimeoutError:
                raise NoReply(f"no answer from {subject} within {timeout:g} s") from None
        if answer.headers and FAULT in answer.headers:
            raise _fault(answer.data, subject).error()
        return answer.data

    async def serve(self, subject: str, handler: Handler) -> Closing:
        """See `Fabric.serve`; requests are handled side by side."""
        check_name(subject)
        tasks: set[asyncio.Task[None]] = set()

        async def begin(message: Msg) -> None:
            task = asyncio.create_task(_answer(handler, message), name=f"answer {subject}")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        async def end() -> None:
            others = tasks - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others)

        return await self._stand(_Standing(self._standing, subject, _SERVERS, begin, end))

    async def keys(self, bucket: str, ttl: Seconds | None = None) -> KeyValue:
        """See `Fabric.keys`."""
        check_label(bucket)
        keys = NatsKeys(self._line, bucket, ttl)
        await keys.ensure()
        return keys

    async def queue(self, name: str, *, ack_wait: Seconds = 30.0, attempts: int = 5) -> WorkQueue:
        """See `Fabric.queue`."""
        check_label(name)
        queue = NatsQueue(self._line, name, ack_wait, attempts)
        await queue.ensure()
        return queue

    async def _stand(self, standing: "_Standing") -> "_Standing":
        """Set it up now, and again on every later connection."""
        self._standing.append(standing)
        try:
            with plainly(f"subscribe {standing.subject}"):
                connection = self._line.connection
                await standing.renew(connection)
                # Whoever publishes after this call shall be heard.
                await connection.round_trip()
            if standing.subject.lower() in connection.refused:
                raise Forbidden(f"this user may not subscribe to {standing.subject}")
        except FabricError:
            await standing.close()
            raise
        return standing

    async def _renew(self, connection: Connection) -> None:
        for standing in self._standing:
            await standing.renew(connection)
        await connection.round_trip()


class _Standing:
    """A subscription or service, on whichever connection there is."""

    def __init__(
        self,
        all_of_them: "list[_Standing]",
        subject: str,
        group: str,
        told: Callable[[Msg], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
    ) -> None:
        self.subject = subject
        self._all = all_of_them
        self._group = group
        self._told = told
        self._end = end
        self._subscription: Subscription | None = None

    async def renew(self, connection: Connection) -> None:
        """Go on, on this connection."""
        self._subscription = await connection.subscribe(self.subject, self._group, cb=self._told)

    async def close(self) -> None:
        """End it; harmless if it has ended."""
        if self not in self._all:
            return
        self._all.remove(self)
        if self._subscription is not None:
            try:
                await self._subscription.unsubscribe()
            except nats.errors.Error:
                _log.debug("the subscription to %s has ended with its connection", self.subject)
        await self._end()


def _fault(data: bytes, subject: str) -> Fault:
    try:
        return msgspec.json.decode(data, type=Fault)
    except msgspec.MsgspecError as error:
        raise FabricError(f"the error that {subject} answered with cannot be read: {error}") from error


async def _answer(handler: Handler, message: Msg) -> None:
    """Answer one request: what the handler returns, or why it cannot."""
    try:
        try:
            await message.respond(await handler(Message(message.subject, message.data)))
        except CutwaterError as error:
            fault = msgspec.json.encode(Fault.of(error, message.subject))
            await message._client.publish(message.reply, fault, headers={FAULT: error.kind})
    except nats.errors.Error as error:
        _log.info("the answer to %s cannot be sent: %s", message.subject, error)
    except Exception:  # noqa: BLE001 - a request that breaks its handler must not break the others
        _log.exception("the service %s failed", message.subject)
