"""Work queues in JetStream: a stream that forgets what is acknowledged, with one consumer that all takers share.

An item that comes once more often than it may is moved to a second stream by whoever got it: nothing is lost silently.
"""

import math
from typing import Any

import msgspec
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig

from cutwater.fabric.base import TIMEOUT
from cutwater.fabric.nats_line import Line, plainly
from cutwater.fabric.nats_streams import ensure_stream
from cutwater.units import Seconds

_TAKERS = "takers"
_DEDUP: Seconds = 120.0
_GRACE: Seconds = 2.0
"""How much later than the server a taker gives up, so that the server's word comes first."""


class NatsDelivery:
    """One item in the hands of one taker."""

    def __init__(self, line: Line, message: Msg) -> None:
        self.data = message.data
        self.attempt = message.metadata.num_delivered
        self._line = line
        self._message = message

    @property
    def place(self) -> str:
        """Where it stands in its queue."""
        return str(self._message.metadata.sequence.stream)

    async def ack(self) -> None:
        """See `Delivery.ack`; the server has confirmed it."""
        with plainly("acknowledge an item"):
            await self._line.connection.request(self._message.reply, b"+ACK")

    async def nack(self, delay: Seconds = 0.0) -> None:
        """See `Delivery.nack`."""
        wish = b"-NAK" if delay <= 0 else b"-NAK " + msgspec.json.encode({"delay": math.ceil(delay * 1e9)})
        with plainly("give an item back"):
            await self._line.connection.request(self._message.reply, wish)

    async def working(self) -> None:
        """See `Delivery.working`."""
        with plainly("keep an item"):
            await self._line.connection.request(self._message.reply, b"+WPI")


class NatsQueue:
    """One queue."""

    def __init__(self, line: Line, name: str, ack_wait: Seconds, attempts: int) -> None:
        self._line = line
        self._stream, self._subject = f"QUEUE_{name}", f"queue.{name}"
        self._dead_stream, self._dead_subject = f"DEAD_{name}", f"dead.{name}"
        self._ack_wait = ack_wait
        self._attempts = attempts

    async def ensure(self) -> None:
        """Make it if need be."""
        await ensure_stream(
            self._line,
            StreamConfig(
                name=self._stream,
                subjects=[self._subject],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                duplicate_window=_DEDUP,
            ),
        )
        await ensure_stream(
            self._line,
            StreamConfig(
                name=self._dead_stream,
                subjects=[self._dead_subject],
                storage=StorageType.FILE,
                duplicate_window=_DEDUP,
            ),
        )
        with plainly(f"make the queue {self._subject}"):
            await self._line.jetstream.add_consumer(
                self._stream,
                ConsumerConfig(
                    name=_TAKERS,
                    durable_name=_TAKERS,
                    filter_subject=self._subject,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=self._ack_wait,
                    max_deliver=-1,
                    max_ack_pending=-1,
                ),
            )

    async def put(self, data: bytes, id: str | None = None) -> None:
        """See `WorkQueue.put`."""
        headers: dict[str, Any] | None = None if id is None else {"Nats-Msg-Id": id}
        with plainly(f"put into {self._subject}"):
            await self._line.jetstream.publish(self._subject, data, stream=self._stream, headers=headers)

    async def take(self, timeout: Seconds) -> NatsDelivery | None:  # noqa: ASYNC109
        """See `WorkQueue.take`."""
        while True:
            delivery = await self._pull(timeout)
            if delivery is None or delivery.attempt <= self._attempts:
                return delivery
            await self._set_aside(delivery)

    async def depth(self) -> int:
        """See `WorkQueue.depth`."""
        with plainly(f"read the depth of {self._subject}"):
            return (await self._line.jetstream.stream_info(self._stream)).state.messages

    async def dead(self) -> list[bytes]:
        """See `WorkQueue.dead`."""
        items = []
        with plainly(f"read what was set aside of {self._subject}"):
            state = (await self._line.jetstream.stream_info(self._dead_stream)).state
            for sequence in range(state.first_seq, state.last_seq + 1):
                try:
                    found = await self._line.jetstream.get_msg(self._dead_stream, seq=sequence)
                except nats.js.errors.NotFoundError:
                    continue
                items.append(found.data or b"")
        return items

    async def _pull(self, timeout: Seconds) -> NatsDelivery | None:  # noqa: ASYNC109
        wish = {"batch": 1, "expires": math.ceil(max(timeout, 0.001) * 1e9)}
        with plainly(f"take from {self._subject}"):
            message = await self._line.connection.pull(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{_TAKERS}",
                msgspec.json.encode(wish),
                timeout + _GRACE,
            )
        status = (message.headers or {}).get("Status")
        # 404 and 408: nothing there in time. Whatever else comes as a status is trouble of the server.
        if status in ("404", "408"):
            return None
        if status is not None:
            with plainly(f"take from {self._subject}"):
                raise nats.js.errors.ServiceUnavailableError(description=str(message.headers))
        return NatsDelivery(self._line, message)

    async def _set_aside(self, delivery: NatsDelivery) -> None:
        with plainly(f"set an item of {self._subject} aside"):
            await self._line.jetstream.publish(
                self._dead_subject, delivery.data, timeout=TIMEOUT, headers={"Nats-Msg-Id": delivery.place}
            )
        await delivery.ack()
