"""Service: which method is answered by whom, and who may call it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cutwater.api.backend import Backend
from cutwater.api.datatypes import Buffer
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.call import Call, Method
from cutwater.api.grpc.health import HEALTH, Health
from cutwater.api.grpc.infer import Inference
from cutwater.api.grpc.messages import parse
from cutwater.api.grpc.models import Models
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.reflection import REFLECTIONS, Reflection
from cutwater.api.http.body import Room
from cutwater.errors import Unauthorised, Unsupported

SERVICE: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
OPEN = (f"/{HEALTH}/Check", f"/{HEALTH}/Watch", f"/{SERVICE}/ServerLive")
"""What anybody may ask."""


class Service:
    """All methods."""

    def __init__(self, backend: Backend, options: GrpcOptions, room: Room) -> None:
        inference, models = Inference(backend, options, room), Models(backend)
        health = Health(backend, (SERVICE,), options.health_interval)
        reflect = Method(stream=Reflection((SERVICE, HEALTH)).stream)
        self._token = options.token.encode()
        self._methods = {
            f"/{SERVICE}/ModelInfer": Method(unary=inference.unary),
            f"/{SERVICE}/ModelStreamInfer": Method(stream=inference.stream),
            f"/{SERVICE}/ServerLive": _look(pb.ServerLiveRequest, models.live),
            f"/{SERVICE}/ServerReady": _look(pb.ServerReadyRequest, models.ready),
            f"/{SERVICE}/ModelReady": _look(pb.ModelReadyRequest, models.model_ready),
            f"/{SERVICE}/ServerMetadata": _look(pb.ServerMetadataRequest, models.server),
            f"/{SERVICE}/ModelMetadata": _look(pb.ModelMetadataRequest, models.metadata),
            f"/{SERVICE}/ModelConfig": _look(pb.ModelConfigRequest, models.config),
            f"/{SERVICE}/ModelStatistics": _look(pb.ModelStatisticsRequest, models.statistics),
            f"/{SERVICE}/RepositoryIndex": _look(pb.RepositoryIndexRequest, models.index),
            f"/{SERVICE}/RepositoryModelLoad": _look(pb.RepositoryModelLoadRequest, models.load),
            f"/{SERVICE}/RepositoryModelUnload": _look(pb.RepositoryModelUnloadRequest, models.unload),
            f"/{HEALTH}/Check": Method(unary=health.check),
            f"/{HEALTH}/Watch": Method(stream=health.watch),
            **{f"/{name}/ServerReflectionInfo": reflect for name in REFLECTIONS},
        }

    def route(self, path: str, metadata: Mapping[bytes, bytes]) -> Method:
        """Who answers a call. Raises Unauthorised or Unsupported."""
        if self._token and path not in OPEN:
            kind, _, shown = metadata.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), self._token):
                raise Unauthorised("this gateway wants its token: send the metadata 'authorization: Bearer TOKEN'")
        method = self._methods.get(path)
        if method is None:
            raise Unsupported(f"{path[:200]!r} is not offered here; tensors are sent in the request")
        return method


def _look(kind: Any, answer: Callable[[Any], Awaitable[Any]]) -> Method:
    async def look(message: bytes, call: Call) -> Sequence[Buffer]:
        return [(await answer(parse(kind, message))).SerializeToString()]

    return Method(unary=look)
