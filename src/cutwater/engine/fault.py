"""Fault: a typed error as a value, so that it can travel, be compared, and be raised where the request came from."""

from typing import Self

import msgspec

from cutwater import errors
from cutwater.errors import CutwaterError, StageFailed


class Fault(msgspec.Struct, frozen=True):
    """Why a request has no result."""

    kind: str
    """Name of the class in `cutwater.errors`."""
    message: str
    where: str
    """Who noticed: a StageId or "gateway"."""
    retryable: bool = False

    @classmethod
    def of(cls, error: CutwaterError, where: str) -> Self:
        """The fault that says what ``error`` says."""
        return cls(error.kind, str(error), where, error.retryable)

    def error(self) -> CutwaterError:
        """The exception to raise for it; a kind this version does not know becomes StageFailed."""
        found = getattr(errors, self.kind, None)
        known = isinstance(found, type) and issubclass(found, CutwaterError)
        return found(self.message) if known else StageFailed(f"{self.kind}: {self.message}")  # type: ignore[misc]
