"""What goes back to a gRPC client that gets no answer: a status, and what it can do about it."""

from enum import IntEnum
from urllib.parse import quote

from cutwater.errors import CutwaterError, Refused
from cutwater.units import Seconds

Pairs = list[tuple[bytes, bytes]]

MESSAGE = 2000
"""Characters of an error's message that are sent: it travels as a header, and clients take 8 KiB of those."""
AGAIN: Seconds = 1.0
"""When to try again, where whoever refused did not say."""


class Code(IntEnum):
    """gRPC's words for how a call ended."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    422: Code.FAILED_PRECONDITION,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def code_of(error: CutwaterError) -> Code:
    """gRPC's word for an error's HTTP status."""
    return _CODES.get(error.status, Code.INTERNAL)


def trailers_of(error: CutwaterError) -> Pairs:
    """The status, the error's kind as ``Cutwater-Error`` in HTTP, and when to try again.

    ``grpc-retry-pushback-ms`` is what clients with a retry policy obey (gRFC A6), ``retry-after`` is for people.
    """
    found = [
        (b"grpc-status", b"%d" % code_of(error)),
        (b"grpc-message", quote(str(error)[:MESSAGE], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()),
        (b"cutwater-error", error.kind.encode()),
    ]
    if isinstance(error, Refused) or error.retry_after:
        wait = error.retry_after or AGAIN
        found.append((b"retry-after", b"%.3f" % wait))
        found.append((b"grpc-retry-pushback-ms", b"%d" % round(wait * 1e3)))
    return found
