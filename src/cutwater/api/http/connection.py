"""Connection: uvicorn's connection with patience that ends: for headers, for bodies, for readers, for the idle."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from cutwater.api.datatypes import Buffer
from cutwater.api.http.answers import WHOLE, Headers
from cutwater.api.http.app import TASK
from cutwater.api.http.options import HttpOptions
from cutwater.units import Seconds

JOIN = 64 * 2**10
"""Bytes up to which parts of an answer are copied into one; larger ones are sent from where they lie."""


class Phase(IntEnum):
    """What a connection is waited for."""

    IDLE = 0
    """Between requests."""
    HEAD = 1
    """Some of the headers are here."""
    BODY = 2
    """Some of the body is."""
    BUSY = 3
    """Nothing: the request is here, and it is the client who waits."""


class HeadTooLarge(Exception):
    """Raised through the parser, which ends."""


class Connection(HttpToolsProtocol):
    """One client's. A client that hangs up takes the request with it whose answer it does not wait for."""

    def __init__(self, config: Config, state: ServerState, options: HttpOptions, lost: Callable[[], None]) -> None:
        """``lost`` is told when it has ended."""
        super().__init__(config, state, {})
        self._options = options
        self._lost = lost
        self._phase = Phase.IDLE
        self._since: Seconds = self.loop.time()
        self._came = 0
        """Bytes since the phase began."""
        self._unread = 0
        self._unread_since: Seconds = 0.0
        self._problem = (400, "this is not HTTP")

    # What uvicorn's connection is told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        super().connection_made(cast(asyncio.Transport, transport))
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if len(self.connections) > self._options.connections:
            self.refuse(503, f"{self._options.connections} connections are open, and more are not taken")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        cycle = self.cycle
        super().connection_lost(exc)
        if cycle is not None and not cycle.response_complete:
            task = cycle.scope.get(TASK)
            if isinstance(task, asyncio.Task):
                task.cancel()
        self._lost()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._came += len(data)
        super().data_received(data)
        if self._phase is Phase.HEAD and self._came > self._options.max_head and not self.transport.is_closing():
            self.refuse(*self._head_too_large())

    def on_headers_complete(self) -> None:
        """See httptools."""
        if self._came > self._options.max_head:
            head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if head > self._options.max_head:
                self._problem = self._head_too_large()
                raise HeadTooLarge
        self._enter(Phase.BODY)
        super().on_headers_complete()
        scope: Any = self.scope
        scope[WHOLE] = partial(self._send_whole, self.cycle)

    def on_message_complete(self) -> None:
        """See httptools."""
        self._phase = Phase.BUSY
        super().on_message_complete()
        if self.cycle.response_complete:
            self._enter(Phase.IDLE)

    def on_response_complete(self) -> None:
        """See uvicorn."""
        if self._phase is Phase.BUSY and not self.pipeline:
            self._enter(Phase.IDLE)
            if not self.transport.is_closing():  # `look` ends it when it has been idle for long: no timer each time
                self.flow.resume_reading()
        else:
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """See uvicorn."""
        self.refuse(*self._problem)

    async def _send_whole(self, cycle: RequestResponseCycle, headers: Headers, parts: Sequence[Buffer]) -> None:
        """See `SendWhole`."""
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if self.transport.is_closing():  # `connection_lost` is about to be told so
            cycle.disconnected = True
        if cycle.disconnected:
            return
        lines = [STATUS_LINE[200]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if sum(map(len, parts)) <= JOIN:
            self.transport.write(b"".join((*lines, *parts)))
        else:
            self.transport.writelines([b"".join(lines), *parts])
        cycle.response_started = True
        if self.flow.write_paused:  # what waits for its reader is held
            await self.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    # Patience

    def look(self, now: Seconds) -> None:
        """End it where patience has. Called once in a while."""
        options, waited = self._options, now - self._since
        if self.transport.is_closing() and not self._reads(now):
            self.transport.abort()
        elif self._phase is Phase.IDLE and waited > options.idle_time:
            self.transport.close()
        elif self._phase is Phase.HEAD and waited > options.head_time:
            self.refuse(408, f"the headers were not here after {options.head_time:g} s")
        elif self._phase is Phase.BODY and self.flow.read_paused:
            self._enter(Phase.BODY)
        elif self._phase is Phase.BODY and waited > options.body_time + self._came / options.body_rate:
            self.refuse(408, f"the body came slower than {options.body_rate:g} bytes a second")
        elif not self._reads(now):
            self.transport.abort()

    def _reads(self, now: Seconds) -> bool:
        """Whether the client takes what it is sent."""
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread:
            self._unread, self._unread_since = unread, now
        return now - self._unread_since <= self._options.write_time

    def refuse(self, status: int, why: str) -> None:
        """Say why, and hang up."""
        body = msgspec.json.encode({"error": why})
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

    def _head_too_large(self) -> tuple[int, str]:
        return 431, f"the request's line and headers are over {self._options.max_head} bytes"

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = self.loop.time()
        self._came = 0
