"""What goes back to an HTTP client: JSON, and errors as ``{"error": "..."}`` with their status."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Send

from cutwater.api.datatypes import Buffer
from cutwater.errors import CutwaterError, Refused, Unauthorised

JSON = "application/json"
Headers = list[tuple[bytes, bytes]]
WHOLE = "cutwater.whole"
"""Where the scope of a request has a `SendWhole`, if the server offers one."""
SendWhole = Callable[[Headers, Sequence[Buffer]], Awaitable[None]]
"""Sends status 200, headers and all of a body in one go, which spares the system and the client half of the work.
Returns when the client has taken nearly all of it."""

_encode = msgspec.json.Encoder().encode


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value msgspec can write."""
    return Response(_encode(value), status, headers, media_type=JSON)


def error_response(error: CutwaterError) -> Response:
    """See `headers_of`."""
    return json_response({"error": str(error)}, error.status, headers_of(error))


def headers_of(error: CutwaterError) -> dict[str, str]:
    """What a client can do about it: which kind of error it is, and when it may try again.

    ``Cutwater-Error`` is the kind's name in `cutwater.errors`; ``Retry-After`` comes with whatever was refused.
    """
    found = {"Cutwater-Error": error.kind}
    if isinstance(error, Refused) or error.retry_after:
        found["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthorised):
        found["WWW-Authenticate"] = 'Bearer realm="cutwater", Basic realm="cutwater"'
    return found


async def send_error(send: Send, error: CutwaterError) -> None:
    """The same without a Response, for whoever has none."""
    await send_json(send, {"error": str(error)}, error.status, headers_of(error))


async def send_json(send: Send, value: Any, status: int, headers: Mapping[str, str]) -> None:
    """One whole answer."""
    body = _encode(value)
    head: Headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
    head += [(name.lower().encode(), text.encode("latin-1")) for name, text in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
