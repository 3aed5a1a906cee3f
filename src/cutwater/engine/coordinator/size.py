"""Size: how many chains a deployment that follows its demand shall have, and what that was decided from."""

from collections import deque

from cutwater.engine.coordinator.demand import Demand
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploymentRecord, Scaling
from cutwater.units import Seconds


class Size:
    """Changed only by the `Scaler`, by `Planning` where there is no room, and by `Attendance` where some comes."""

    __slots__ = (
        "_needs", "awaits_room", "began", "brief", "chains", "changed_at", "crowded", "demand", "each", "growing",
        "hold", "low_since", "need", "provided", "short_since", "shrunk_at", "shrunk_from", "takes", "why",
    )  # fmt: skip

    def __init__(self, record: DeploymentRecord, scaling: Scaling, options: CoordinatorOptions, now: Seconds) -> None:
        self.demand = Demand(now)
        self.began = now
        self.chains = min(max(record.chains, scaling.least), scaling.most)
        """Wanted now."""
        self.why = record.scaled
        self.need = 0.0
        """Chains that would do now; not rounded."""
        self.provided = 0.0
        """Requests per second that this provides for."""
        self.each = 0.0
        """Requests per second that a chain does."""
        self.takes = options.scale_takes
        """How long another chain was seen to take."""
        self.hold = options.scale_hold
        """For so long fewer must have been enough before any are taken back."""
        self.brief = options.scale_brief
        self.changed_at = now
        self.low_since: Seconds | None = None
        """Since when fewer have been due: a fall is over before it is followed."""
        self.shrunk_at: Seconds | None = None
        """When it last wanted fewer, unless it has wanted more since."""
        self.shrunk_from = 0
        """And how many it had had."""
        self.growing: Seconds | None = None
        """Since when it has been getting more."""
        self.short_since: Seconds | None = None
        """Since when there has been no room for more."""
        self.crowded = False
        """Nor would there be, unless others made some."""
        self.awaits_room = False
        """Some is on its way, or has just come."""
        self._needs: deque[tuple[Seconds, float]] = deque()
        """Falling needs: each of these was the greatest of all since then."""

    def see(self, need: float, now: Seconds, keep: Seconds) -> None:
        """So many chains would do now; needs are remembered for ``keep``."""
        self.need = need
        needs = self._needs
        while needs and needs[-1][1] <= need:
            needs.pop()
        needs.append((now, need))
        while needs[0][0] < now - keep:
            needs.popleft()

    @property
    def highest(self) -> float:
        """The greatest need that is remembered."""
        return self._needs[0][1] if self._needs else self.need

    def lately(self, now: Seconds) -> float:
        """The greatest need of the last moments."""
        return next((need for at, need in self._needs if at >= now - self.brief), self.need)
