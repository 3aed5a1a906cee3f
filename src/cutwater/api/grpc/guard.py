"""Who may call: whoever shows the token."""

import hmac
from collections.abc import Awaitable, Callable

import grpc

from cutwater.api.grpc.health import OPEN
from cutwater.api.grpc.service import Handler, refusing
from cutwater.errors import Unauthorised


class Guard(grpc.aio.ServerInterceptor):
    """Decides from a call's metadata alone."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._refusal = refusing(
            Unauthorised("this gateway wants its token: send the metadata 'authorization: Bearer TOKEN'")
        )

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """See `grpc.aio.ServerInterceptor`."""
        if handler_call_details.method in OPEN or self._shown(handler_call_details):
            return await continuation(handler_call_details)
        return self._refusal

    def _shown(self, details: grpc.HandlerCallDetails) -> bool:
        for key, value in details.invocation_metadata or ():
            if key == "authorization":
                kind, _, shown = (value.encode() if isinstance(value, str) else value).partition(b" ")
                return kind.lower() == b"bearer" and hmac.compare_digest(shown.strip(), self._token)
        return False
