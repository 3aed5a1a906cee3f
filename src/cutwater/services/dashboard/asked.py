"""What a page sends: only from this very page, in bounds, and in words that are known."""

from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from cutwater.errors import BadSetting, Forbidden, InputError

LARGEST = 2**16
"""Bytes of what a page may send here; pictures go to the models' own addresses."""


def check_origin(request: Request) -> None:
    """Whether it comes from this very page, so that no other site can act in a reader's name. Raises Forbidden."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("another site may not change anything here")
    if origin is not None and urlsplit(origin).netloc != host:
        raise Forbidden(f"{origin} may not change anything here")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadSetting("what is sent here must be JSON, with the content-type application/json")


async def read_body(request: Request, kind: type[Any]) -> Any:
    """What was sent, as ``kind``. Raises InputError."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST:
            raise InputError(f"at most {LARGEST} bytes are read here")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"that cannot be read: {error}") from error
