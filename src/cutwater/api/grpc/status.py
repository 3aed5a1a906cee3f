"""What goes back to a gRPC client that gets no answer: a status, and what it can do about it."""

from typing import Any, NoReturn, TypeAlias

import grpc

from cutwater.errors import CutwaterError, Refused, forgetful
from cutwater.units import Seconds

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

MESSAGE = 2000
"""Bytes of an error's message that are sent: it travels as a header, in which one that is not plain becomes three, and
clients take 8 KiB of those."""
AGAIN: Seconds = 1.0
"""When to try again, where whoever refused did not say."""

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: CutwaterError) -> grpc.StatusCode:
    """gRPC's word for an error's HTTP status."""
    return _CODES.get(error.status, grpc.StatusCode.INTERNAL)


def hints(error: CutwaterError) -> tuple[tuple[str, str], ...]:
    """Trailing metadata: the error's kind, as ``Cutwater-Error`` in HTTP, and when to try again.

    ``grpc-retry-pushback-ms`` is what clients with a retry policy obey (gRFC A6), ``retry-after`` is for people.
    """
    kind = ("cutwater-error", error.kind)
    if not isinstance(error, Refused) and not error.retry_after:
        return (kind,)
    wait = error.retry_after or AGAIN
    return kind, ("retry-after", f"{wait:.3f}"), ("grpc-retry-pushback-ms", str(round(wait * 1e3)))


async def abort(context: Context, error: CutwaterError) -> NoReturn:
    """End a call with it."""
    forgetful(error)
    await context.abort(code_of(error), message_of(error), hints(error))


def message_of(error: CutwaterError) -> str:
    """What is said of it."""
    return str(error).encode(errors="replace")[:MESSAGE].decode(errors="ignore")
