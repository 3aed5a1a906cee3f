"""Where orchestrators ask: /healthz, whether the process lives, and /readyz, whether requests may be sent to it."""

from collections.abc import Callable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cutwater.api.backend import Backend


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What /readyz says; its status is 200 where ready, else 503."""

    ready: bool
    gateway: str
    reasons: tuple[str, ...]
    """Why it is not; empty: it is."""
    models: dict[str, str]
    """Model -> READY, or LOADING or UNAVAILABLE and why. They do not decide: another gateway would know no better."""


def health_routes(backend: Backend, reasons: Callable[[], Sequence[str]] = tuple) -> list[Route]:
    """Both. ``reasons``: why the backend is not ready, as far as is known; asked only where it is not."""

    async def healthz(request: Request) -> Response:
        return Response(b'{"alive":true}', media_type="application/json")

    async def readyz(request: Request) -> Response:
        readiness = readiness_of(backend, reasons)
        status = 200 if readiness.ready else 503
        return Response(msgspec.json.encode(readiness), status, media_type="application/json")

    return [
        Route("/healthz", healthz, methods=["GET"], name="healthz", include_in_schema=False),
        Route("/readyz", readyz, methods=["GET"], name="readyz", include_in_schema=False),
    ]


def readiness_of(backend: Backend, reasons: Callable[[], Sequence[str]]) -> Readiness:
    """How the gateway stands."""
    ready = backend.ready
    why = () if ready else tuple(reasons()) or ("the gateway takes no requests in; its log says why",)
    models = {
        card.name: f"{card.standing.value}: {card.why}" if card.why else card.standing.value
        for card in backend.models()
    }
    return Readiness(ready=ready, gateway=backend.name, reasons=why, models=models)
