"""The standard health service (grpc.health.v1), always in step: it looks whenever it is asked."""

import asyncio
from contextlib import suppress

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer

from cutwater.api.backend import Backend, Standing
from cutwater.api.grpc.service import SERVICE
from cutwater.api.grpc.status import Context, abort
from cutwater.errors import CutwaterError
from cutwater.units import Seconds

Status = health_pb2.HealthCheckResponse

NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
OPEN = (f"/{NAME}/Check", f"/{NAME}/Watch", f"/{SERVICE}/ServerLive")
"""What anybody may ask."""


class Health(HealthServicer):
    """A service is the gateway ("" or the inference service's name) or a model by its name."""

    def __init__(self, backend: Backend, interval: Seconds, draining: asyncio.Event) -> None:
        """Nobody watches yet.

        Args:
            backend: who is asked.
            interval: how often those who watch are told of changes.
            draining: set once they shall watch no more.
        """
        self._backend = backend
        self._draining = draining
        self._interval = interval

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Of one service, now."""
        try:
            return health_pb2.HealthCheckResponse(status=self._status(request.service))
        except CutwaterError as error:
            await abort(context, error)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Of one service, now and at each change until the server drains; SERVICE_UNKNOWN while nobody knows it."""
        told = None
        while not self._draining.is_set():
            try:
                now = self._status(request.service)
            except CutwaterError:
                now = Status.SERVICE_UNKNOWN
            if now != told:
                await context.write(health_pb2.HealthCheckResponse(status=now))
                told = now
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._draining.wait()
        if told != Status.NOT_SERVING:
            await context.write(health_pb2.HealthCheckResponse(status=Status.NOT_SERVING))

    def _status(self, service: str) -> int:
        if service in ("", SERVICE):
            serving = self._backend.ready
        else:
            serving = self._backend.model(service).standing is Standing.READY
        return Status.SERVING if serving else Status.NOT_SERVING
