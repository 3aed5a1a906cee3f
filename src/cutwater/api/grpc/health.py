"""The standard health service (grpc.health.v1), always in step: it looks whenever it is asked."""

import asyncio
from collections.abc import Sequence

from grpc_health.v1 import health_pb2

from cutwater.api.backend import Backend, Standing
from cutwater.api.datatypes import Buffer
from cutwater.api.grpc.call import Call
from cutwater.api.grpc.messages import parse
from cutwater.errors import CutwaterError
from cutwater.units import Seconds

HEALTH: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_Response = health_pb2.HealthCheckResponse


class Health:
    """A service is the gateway, by no name or that of its inference service, or a model by its own."""

    def __init__(self, backend: Backend, names: Sequence[str], interval: Seconds) -> None:
        """``interval``: how often those who watch are told of changes."""
        self._backend = backend
        self._names = ("", *names)
        self._interval = interval

    async def check(self, message: bytes, call: Call) -> Sequence[Buffer]:
        """Of one service, now. Raises NotFound."""
        service = parse(health_pb2.HealthCheckRequest, message).service
        return [_Response(status=self._status(service)).SerializeToString()]

    async def watch(self, call: Call) -> None:
        """Of one service, now and at each change; SERVICE_UNKNOWN while nobody knows it."""
        service = parse(health_pb2.HealthCheckRequest, await call.read() or b"").service
        told = None
        while True:
            try:
                now = self._status(service)
            except CutwaterError:
                now = _Response.SERVICE_UNKNOWN
            if now != told:
                await call.write(_Response(status=now).SerializeToString())
                told = now
            await asyncio.sleep(self._interval)

    def _status(self, service: str) -> int:
        if service in self._names:
            serving = self._backend.ready
        else:
            serving = self._backend.model(service).standing is Standing.READY
        return _Response.SERVING if serving else _Response.NOT_SERVING
