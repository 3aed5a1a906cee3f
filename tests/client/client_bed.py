"""A gateway's public interface on a backend that computes y = 2x, in a thread of its own."""

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from native_door import NativeServer
from two_x import TwoX

from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.server import GrpcServer
from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.http.tasks import task_routes
from cutwater.api.where import parse_where

T = TypeVar("T")


class Gateway:
    """Serves until the test is over; may be ended and begun again at the same port."""

    def __init__(
        self,
        door: str = "http",
        token: str = "",
        backend: TwoX | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.certificate = certificate
        self.door = door
        self.token = token
        self.backend = backend or TwoX()
        self.url = ""
        self._where = "127.0.0.1:0"
        self._server: HttpServer | GrpcServer | NativeServer | None = None
        self._loop = uvloop.new_event_loop()  # as a gateway's
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway")
        self._thread.start()
        self.begin()

    def begin(self) -> None:
        makers = {"http": self._http, "grpc": self._grpc, "native": self._native}
        server = self._server = makers[self.door]()
        self._where = self.run(server.start()).rpartition("/")[2]
        scheme = "tcp:" if self.door == "native" else f"{self.door}{'s' if self.certificate else ''}://"
        self.url = scheme + self._where

    def _native(self) -> NativeServer:
        return NativeServer(self.backend, self._where)

    def _http(self) -> HttpServer:
        tls = None
        if self.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*self.certificate)
        options = HttpOptions(token=self.token)
        app = make_app(self.backend, options, task_routes(self.backend, options))
        return HttpServer(app, parse_where("where", self._where), options, tls)

    def _grpc(self) -> GrpcServer:
        certificate, key = self.certificate or (None, None)
        options = GrpcOptions(token=self.token, certificate=certificate, key=key)
        return GrpcServer(self.backend, parse_where("where", self._where), options)

    def end(self, grace: float = 0.0) -> None:
        """Without grace, requests under way are cut off."""
        assert self._server is not None
        self.run(self._server.stop(grace))

    @property
    def connections(self) -> int:
        assert isinstance(self._server, HttpServer)
        return self._server.connections

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work).result(10)

    def named(self, *ids: str) -> set[str]:
        """What requests of these names are called here; a native link carries no names."""
        return {""} if self.door == "native" else set(ids)

    def withdrawn(self, id: str) -> Coroutine[Any, Any, None]:
        """When the request of that name was withdrawn."""
        return self.backend.until_withdrawn(*self.named(id))

    def release(self) -> None:
        """Let the model "slow" answer."""
        self._loop.call_soon_threadsafe(self.backend.slow.set)

    def close(self) -> None:
        self.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
