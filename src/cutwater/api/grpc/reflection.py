"""Server reflection (grpc.reflection.v1 and v1alpha, which are alike): what can be called, for generic clients."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.call import Call
from cutwater.api.grpc.messages import parse
from cutwater.api.grpc.status import Code

_ALPHA: str = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
REFLECTIONS = (_ALPHA, _ALPHA.replace("v1alpha", "v1"))
"""Names under which it is asked."""

_Response = reflection_pb2.ServerReflectionResponse


class Reflection:
    """Answers from descriptors of its own; in the process's own pool a client's copies of them may lie."""

    def __init__(self, services: Sequence[str]) -> None:
        """``services``: those that are told of, besides itself."""
        self._services = (*services, _ALPHA)
        self._pool = DescriptorPool()
        for module in (pb, health_pb2, reflection_pb2):
            self._pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)

    async def stream(self, call: Call) -> None:
        """``ServerReflectionInfo``."""
        while (message := await call.read()) is not None:
            asked = parse(reflection_pb2.ServerReflectionRequest, message)
            found = self._answer(asked)
            found.original_request.CopyFrom(asked)
            await call.write(found.SerializeToString())

    def _answer(self, asked: Any) -> Any:
        if asked.HasField("list_services"):
            services = [reflection_pb2.ServiceResponse(name=name) for name in self._services]
            return _Response(list_services_response=reflection_pb2.ListServiceResponse(service=services))
        try:
            if asked.HasField("file_by_filename"):
                return _file(self._pool.FindFileByName(asked.file_by_filename))
            if asked.HasField("file_containing_symbol"):
                return _file(self._pool.FindFileContainingSymbol(asked.file_containing_symbol))
        except KeyError:
            return _error(Code.NOT_FOUND, "no such file or symbol")
        return _error(Code.NOT_FOUND, "there are no extensions")  # proto3 has none


def _file(file: FileDescriptor) -> Any:
    """None of them imports another."""
    found = reflection_pb2.FileDescriptorResponse(file_descriptor_proto=[file.serialized_pb])
    return _Response(file_descriptor_response=found)


def _error(code: Code, message: str) -> Any:
    return _Response(error_response=reflection_pb2.ErrorResponse(error_code=code, error_message=message))
