"""Connection: one client's HTTP/2 connection; calls come out of it, and answers go into it.

HTTP/2 itself, its compression of headers and its defences against floods are nghttp2's; what is here is gRPC's part:
which bytes are messages, how a call ends, and whose room they take.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from ngh2 import Connection as Http2
from ngh2 import events
from ngh2.config import Configuration, Role
from ngh2.enums import ErrorCode, Setting
from ngh2.exceptions import NGH2Error, StreamProtocolError

from cutwater.api.datatypes import Buffer
from cutwater.api.grpc.framing import CODINGS, PREFIX, Framed, unpacked
from cutwater.api.grpc.opened import Opened, Shared
from cutwater.api.grpc.status import Pairs, trailers_of
from cutwater.drivers.live import clock
from cutwater.errors import CutwaterError, DeadlineExceeded, InputError, StageFailed
from cutwater.units import Seconds

STREAM_WINDOW = 2**20
"""Bytes that a call may send before they are read."""
WINDOW = 16 * STREAM_WINDOW
"""Bytes that all calls of a connection may."""
FRAME = 2**20
"""Bytes of the largest frame it takes: large ones cost less."""
STREAMS = 1024
"""Calls of one connection."""
PIECE = 256 * 2**10
"""Bytes handed to the socket at once."""
QUEUED = 2**20
"""Bytes of answers that may wait before a stream waits with its next one."""

HEAD: Pairs = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-accept-encoding", CODINGS)]
OK: Pairs = [(b"grpc-status", b"0")]

_log = logging.getLogger(__name__)


class _Way:
    """A call's messages: see `Way`."""

    def __init__(self, connection: "Connection", opened: Opened) -> None:
        self._connection = connection
        self._opened = opened

    async def write(self, parts: Sequence[Buffer]) -> None:
        """See `Way.write`."""
        self._connection.say(self._opened, parts)
        await self._connection.taken(self._opened)

    async def unpacked(self, framed: Framed) -> bytes:
        """See `Way.unpacked`."""
        shared, coding = self._connection.shared, self._opened.call.metadata.get(b"grpc-encoding", b"")
        return await unpacked(framed, coding, shared.options.max_request, shared.room)

    def consumed(self) -> None:
        """See `Way.consumed`."""
        self._connection.acknowledge(self._opened)
        self._connection.flush()


class Connection(asyncio.Protocol):
    """See the module."""

    def __init__(self, shared: Shared, others: "set[Connection]") -> None:
        """``others``: all that are open."""
        self.shared = shared
        self._others = others
        self.client = ""
        self.calls: dict[int, Opened] = {}
        self.heard = self.idle_since = self.opened = clock()
        self.stalled: Seconds | None = None
        """Since when the client takes nothing."""
        self.asked: Seconds | None = None
        """When it was asked for a word."""
        self.greeted = False
        """Whether it began to speak HTTP/2."""
        self._http2 = Http2(
            Role.SERVER,
            Configuration(auto_window_update=False, max_inbound_header_list_size=shared.options.max_head),
        )
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None

    # Bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        if len(self._others) >= self.shared.options.connections or self.shared.ending:
            self.abort()
            return
        self._others.add(self)
        peer = transport.get_extra_info("peername")
        self.client = f"grpc:{peer[0]}" if isinstance(peer, tuple) else "grpc"
        self._http2.initiate_connection(
            {
                int(Setting.MAX_CONCURRENT_STREAMS): STREAMS,
                int(Setting.INITIAL_WINDOW_SIZE): STREAM_WINDOW,
                int(Setting.MAX_FRAME_SIZE): FRAME,
                int(Setting.MAX_HEADER_LIST_SIZE): self.shared.options.max_head,
            }
        )
        self._http2.set_local_window_size(WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.heard, self.asked = clock(), None
        http2 = self._http2
        try:
            http2.receive_data(data)
            self._hear()
        except NGH2Error as error:
            _log.info("%s does not speak HTTP/2 as it should: %s", self.client, error)
            self.flush()
            self.close()
            return
        self.flush()

    def _hear(self) -> None:
        for event in self._http2.events():
            if (told := _TOLD.get(type(event))) is not None:
                try:
                    told(self, event)
                except StreamProtocolError:
                    continue  # the client has left the call meanwhile, which the next event says

    def flush(self) -> None:
        """Hand on what is to be sent, as far as the client takes it."""
        transport, http2 = self._transport, self._http2
        if transport is None or not self._open():
            return
        try:
            while self.stalled is None and (data := http2.data_to_send(PIECE)):
                transport.write(data)
            self._hear()
        except NGH2Error as error:
            _log.info("%s cannot be told anything any more: %s", self.client, error)
            self.abort()
            return
        if not (http2.want_read or http2.want_write):
            transport.close()

    def _open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.stalled = clock()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.stalled = None
        self.flush()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._others.discard(self)
        for opened in tuple(self.calls.values()):
            opened.unread = 0
            self._forget(opened)
        self._wake()

    def close(self) -> None:
        """End it, and withdraw what is open."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """The same for a client that takes nothing more."""
        if self._transport is not None:
            self._transport.abort()

    # What the client does

    def _began(self, event: events.RequestReceived) -> None:
        metadata = dict(event.headers)
        shared = self.shared
        try:
            method = shared.admit(metadata)
            opened = Opened(event.stream_id, method, metadata, self.client, shared.options.max_request)
        except CutwaterError as error:
            self._refuse(event.stream_id, error, ended=event.end_stream)
            return
        opened.call.way = _Way(self, opened)
        shared.calls += 1
        self.calls[event.stream_id] = opened
        if (remaining := opened.call.remaining()) is not None:
            opened.late = asyncio.get_running_loop().call_later(max(0.0, remaining), self._late, opened)
        if method.stream is not None:
            opened.task = asyncio.create_task(self._run(opened))
        if event.end_stream:
            self._complete(opened)

    def _greeted(self) -> None:
        self.greeted = True

    def _data(self, event: events.DataReceived) -> None:
        opened = self.calls.get(event.stream_id)
        if opened is None or opened.done is not None:
            self._http2.acknowledge_received_data(len(event.data), event.stream_id)
            return
        opened.unread += len(event.data)
        try:
            for message in opened.inbox.feed(event.data):
                self._message(opened, message)
            self._hold(opened)
        except CutwaterError as error:
            self.fail(opened, error)
            return
        if opened.method.stream is None or opened.inbox.held > STREAM_WINDOW // 2:
            self.acknowledge(opened)
        if event.end_stream:
            self._complete(opened)

    def _message(self, opened: Opened, message: Framed) -> None:
        if opened.method.stream is not None:
            opened.call.came(message)
        elif opened.message is not None:
            raise InputError("this method takes one message, and a second one came")
        else:
            opened.message = message

    def _trailers(self, event: events.TrailersReceived) -> None:
        opened = self.calls.get(event.stream_id)
        if opened is not None and opened.done is None:
            self._complete(opened)

    def _complete(self, opened: Opened) -> None:
        """The client says no more in this call."""
        opened.complete = True
        if opened.inbox.held:
            self.fail(opened, InputError("the call ends before its last message does"))
        elif opened.method.stream is not None:
            opened.call.came(None)
        elif opened.message is None:
            self.fail(opened, InputError("this method takes one message, and none came"))
        else:
            opened.task = asyncio.create_task(self._run(opened))

    def _gone(self, event: events.StreamReset | events.StreamClosed) -> None:
        if (opened := self.calls.get(event.stream_id)) is not None:
            self._forget(opened)

    # How calls end

    async def _run(self, opened: Opened) -> None:
        try:
            if opened.method.unary is not None:
                framed, opened.message = opened.message, None
                assert framed is not None
                message = await opened.call.way.unpacked(framed) if framed.packed else framed.message
                self._release(opened)
                self.say(opened, await opened.method.unary(message, opened.call))
            elif opened.method.stream is not None:
                await opened.method.stream(opened.call)
            self._finish(opened, OK + opened.call.told)
        except CutwaterError as error:
            self.fail(opened, error)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, others are served
            _log.exception("a call broke its handling")
            self.fail(opened, StageFailed(f"the gateway could not handle this request: {type(error).__name__}"))

    def _answerable(self, opened: Opened) -> bool:
        """Whether the client is there still, and was not told how the call ended."""
        return self.calls.get(opened.stream) is opened and opened.done is None and self._open()

    def say(self, opened: Opened, parts: Sequence[Buffer]) -> None:
        """Send one message."""
        if not self._answerable(opened):
            return
        with suppress(StreamProtocolError):  # the client has left the call, which the next event says
            if not opened.headed:
                opened.headed = True
                self._http2.send_response(opened.stream, HEAD)
            self._http2.send_data(opened.stream, b"".join((PREFIX.pack(0, sum(map(len, parts))), *parts)))
        if opened.method.stream is not None:
            self.flush()

    async def taken(self, opened: Opened) -> None:
        """Wait while the client leaves too much of a call's answers where it is."""
        while self.calls.get(opened.stream) is opened and self._http2.queued_body_size(opened.stream) > QUEUED:
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)

    def acknowledge(self, opened: Opened) -> None:
        """All that came of a call is read, and as much may follow."""
        if opened.unread:
            self._http2.acknowledge_received_data(opened.unread, opened.stream)
            opened.unread = 0

    def withdraw(self, fault: CutwaterError) -> None:
        """End all calls so."""
        for opened in tuple(self.calls.values()):
            self._cancel(opened, fault)

    def give_up(self, opened: Opened) -> None:
        """Take back what a client does not take."""
        with suppress(NGH2Error):  # it may be gone
            self._http2.reset_stream(opened.stream, ErrorCode.CANCEL)
        self.flush()

    def say_goodbye(self) -> None:
        """Take no calls in any more."""
        with suppress(NGH2Error):
            self._http2.send_goaway(ErrorCode.NO_ERROR)
        self.flush()

    def ask_for_a_word(self) -> None:
        """See whether anybody is there."""
        self.asked = clock()
        with suppress(NGH2Error):
            self._http2.ping()
        self.flush()

    def _late(self, opened: Opened) -> None:
        self._cancel(opened, DeadlineExceeded("no answer before the call's deadline"))

    def _cancel(self, opened: Opened, fault: CutwaterError) -> None:
        self.fail(opened, fault)
        if opened.task is not None:
            opened.task.cancel()

    def _finish(self, opened: Opened, trailers: Pairs) -> None:
        """What is sent with it may wait to be taken; a client that goes on to speak is told to stop."""
        if not self._answerable(opened):
            return
        opened.done = clock()
        self.acknowledge(opened)
        self._release(opened)
        with suppress(StreamProtocolError):  # the client has left the call, which the next event says
            if opened.headed:
                self._http2.send_trailers(opened.stream, trailers)
            else:
                self._http2.send_response(opened.stream, HEAD[:2] + trailers, end_stream=True)
            self.flush()
            if not opened.complete and opened.stream in self.calls and not self._http2.queued_body_size(opened.stream):
                self._http2.reset_stream(opened.stream, ErrorCode.NO_ERROR)
                self.flush()

    def fail(self, opened: Opened, error: CutwaterError) -> None:
        """End a call with an error."""
        self._finish(opened, trailers_of(error) + opened.call.told)

    def _refuse(self, stream: int, error: CutwaterError, ended: bool) -> None:
        self._http2.send_response(stream, HEAD[:2] + trailers_of(error), end_stream=True)
        if not ended:
            self.flush()
            self._http2.reset_stream(stream, ErrorCode.NO_ERROR)

    def _forget(self, opened: Opened) -> None:
        """Let go of a call, and withdraw what it asked for, where that is not answered."""
        if self.calls.pop(opened.stream, None) is None:
            return
        self.acknowledge(opened)
        self._release(opened)
        self.shared.calls -= 1
        self.idle_since = clock()
        if opened.late is not None:
            opened.late.cancel()
        if opened.task is not None and opened.task is not asyncio.current_task():
            opened.task.cancel()

    def _hold(self, opened: Opened) -> None:
        """Take room for what came of a message, and of messages that nobody has read."""
        now = opened.inbox.held + (len(opened.message.message) if opened.message is not None else 0)
        if now > opened.held:
            self.shared.room.take(now - opened.held)
        else:
            self.shared.room.held -= opened.held - now
        opened.held = now

    def _release(self, opened: Opened) -> None:
        self.shared.room.held -= opened.held
        opened.held = 0

    def _wake(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None


_TOLD: dict[type[Any], Callable[[Connection, Any], None]] = {
    events.RequestReceived: Connection._began,
    events.DataReceived: Connection._data,
    events.TrailersReceived: Connection._trailers,
    events.StreamReset: Connection._gone,
    events.StreamClosed: Connection._gone,
    events.SettingsReceived: lambda connection, event: connection._greeted(),
    events.WindowUpdated: lambda connection, event: connection._wake(),
}
