"""GrpcServer: the Open Inference Protocol over gRPC, in the running event loop."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from cutwater.api.backend import Backend
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.guard import Guard
from cutwater.api.grpc.health import NAME, Health
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.service import SERVICE, Service
from cutwater.api.porch import Porch
from cutwater.api.where import Where, claim
from cutwater.errors import BadSetting
from cutwater.units import Seconds

TRIES = 3
"""Of a port that somebody else took between its being found free and its being listened on."""

_log = logging.getLogger(__name__)


class GrpcServer:
    """Inference, health and reflection at one address."""

    def __init__(self, backend: Backend, where: Where, options: GrpcOptions, porch: Porch | None = None) -> None:
        """``porch``: where requests are on their way in; none: one of its own."""
        self._backend = backend
        self._porch = porch or Porch(backend)
        self._where = where
        self._options = options
        self._server: grpc.aio.Server | None = None
        self._draining = asyncio.Event()

    async def start(self) -> str:
        """Take calls in, once; returns "host:port", with the port it has. Raises BadSetting where none is free."""
        assert self._server is None, "a server is started once"
        options = self._options
        server = self._server = grpc.aio.server(
            interceptors=[Guard(options.token)] if options.token else [],
            options=list(_channel_options(options)),
            maximum_concurrent_rpcs=options.calls,
        )
        server.add_generic_rpc_handlers((Service(self._backend, options, self._draining, self._porch),))
        health = Health(self._backend, options.health_interval, self._draining)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        reflection.enable_server_reflection((SERVICE, NAME, reflection.SERVICE_NAME), server, pool=_pool())
        address = self._listen(server)
        await server.start()
        return address

    async def stop(self, grace: Seconds) -> None:
        """Take nothing in any more; what is under way has so long to end, and is withdrawn then.

        Streams and those who watch its health are sent away at once, or would keep it for as long as they like.
        """
        self._draining.set()
        if self._server is not None:
            await self._server.stop(grace)

    def _listen(self, server: grpc.aio.Server) -> str:
        credentials = _credentials(self._options)
        for _ in range(TRIES):
            # gRPC says of a port that is taken only that it failed, and does so on standard error.
            with claim("gateway.grpc", self._where) as free:
                port = free.getsockname()[1]
            host = f"[{self._where.host}]" if ":" in self._where.host else self._where.host
            try:
                if credentials is None:
                    server.add_insecure_port(f"{host}:{port}")
                else:
                    server.add_secure_port(f"{host}:{port}", credentials)
            except RuntimeError as error:
                _log.warning("port %d was free, and is not any more: %s", port, error)
                continue
            return f"{host}:{port}"
        raise BadSetting(f"gateway.grpc: cannot listen on {self._where.host}:{self._where.port}; choose another port")


def _channel_options(options: GrpcOptions) -> Iterator[tuple[str, int]]:
    yield "grpc.so_reuseport", 0  # or two gateways could take one port, and each half of the calls
    yield "grpc.max_receive_message_length", options.max_request
    yield "grpc.max_send_message_length", -1
    yield "grpc.max_connection_idle_ms", round(options.idle_time * 1e3)
    yield "grpc.keepalive_time_ms", round(options.silence * 1e3)
    yield "grpc.keepalive_timeout_ms", round(options.patience * 1e3)
    yield "grpc.keepalive_permit_without_calls", 1
    yield "grpc.http2.min_ping_interval_without_data_ms", round(options.ping_interval * 1e3)
    yield "grpc.http2.max_pings_without_data", 0


def _credentials(options: GrpcOptions) -> grpc.ServerCredentials | None:
    if options.certificate is None or options.key is None:
        return None
    authority = _content(options.authority) if options.authority is not None else None
    pair = _content(options.key), _content(options.certificate)
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadSetting(f"gateway.grpc: {file} cannot be read: {error.strerror}") from error


def _pool() -> DescriptorPool:
    """What reflection tells of; not the process's own pool, in which a client's copies of these files may lie."""
    pool = DescriptorPool()
    for module in (pb, health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool
