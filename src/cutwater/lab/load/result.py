"""Result: what came of a request."""

from enum import StrEnum

from cutwater.errors import CutwaterError, DeadlineExceeded, LinkLost, Refused


class Result(StrEnum):
    """What came of a request."""

    ANSWERED = "answered"
    DEGRADED = "degraded"
    """Answered, by the gateway itself."""
    WRONG = "wrong"
    """Answered, but not as the uncut model does."""
    FAILED = "failed"
    """A typed error."""
    REFUSED = "refused"
    """Not accepted at the door."""
    LOST = "lost"
    """Nobody has said anything."""
    UNSENT = "unsent"
    """Given up when it was due: more were open than may be."""
    OPEN = "open"
    """Not ended."""


GOOD = frozenset({Result.ANSWERED, Result.DEGRADED})


def ended_by(error: CutwaterError) -> Result:
    """The result of a request that ended with ``error``."""
    if isinstance(error, Refused):
        return Result.REFUSED
    # Without a link, or with a link that says nothing, nobody has said what became of the request.
    silent = isinstance(error, DeadlineExceeded) and isinstance(error.__cause__, TimeoutError)
    return Result.LOST if silent or isinstance(error, LinkLost) else Result.FAILED
