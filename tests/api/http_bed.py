"""A server on a free port of the loopback: in the loop of a test, or in a thread for clients that block."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import msgspec
import uvloop
from two_x import TwoX

from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.where import Where

Story = Callable[["Bed"], Awaitable[None]]


class Bed:
    """One server and its backend."""

    def __init__(self, backend: TwoX, server: HttpServer, url: str, http: aiohttp.ClientSession) -> None:
        self.backend = backend
        self.server = server
        self.url = url
        self.http = http
        self.port = int(url.rpartition(":")[2])

    async def ask(
        self, path: str, body: Any = None, *, method: str = "", headers: dict[str, str] | None = None
    ) -> "Said":
        """``body``: bytes as they are; anything else as JSON; None: there is none."""
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        verb = method or ("GET" if body is None else "POST")
        async with self.http.request(verb, f"{self.url}{path}", data=data, headers=headers) as answer:
            return Said(answer.status, answer.headers.copy(), await answer.read())

    async def infer(
        self, model: str, *inputs: dict[str, Any], headers: dict[str, str] | None = None, **more: Any
    ) -> "Said":
        """With all inputs in JSON."""
        return await self.ask(f"/v2/models/{model}/infer", {"inputs": inputs, **more}, headers=headers)

    async def send(self, model: str, request: dict[str, Any], *tensors: bytes, **headers: str) -> "Said":
        """With inputs in binary behind the JSON."""
        head = msgspec.json.encode(request)
        said = {"Inference-Header-Content-Length": str(len(head)), **headers}
        return await self.ask(f"/v2/models/{model}/infer", b"".join((head, *tensors)), headers=said)

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of one's own."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def well(self) -> None:
        """The server answers others."""
        assert (await self.infer("two_int32", number([1, 2, 3, 4], "INT32"))).json["outputs"][0]["data"] == [2, 4, 6, 8]


class Said(msgspec.Struct):
    """An answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])

    def binary(self) -> tuple[Any, bytes]:
        """The JSON and what is behind it."""
        length = int(self.headers["Inference-Header-Content-Length"])
        return msgspec.json.decode(self.body[:length]), self.body[length:]


def number(data: list[Any], datatype: str = "FP32", name: str = "x", shape: list[int] | None = None) -> dict[str, Any]:
    """An input in JSON, of one row."""
    return {"name": name, "shape": shape or [1, len(data)], "datatype": datatype, "data": data}


@asynccontextmanager
async def serving(options: HttpOptions | None = None) -> AsyncIterator[Bed]:
    options = options or HttpOptions()
    backend = TwoX()
    server = HttpServer(make_app(backend, options), Where("127.0.0.1", 0), options)
    url = await server.start()
    try:
        plain = aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"])
        async with plain as http:
            yield Bed(backend, server, url, http)
    finally:
        await server.stop(1.0)


def on_bed(story: Story, options: HttpOptions | None = None, limit: float = 20.0) -> None:
    """Tell a story in a loop of its own."""

    async def told() -> None:
        async with asyncio.timeout(limit), serving(options) as bed:
            await story(bed)

    uvloop.run(told())


class Threaded:
    """A server in a thread."""

    def __init__(self, bed: Bed, loop: asyncio.AbstractEventLoop) -> None:
        self.backend = bed.backend
        self.url = bed.url
        self.address = bed.url.removeprefix("http://")
        self._loop = loop

    def do(self, work: Coroutine[Any, Any, Any], limit: float = 10.0) -> Any:
        """Something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit)

    async def release(self) -> None:
        """Let the model "slow" answer."""
        self.backend.slow.set()


@contextmanager
def threaded() -> Iterator[Threaded]:
    begun: list[Threaded] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serving() as bed:
            begun.append(Threaded(bed, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: uvloop.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield begun[0]
    finally:
        begun[0]._loop.call_soon_threadsafe(stop.set)
        thread.join(10)
