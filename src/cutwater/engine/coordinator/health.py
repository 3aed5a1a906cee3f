"""Health: who is alive, by leases, and how each node's pace compares with what was predicted and with the fleet."""

from collections.abc import Iterator
from heapq import heappop, heappush
from statistics import median_low
from typing import Generic, TypeVar

import msgspec

from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.units import NodeId, Seconds

Who = TypeVar("Who", bound=str)

WELL = 1.0
REVIEW: Seconds = 1.0
"""How often the fleet is compared; its median needs all paces in order."""


class Leases(Generic[Who]):
    """Who has been heard of in the last ``lease`` seconds. One alarm each, moved only when it rings: O(1) a beat."""

    def __init__(self, lease: Seconds) -> None:
        self.lease = lease
        self._heard: dict[Who, Seconds] = {}
        self._armed: set[Who] = set()
        """Who has an alarm; it is left in place when its owner is forgotten."""
        self._alarms: list[tuple[Seconds, Who]] = []

    def __contains__(self, who: Who) -> bool:
        return who in self._heard

    def __iter__(self) -> Iterator[Who]:
        return iter(self._heard)

    def hear(self, who: Who, now: Seconds) -> bool:
        """``who`` lives. True if it was not known to."""
        new = who not in self._heard
        if who not in self._armed:
            self._armed.add(who)
            heappush(self._alarms, (now + self.lease, who))
        self._heard[who] = now
        return new

    def forget(self, who: Who) -> None:
        """``who`` does not count any more, and its end is nothing to tell."""
        self._heard.pop(who, None)

    def expired(self, now: Seconds) -> list[Who]:
        """Those whose lease has ended since this was last asked."""
        gone: list[Who] = []
        while self._alarms and self._alarms[0][0] <= now:
            who = heappop(self._alarms)[1]
            self._armed.discard(who)
            if who not in self._heard:
                continue
            until = self._heard[who] + self.lease
            if until <= now:
                del self._heard[who]
                gone.append(who)
            else:
                self._armed.add(who)
                heappush(self._alarms, (until, who))
        return gone

    def wake_at(self) -> Seconds | None:
        """When to ask `expired` again."""
        return self._alarms[0][0] if self._alarms else None

    def validate(self) -> None:
        """Raise AssertionError unless everybody heard of has one alarm, and nobody two."""
        assert sorted(who for _, who in self._alarms) == sorted(self._armed)
        assert self._armed.issuperset(self._heard)


class Work(msgspec.Struct, frozen=True):
    """What workers did between two beats."""

    served: int
    """Requests."""
    predicted: Seconds
    """What computing them should have taken."""
    spent: Seconds
    """What it did take."""
    waited: Seconds
    """Of that, how long others of the host had the cores."""

    def beyond(self, slack: Seconds) -> "Work | None":
        """With ``slack`` forgiven for each request, as far as the work took longer than predicted.

        None where that covers all: a stage so small does not tell a slow node from one that is well.
        """
        forgiven = slack * self.served
        own = self.spent - self.waited
        if max(own - forgiven, self.predicted) < forgiven:
            return None
        waited = max(self.waited - forgiven, 0.0)
        taken = max(own - forgiven, min(own, self.predicted))
        return Work(self.served, self.predicted, taken + waited, waited)

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.served + other.served,
            self.predicted + other.predicted,
            self.spent + other.spent,
            self.waited + other.waited,
        )


class _Pace:
    """One node's."""

    __slots__ = ("evidence", "factor", "host", "measured", "predicted", "since", "slow", "taken", "waited")

    def __init__(self, host: str) -> None:
        self.host = host
        self.predicted = self.taken = self.waited = 0.0
        """Of late: what computing should have taken, did take, and waited for a core besides."""
        self.measured = 0.0
        self.factor = WELL
        """Its pace over the fleet's, at the last review."""
        self.slow = False
        self.since: Seconds | None = None
        """Since when it has looked other than ``slow`` says."""
        self.evidence = 0
        """Beats that told something since then."""

    def see(self, work: Work, weight: float) -> None:
        """Work counts by the time that it should take, and the less the longer ago it was."""
        self.predicted += work.predicted - weight * self.predicted
        self.taken += work.spent - work.waited - weight * self.taken
        self.waited += work.waited - weight * self.waited

    @property
    def ratio(self) -> float:
        """Measured over predicted seconds, waiting apart."""
        return self.taken / self.predicted

    @property
    def crowding(self) -> float:
        """How many times longer it takes because others of its host have the cores."""
        return 1.0 + self.waited / self.taken if self.taken else 1.0


class Paces:
    """How many times longer than predicted each node's workers take, compared with the fleet's median.

    A whole fleet that is slower than predicted is a profile that is off, and no reason to move anything; one node that
    is slower than the others is. Time for which others of its host had the cores is not the node's own: all nodes of
    the host share it, and hosts are compared with each other. So load that crowds all hosts alike, or the only one,
    makes nobody slow, while a node that is throttled, stopped in between, or hot is slow on any host.
    """

    def __init__(self, options: CoordinatorOptions) -> None:
        self._options = options
        self._paces: dict[NodeId, _Pace] = {}
        self._review_at = 0.0

    def tell(self, node: NodeId, host: str, work: Work, now: Seconds) -> None:
        """The node's workers have done ``work`` since it was last told."""
        pace = self._paces.get(node)
        if pace is None or pace.host != host:
            pace = self._paces[node] = _Pace(host)
        pace.see(work, self._options.smoothing)
        pace.measured = now
        pace.evidence += 1

    def forget(self, node: NodeId) -> None:
        """It is gone, or another agent now."""
        self._paces.pop(node, None)

    def slowdown(self, node: NodeId) -> float:
        """How many times slower than the fleet the node is; 1 while it is not slow."""
        pace = self._paces.get(node)
        return max(pace.factor, WELL) if pace is not None and pace.slow else WELL

    def review(self, now: Seconds) -> list[tuple[NodeId, bool]]:
        """Nodes that have become slow (True) or well again (False), for long enough to be sure."""
        if now < self._review_at:
            return []
        self._review_at = now + REVIEW
        changed: list[tuple[NodeId, bool]] = []
        ratios = self._ratios()
        # That the predictions hold counts as one node's pace: it decides where only one or two are measured.
        usual = median_low([WELL, *ratios.values()])
        for node, pace in list(self._paces.items()):
            if now - pace.measured >= self._options.slow_memory:
                del self._paces[node]
                if pace.slow:
                    changed.append((node, False))
            elif self._turned(pace, ratios[node] / usual, now):
                changed.append((node, pace.slow))
        return changed

    def _ratios(self) -> dict[NodeId, float]:
        """How many times longer than predicted each node takes, with its share of what its host suffers."""
        crowding: dict[str, float] = {}
        for pace in self._paces.values():
            crowding[pace.host] = min(crowding.get(pace.host, pace.crowding), pace.crowding)
        least = min(crowding.values(), default=1.0)
        return {node: pace.ratio * crowding[pace.host] / least for node, pace in self._paces.items()}

    def _turned(self, pace: _Pace, factor: float, now: Seconds) -> bool:
        """Note the factor; whether the node has looked other than thought for long enough."""
        pace.factor = factor
        options = self._options
        # Between the two thresholds it stays what it was.
        threshold = 1 + (options.slow - 1) / 2 if pace.slow else options.slow
        if (factor >= threshold) == pace.slow:
            pace.since = None
            return False
        if pace.since is None:
            pace.since, pace.evidence = now, 0
        enough = options.well_for if pace.slow else options.slow_for
        if now - pace.since < enough or pace.evidence < options.evidence:
            return False
        pace.slow, pace.since = not pace.slow, None
        return True
