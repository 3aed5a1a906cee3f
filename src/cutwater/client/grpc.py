"""gRPC as a transport: the Open Inference Protocol with raw contents."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from cutwater.api.datatypes import datatype_named, datatype_of, from_bytes, to_bytes
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.client.access import Access
from cutwater.client.result import Listed, ModelInfo, TensorInfo
from cutwater.client.transport import Call, Glance, Prepared, Reply
from cutwater.client.words import error_of, level
from cutwater.errors import CutwaterError, FrameError, InputError, LinkLost, Unsupported
from cutwater.frameworks.base import Array
from cutwater.units import Seconds

SERVICE = "/inference.GRPCInferenceService/"
MARGIN: Seconds = 0.4
"""How much longer than the gateway a call waits, so that the gateway can say why there is no answer."""

_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 422,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""Code -> the HTTP status that says the same."""

T = TypeVar("T", bound=Message)
Answer = TypeVar("Answer")
Ask = Callable[..., "grpc.aio.UnaryUnaryCall[Any, Any]"]


class GrpcTransport:
    """See `Transport`. One HTTP/2 connection carries all requests."""

    def __init__(self, host: str, port: int, access: Access, *, secure: bool) -> None:
        """Nothing is connected yet. Raises InputError for a file of authorities that cannot be read."""
        self._server = f"grpc{'s' if secure else ''}://{host}:{port}"
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        options = [
            ("grpc.max_receive_message_length", access.largest),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),  # the client tries again by itself, and by its own rules
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(_read(access.ca)), options)
            if secure
            else grpc.aio.insecure_channel(target, options)
        )
        self._token = (("authorization", f"Bearer {access.token}"),) if access.token else ()
        self._asks: dict[str, Ask] = {}

    async def infer(self, call: Call) -> Reply:
        """See `Transport.infer`."""
        trace = (("traceparent", call.trace),) if call.trace else ()
        asked = self._call("ModelInfer", _request(call), pb.ModelInferResponse, call.timeout, trace)
        answer: pb.ModelInferResponse = await self._answer(asked)
        said = {str(key): value for key, value in (*await asked.initial_metadata(), *await asked.trailing_metadata())}
        return _reply(answer, said)

    def prepared(self, call: Call) -> Prepared:
        """See `Transport.prepared`."""
        request = _request(call).SerializeToString()
        ask: Ask = self._channel.unary_unary(SERVICE + "ModelInfer", None, None)
        trace = (("traceparent", call.trace),) if call.trace else ()

        async def send() -> Glance:
            asked = ask(request, timeout=call.timeout + MARGIN, metadata=(*self._token, *trace))
            await self._answer(asked)
            said = {
                str(key): value for key, value in (*await asked.initial_metadata(), *await asked.trailing_metadata())
            }
            degraded = _text(said, "cutwater-degraded") == "true"
            return Glance(_text(said, "cutwater-request"), degraded, _text(said, "server-timing"))

        return send

    async def ready(self) -> bool:
        """See `Transport.ready`."""
        answer = await self._ask("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
        return answer.ready

    async def models(self) -> list[Listed]:
        """See `Transport.models`."""
        answer = await self._ask("RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
        return [Listed(each.name, each.state, each.reason) for each in answer.models]

    async def model(self, name: str) -> ModelInfo:
        """See `Transport.model`."""
        found = await self._ask("ModelMetadata", pb.ModelMetadataRequest(name=name), pb.ModelMetadataResponse)
        versions = tuple(found.versions)
        return ModelInfo(found.name, _infos(found.inputs), _infos(found.outputs), versions, found.platform)

    async def look(self, task: str, picture: bytes, wishes: Mapping[str, str], id: str) -> bytes | bytearray:
        """See `Transport.look`."""
        raise Unsupported(f"gRPC has no {task}; ask by HTTP, or give `infer` the picture")

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._channel.close()

    async def _ask(self, method: str, asked: Message, kind: type[T]) -> T:
        return await self._answer(self._call(method, asked, kind))

    def _call(
        self,
        method: str,
        asked: Message,
        kind: type[T],
        timeout: Seconds | None = None,
        more: tuple[tuple[str, str], ...] = (),
    ) -> "grpc.aio.UnaryUnaryCall[Any, T]":
        ask = self._asks.get(method)
        if ask is None:
            # A serializer of the class itself: the stub's would look it up for each message.
            ask = self._asks[method] = self._channel.unary_unary(
                SERVICE + method, type(asked).SerializeToString, kind.FromString
            )
        return ask(asked, timeout=None if timeout is None else timeout + MARGIN, metadata=(*self._token, *more))

    async def _answer(self, call: "grpc.aio.UnaryUnaryCall[Any, Answer]") -> Answer:
        """Raises what the gateway answers instead; LinkLost where it says nothing about why."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from None
        except grpc.aio.UsageError as error:  # the channel had been closed
            raise LinkLost(f"the connection to {self._server} was closed") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # A channel that is closed says to its calls what only somebody who cancels their tasks should.
            raise LinkLost(f"the connection to {self._server} was closed") from error

    def _error(self, error: grpc.aio.AioRpcError) -> CutwaterError:
        said = {str(key): value for key, value in error.trailing_metadata() or ()}
        kind, after = _text(said, "cutwater-error"), _text(said, "retry-after")
        if error.code() is grpc.StatusCode.UNAVAILABLE and not kind:
            return LinkLost(f"nobody answers at {self._server}: {error.details()}")
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not kind:
            raise TimeoutError from error  # of this end, whose caller knows how long it has waited
        if error.code() is grpc.StatusCode.CANCELLED:
            return LinkLost(f"{self._server} gave the request up: {error.details()}")
        status = _STATUS.get(error.code(), 500)
        retry_after = float(after) if after.replace(".", "", 1).isdecimal() else 0.0
        return error_of(status, error.details() or "", kind=kind, retry_after=retry_after)


def _read(ca: str | Path | None) -> bytes | None:
    try:
        return None if ca is None else Path(ca).read_bytes()
    except OSError as error:
        raise InputError(f"ca: cannot read {ca}: {error.strerror}") from error


def _request(call: Call) -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest(model_name=call.model, id=call.id)
    asked.parameters["timeout"].int64_param = max(int(call.timeout * 1e6), 1)
    if call.priority:
        asked.parameters["priority"].int64_param = level(call.priority)
    for name, array in call.feeds.items():
        datatype = datatype_of("string" if array.dtype == object else array.dtype.name)
        asked.inputs.add(name=name, datatype=datatype.name, shape=array.shape)
        asked.raw_input_contents.append(bytes(to_bytes(datatype, array)))
    for name in call.outputs:
        asked.outputs.add(name=name)
    return asked


def _reply(answer: pb.ModelInferResponse, said: Mapping[str, str | bytes]) -> Reply:
    outputs: dict[str, Array] = {}
    try:
        for each, data in zip(answer.outputs, answer.raw_output_contents, strict=True):
            outputs[each.name] = from_bytes(each.name, datatype_named(each.datatype), tuple(each.shape), data)
    except (CutwaterError, ValueError) as error:
        raise FrameError(f"the gateway's answer cannot be read: {error}") from error
    degraded = _text(said, "cutwater-degraded") == "true"
    return Reply(outputs, _text(said, "cutwater-request"), degraded, _text(said, "traceparent"))


def _text(said: Mapping[str, str | bytes], name: str) -> str:
    found = said.get(name, "")
    return found if isinstance(found, str) else found.decode("latin-1")


def _infos(tensors: Any) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(each.name, each.datatype, tuple(each.shape)) for each in tensors)
