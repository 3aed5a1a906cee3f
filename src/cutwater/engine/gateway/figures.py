"""GatewaySnapshot: the gateway in figures; and the Tally that counts them."""

from collections import deque

import msgspec

from cutwater.engine.gateway.retries import KEPT, Quarantine
from cutwater.wire.message import Address


class GatewaySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway in figures; counts are since it started."""

    queued: int = 0
    flying: int = 0
    epochs: dict[int, int] = {}
    """Epoch -> flights on its routes."""
    accepted: int = 0
    answered: int = 0
    degraded: int = 0
    """Of those answered, how many by the gateway's own copy of the model."""
    failed: int = 0
    dropped: int = 0
    """Of those failed, how many were refused while they waited: they were in vain, or had to make room."""
    refused: int = 0
    """Not accepted."""
    withdrawn: int = 0
    retried: int = 0
    """Attempts that ended without an answer and were followed by another."""
    late: int = 0
    """Answers to earlier attempts, or to requests that had ended; dropped."""
    quarantined: int = 0
    quarantine: tuple[Quarantine, ...] = ()
    """The newest of them, oldest first."""
    suspects: tuple[Address, ...] = ()
    """Workers no answer can be had from."""
    open: bool = False
    """A way other than the gateway's own can be taken."""


class Tally:
    """What has happened since the gateway started; the fields mean what those of `GatewaySnapshot` mean."""

    __slots__ = (
        "accepted", "answered", "degraded", "dropped", "failed", "late", "quarantine", "quarantined", "refused",
        "retried", "withdrawn",
    )  # fmt: skip

    def __init__(self) -> None:
        self.accepted = self.answered = self.degraded = self.failed = self.dropped = self.refused = 0
        self.withdrawn = self.retried = self.late = self.quarantined = 0
        self.quarantine: deque[Quarantine] = deque(maxlen=KEPT)

    @property
    def ended(self) -> int:
        """How many of those accepted are no longer here."""
        return self.answered + self.failed + self.withdrawn

    def snapshot(
        self, queued: int, flying: int, epochs: dict[int, int], suspects: tuple[Address, ...], *, open_: bool
    ) -> GatewaySnapshot:
        """These counts, and how it stands now."""
        return GatewaySnapshot(
            queued=queued,
            flying=flying,
            epochs=epochs,
            accepted=self.accepted,
            answered=self.answered,
            degraded=self.degraded,
            failed=self.failed,
            dropped=self.dropped,
            refused=self.refused,
            withdrawn=self.withdrawn,
            retried=self.retried,
            late=self.late,
            quarantined=self.quarantined,
            quarantine=tuple(self.quarantine),
            suspects=suspects,
            open=open_,
        )
