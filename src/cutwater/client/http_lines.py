"""Lines: keep-alive connections to one HTTP/1.1 server, each with one request at a time.

Written on asyncio and httptools because a request then costs a third of the processor time that it costs with the
general clients, and because a request that is cancelled must end its connection: that is how the server hears of it.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import NamedTuple, cast

import httptools

from cutwater.errors import FrameError, InputError, LinkLost
from cutwater.wire.codecs.base import Buffer

JOINED = 32 * 1024
"""Bytes up to which copying buffers into one is cheaper than having the kernel gather them."""


class Response(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    """By name in small letters."""
    body: bytearray


class Stale(LinkLost):
    """The server had closed a kept connection before it could hear the request."""


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: str, largest: int) -> None:
        """``largest``: bytes of an answer that are accepted."""
        self.open = False
        self._server = server
        self._largest = largest
        self._used = False
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Response] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        """Nothing of the next response is here."""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._filled = 0
        self._heard = False

    async def ask(self, buffers: Sequence[Buffer]) -> Response:
        """The response to one request; being cancelled ends the connection.

        Raises:
            Stale: the server had closed it before.
            LinkLost: it closed it meanwhile.
            FrameError: what it says is no HTTP, or too much.
        """
        if self._transport is None:
            raise self._loss(None)
        self._reply = asyncio.get_running_loop().create_future()
        try:
            if sum(map(len, buffers)) <= JOINED:
                self._transport.write(b"".join(buffers))
            else:
                self._transport.writelines(buffers)
            return await self._reply
        except BaseException:
            self.close()
            raise
        finally:
            self._reply = None
            self._used = True

    def close(self) -> None:
        """End it at once."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._reply is None:
            self.close()  # nobody has asked for anything
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(
                cause if isinstance(cause, FrameError) else FrameError(f"{self._server} speaks no HTTP: {error}")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.open, self._transport = False, None
        self._fail(self._loss(exc))

    # httptools.HTTPProtocol

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has been read."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All have."""
        length = self._headers.get("content-length", "")
        if length.isdecimal():
            self._check(int(length))
            self._body = bytearray(int(length))

    def on_body(self, body: bytes) -> None:
        """A piece of the body has been read."""
        end = self._filled + len(body)
        if end > len(self._body):  # it comes in chunks, without a length
            self._check(end)
        self._body[self._filled : end] = body
        self._filled = end

    def on_message_complete(self) -> None:
        """The response is whole."""
        status = self._parser.get_status_code()
        if status < 200:  # more is to come
            self._headers = {}
            return
        self.open = self.open and self._parser.should_keep_alive()
        response = Response(status, self._headers, self._body)
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(response)
        if self.open:
            self._begin()
        else:
            self.close()

    def _loss(self, exc: Exception | None) -> LinkLost:
        how = f": {exc}" if exc is not None else ""
        kind = Stale if self._used and not self._heard else LinkLost
        return kind(f"{self._server} closed the connection before it had answered{how}")

    def _check(self, size: int) -> None:
        if size > self._largest:
            raise FrameError(f"{self._server} answers with {size} bytes; at most {self._largest} are accepted")

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)


class Lines:
    """All connections to one server."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, most: int, largest: int) -> None:
        """Nothing is connected yet. ``most``: connections at a time; who comes later waits for one to be free."""
        self.server = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"
        self._host, self._port, self._tls = host, port, tls
        self._largest = largest
        self._room = asyncio.Semaphore(most)
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._closed = False

    async def ask(self, buffers: Sequence[Buffer]) -> Response:
        """The response to one request, given as its bytes. Raises LinkLost, FrameError, InputError."""
        async with self._room:
            while True:
                line = self._kept() or await self._dial()
                if self._closed:
                    line.close()
                    raise LinkLost(f"the connections to {self.server} were closed")
                self._busy.add(line)
                try:
                    response = await line.ask(buffers)
                except Stale:
                    continue
                finally:
                    self._busy.discard(line)
                if line.open:
                    self._idle.append(line)
                return response

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        for line in (*self._idle, *self._busy):
            line.close()
        self._idle.clear()

    def _kept(self) -> Line | None:
        """The connection that was used last; those that the server has closed are forgotten."""
        while self._idle:
            line = self._idle.pop()
            if line.open:
                return line
        return None

    async def _dial(self) -> Line:
        loop = asyncio.get_running_loop()
        try:
            _, line = await loop.create_connection(
                lambda: Line(self.server, self._largest), self._host, self._port, ssl=self._tls
            )
        except ssl.SSLCertVerificationError as error:
            raise InputError(
                f"{self.server} shows a certificate that is not trusted: {error.verify_message}"
            ) from error
        except OSError as error:
            raise LinkLost(f"nobody answers at {self.server}: {error}") from error
        return line
