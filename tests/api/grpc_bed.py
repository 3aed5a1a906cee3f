"""A gRPC server on a free port of the loopback, and a loop in which it and the clients of a test module run."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
import uvloop
from google.protobuf.message import Message
from two_x import TwoX

from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.server import GrpcServer
from cutwater.api.where import Where

T = TypeVar("T")
LIMIT = 1024 * 1024
"""Bytes of a message in these tests."""


class Bed:
    """One server and its backend; what is asked of it runs in its loop."""

    def __init__(self, runner: asyncio.Runner, options: GrpcOptions) -> None:
        self._runner = runner
        self.backend = runner.run(_made())
        self.server = GrpcServer(self.backend, Where("127.0.0.1", 0), options)
        self.url = runner.run(self.server.start())

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(story, 20))

    def client(self) -> triton.InferenceServerClient:
        return triton.InferenceServerClient(self.url)

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.url, options=[("grpc.max_send_message_length", -1)])

    def infer(self, request: Message | bytes, **more: Any) -> pb.ModelInferResponse:
        """One ModelInfer with a message as it is."""
        return self.run(self._infer(request, **more))

    def refusal(self, request: Message | bytes, **more: Any) -> grpc.aio.AioRpcError:
        """The error of a ModelInfer, and a look whether others are still served."""
        try:
            found = self.infer(request, **more)
        except grpc.aio.AioRpcError as error:
            assert self.infer(two_x(1, 2, 3, 4)).raw_output_contents
            return error
        raise AssertionError(f"it was answered: {found}")

    async def _infer(self, request: Message | bytes, **more: Any) -> pb.ModelInferResponse:
        async with self.channel() as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            message = request if isinstance(request, bytes) else request.SerializeToString()
            return pb.ModelInferResponse.FromString(await call(message, **more))


async def _made() -> TwoX:
    return TwoX()


@contextmanager
def serving(options: GrpcOptions) -> Iterator[Bed]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        bed = Bed(runner, options)
        try:
            yield bed
        finally:
            runner.run(bed.server.stop(0))


def two_x(*values: float, model: str = "two_float32") -> pb.ModelInferRequest:
    """A request with one raw input."""
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[1, len(values)])
    request.raw_input_contents.append(np.array(values, np.float32).tobytes())
    return request


def fp32(*values: float, shape: tuple[int, ...] | None = None) -> triton.InferInput:
    array = np.array(values, np.float32).reshape(shape or (1, len(values)))
    return triton.InferInput("x", list(array.shape), "FP32").set_data_from_numpy(array)
