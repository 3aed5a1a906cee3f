"""What a refused request has brought is let go with the answer: at ten times the capacity most of them are refused."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from http_bed import Bed, number
from two_x import TwoX

from cutwater.api.backend import Answered, Ask
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.server import GrpcServer
from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.where import Where
from cutwater.errors import CutwaterError, Refused
from cutwater.services.front.repeats import Repeats

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


class Full(TwoX):
    """Refuses everybody, as a gateway does: what came of a request is a value before it is raised."""

    def __init__(self) -> None:
        super().__init__()
        self.repeats = Repeats(asyncio.get_running_loop().time)
        self.brought: list[weakref.ref[Any]] = []

    async def infer(self, ask: Ask) -> Answered:
        self.brought.append(weakref.ref(ask.feeds["x"]))
        return await self.repeats.once(ask, self._refuse)

    async def _refuse(self, ask: Ask) -> Answered:
        await asyncio.sleep(0)
        found: CutwaterError = Refused("the queue is full")
        raise found  # its traceback has this frame, and this frame has it

    @property
    def held(self) -> int:
        return sum(brought() is not None for brought in self.brought)


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def told(story: Callable[[Full], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(20):
            backend = Full()
            await story(backend)
            assert len(backend.brought) == 10 and backend.held == 0

    asyncio.run(in_time())


@pytest.mark.parametrize("id", ["", "again-{}"])
def test_by_http(id: str) -> None:
    async def story(backend: Full) -> None:
        import aiohttp

        server = HttpServer(make_app(backend, HttpOptions()), Where("127.0.0.1", 0), HttpOptions())
        url = await server.start()
        async with aiohttp.ClientSession() as http:
            bed = Bed(backend, server, url, http)
            for k in range(10):
                said = await bed.infer("two_float32", number([1, 2, 3, 4]), id=id.format(k))
                assert said.status == 503
        await server.stop(1.0)

    told(story)


@pytest.mark.parametrize("id", ["", "again-{}"])
@pytest.mark.parametrize("streamed", [False, True])
def test_by_grpc(id: str, *, streamed: bool) -> None:
    async def story(backend: Full) -> None:
        from cutwater.api.grpc import inference_pb2 as pb

        server = GrpcServer(backend, Where("127.0.0.1", 0), GrpcOptions())
        raw = np.ones(4, np.float32).tobytes()
        requests = [
            pb.ModelInferRequest(model_name="two_float32", id=id.format(k), raw_input_contents=[raw]) for k in range(10)
        ]
        async with grpc.aio.insecure_channel(await server.start()) as channel:
            for request in requests:
                request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
            if streamed:
                call = channel.stream_stream(STREAM)(each.SerializeToString() for each in requests)
                assert [b"queue is full" in answer async for answer in call] == [True] * 10
            else:
                for request in requests:
                    with pytest.raises(grpc.aio.AioRpcError, match="queue is full"):
                        await channel.unary_unary(INFER)(request.SerializeToString())
        await server.stop(0)

    told(story)
