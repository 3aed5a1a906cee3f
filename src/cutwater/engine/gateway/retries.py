"""Retries: which failures send a request on its way again, and when it was the request itself that did the damage."""

import msgspec

from cutwater.engine.fault import Fault
from cutwater.units import RequestId

STRIKES = 3
"""Attempts that took down or hung a worker, after which a request is not tried again."""
KEPT = 100
"""How many of the newest quarantined requests are remembered."""
_FATAL = frozenset(("LinkLost", "WorkerLost"))


class Quarantine(msgspec.Struct, frozen=True):
    """A request that is not tried again."""

    request: RequestId
    faults: tuple[Fault, ...]
    """How each of its attempts that count against it ended."""

    @property
    def fault(self) -> Fault:
        """The request's answer."""
        last = self.faults[-1]
        message = f"{len(self.faults)} workers were lost while they had this request; the last time: {last.message}"
        return Fault("Quarantined", message, last.where)


def strikes(fault: Fault) -> bool:
    """Whether the request may be what took its worker down: it was there when the worker was lost.

    A request that was refused, or could not be handed on, has not been there.
    """
    return fault.kind in _FATAL
