"""Fault: a typed error as a value, so that it can travel, be compared, and be raised where the request came from."""

from typing import Self

import msgspec

from cutwater import errors
from cutwater.errors import CutwaterError, StageFailed
from cutwater.units import Seconds


class Fault(msgspec.Struct, frozen=True):
    """Why a request has no result."""

    kind: str
    """Name of the class in `cutwater.errors`."""
    message: str
    where: str
    """Who noticed: a StageId or "gateway"."""
    retryable: bool = False
    retry_after: Seconds = 0.0
    """When asking again is likely to help; 0: not known."""

    @classmethod
    def of(cls, error: CutwaterError, where: str) -> Self:
        """The fault that says what ``error`` says."""
        return cls(error.kind, str(error), where, error.retryable, error.retry_after)

    def error(self) -> CutwaterError:
        """The exception to raise for it; a kind this version does not know becomes StageFailed."""
        found = getattr(errors, self.kind, None)
        known = isinstance(found, type) and issubclass(found, CutwaterError)
        error = found(self.message) if known else StageFailed(f"{self.kind}: {self.message}")  # type: ignore[misc]
        error.retry_after = self.retry_after
        return error
