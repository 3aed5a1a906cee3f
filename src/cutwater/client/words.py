"""The protocol's words, back to the client's own: errors by their kind or status, priorities, JSON."""

from typing import TypeVar

import msgspec

from cutwater import errors
from cutwater.api.requests import ORDINARY_LEVEL
from cutwater.engine.fault import Fault
from cutwater.errors import (
    BadTensor,
    Conflict,
    CutwaterError,
    DeadlineExceeded,
    Forbidden,
    FrameError,
    NotFound,
    Quarantined,
    Refused,
    StageFailed,
    TooLarge,
    Unauthorised,
    Unsupported,
)
from cutwater.units import Seconds

T = TypeVar("T")
_OF_STATUS: dict[int, type[CutwaterError]] = {
    400: BadTensor,
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    405: Unsupported,
    408: DeadlineExceeded,
    409: Conflict,
    413: TooLarge,
    415: Unsupported,
    422: Quarantined,
    429: Refused,
    501: Unsupported,
    502: Refused,
    503: Refused,
    504: DeadlineExceeded,
}
"""HTTP status -> error, where the server does not name its kind: it, or whatever stands before it, is no Cutwater."""


def error_of(status: int, message: str, *, kind: str = "", retry_after: Seconds = 0.0) -> CutwaterError:
    """The error a gateway means.

    Args:
        status: The HTTP status, or the one that fits a gRPC code.
        message: What it says; "did you mean" and all.
        kind: Name of the class in `cutwater.errors`; empty where it was not told.
        retry_after: When asking again is likely to help; 0: not known.
    """
    if not isinstance(getattr(errors, kind, None), type):
        kind = _OF_STATUS.get(status, StageFailed).__name__
    return Fault(
        kind, message or f"the server answered with status {status}", "gateway", retry_after=retry_after
    ).error()


def read_json(data: bytes | bytearray, kind: type[T]) -> T:
    """A gateway's answer in JSON. Raises FrameError for anything else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise FrameError(f"the gateway's answer cannot be read: {error}") from error


def level(priority: int) -> int:
    """The protocol's level, of which 1 is the highest, for a priority of which more is sooner and 0 ordinary."""
    return max(ORDINARY_LEVEL - priority, 1)
