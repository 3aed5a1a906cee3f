"""GRPCInferenceService: which method is answered by whom, and what becomes of errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc

from cutwater.api.backend import Backend
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.infer import DOOR, Inference
from cutwater.api.grpc.messages import parse
from cutwater.api.grpc.models import Models
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.status import Context, abort
from cutwater.api.porch import Porch
from cutwater.errors import CutwaterError, StageFailed, Unsupported

SERVICE: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

INFER = f"/{SERVICE}/ModelInfer"

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
M = TypeVar("M")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Service(grpc.GenericRpcHandler):
    """Messages stay bytes until here, so that one which cannot be read is the client's fault, and is said so."""

    def __init__(self, backend: Backend, options: GrpcOptions, draining: asyncio.Event, porch: Porch) -> None:
        """``draining``: set once streams shall end; ``porch``: where requests are on their way in."""
        self._porch = porch
        inference, models = Inference(backend, options, draining, porch), Models(backend)
        found = {
            "ServerLive": _look(pb.ServerLiveRequest, models.live),
            "ServerReady": _look(pb.ServerReadyRequest, models.ready),
            "ModelReady": _look(pb.ModelReadyRequest, models.model_ready),
            "ServerMetadata": _look(pb.ServerMetadataRequest, models.server),
            "ModelMetadata": _look(pb.ModelMetadataRequest, models.metadata),
            "ModelConfig": _look(pb.ModelConfigRequest, models.config),
            "ModelStatistics": _look(pb.ModelStatisticsRequest, models.statistics),
            "RepositoryIndex": _look(pb.RepositoryIndexRequest, models.index),
            "RepositoryModelLoad": _look(pb.RepositoryModelLoadRequest, models.load),
            "RepositoryModelUnload": _look(pb.RepositoryModelUnloadRequest, models.unload),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(_guarded(inference.unary)),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(_streamed(inference.stream)),
        }
        self._methods = {f"/{SERVICE}/{name}": handler for name, handler in found.items()}
        self._missing = refusing(
            Unsupported("this extension of the protocol is not offered; send tensors in the request, without it")
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """See `grpc.GenericRpcHandler.service`."""
        method = handler_call_details.method
        found = self._methods.get(method)
        if method == INFER and (error := self._porch.closed(DOOR)) is not None:
            return refusing(error)  # the message is not read
        return self._missing if found is None and method.startswith(f"/{SERVICE}/") else found


def refusing(error: CutwaterError) -> Handler:
    """Whoever calls hears this, whether it is a stream or not."""

    async def refuse(_: Any, context: Context) -> None:
        await abort(context, error)

    return grpc.stream_stream_rpc_method_handler(refuse)


def _look(kind: Any, answer: Callable[[Any], Awaitable[Any]]) -> Handler:
    async def look(message: bytes, context: Context) -> bytes:
        found: bytes = (await answer(parse(kind, message))).SerializeToString()
        return found

    return grpc.unary_unary_rpc_method_handler(_guarded(look))


def _streamed(stream: Callable[[Context], Awaitable[None]]) -> Callable[[Any, Context], Awaitable[None]]:
    async def ignoring(_: Any, context: Context) -> None:
        await stream(context)

    return _guarded(ignoring)


def _guarded(answer: Callable[[M, Context], Awaitable[T]]) -> Callable[[M, Context], Awaitable[T]]:
    """Errors become the status of the call; those nobody foresaw are told of in the log, and not to clients."""

    async def guarded(message: M, context: Context) -> T:
        try:
            return await answer(message, context)
        except CutwaterError as error:
            await abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, others are served
            _log.exception("a call broke its handling")
            await abort(context, StageFailed(f"the gateway could not handle this request: {type(error).__name__}"))

    return guarded
