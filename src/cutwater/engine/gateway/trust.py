"""Worker: what the gateway knows of one worker: how much it has to do, how fast it is, and whether it is trusted."""

from cutwater.engine.backoff import BackOff
from cutwater.engine.lives import TRUST_LIFE, Trust, TrustStep, step
from cutwater.units import NodeId, Seconds
from cutwater.wire.message import Address, Mark

BENCH = BackOff(first=1.0, limit=30.0)
"""How long a worker that was lost gets no requests."""
UNKNOWN: Seconds = 1e-3
"""What computing is expected to take where nothing was predicted or seen."""
WEIGHT = 0.2
"""Of the newest request, in the running mean of how long computing takes."""
MEMORY: Seconds = 10.0
"""What was seen so long ago at a worker that gets no requests counts less than what was predicted: it would get none
for as long as it seems slow."""


class Worker:
    """One address on the routes; changed only by `Ways`."""

    __slots__ = ("_predicted", "_seen", "address", "lost", "node", "outstanding", "seconds", "trust", "until", "wait")

    def __init__(self, address: Address, predicted: Seconds, node: NodeId | None = None) -> None:
        self.address = address
        self.node = node
        """Where it is, if anybody said."""
        self.outstanding = 0
        """Flights whose route leads over it."""
        self.trust = Trust.TRUSTED
        self.lost = False
        """Whether it is (not) trusted because it could not be reached or ended, not because it refused."""
        self.wait: Seconds = 0.0
        """The last time on the bench; 0: none since it was trusted."""
        self.until: Seconds = 0.0
        """When that is, or was, over."""
        self._predicted = predicted
        self.seconds = predicted
        """Of computing one request, as far as is known; 0: it is not."""
        self._seen: Seconds = 0.0

    def observe(self, mark: Mark, now: Seconds) -> None:
        """It has computed a request that is answered."""
        seconds = (mark.finished - mark.started) / (mark.batch or 1)
        self.seconds = self.seconds + WEIGHT * (seconds - self.seconds) if self.seconds else seconds
        self._seen = now

    @property
    def rate(self) -> float:
        """Requests per second that it computes, as far as is known; 0: it is not."""
        return 1.0 / self.seconds if self.seconds else 0.0

    def delay(self, now: Seconds) -> Seconds:
        """Expected time from coming to being computed of one more request."""
        if not self.outstanding and now - self._seen > MEMORY:
            self.seconds = self._predicted
        return (self.outstanding + 1) * (self.seconds or UNKNOWN)

    def lose(self, now: Seconds, *, lost: bool) -> bool:
        """Bench it, for longer each time; whether it was not on the bench already."""
        fresh = self.trust is not Trust.BENCHED
        self.trust = step(TRUST_LIFE, self.trust, TrustStep.LOSE)
        if fresh:
            self.wait = BENCH.after(self.wait)
            self.until = now + self.wait
        self.lost = self.lost or lost
        return fresh

    def retry(self) -> None:
        """One request may try it."""
        self.trust = step(TRUST_LIFE, self.trust, TrustStep.TRY)

    def answer(self) -> None:
        """A request that went over it was answered."""
        self.trust = step(TRUST_LIFE, self.trust, TrustStep.ANSWER)
        self.wait, self.lost = 0.0, False
