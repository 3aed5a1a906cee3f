"""Members: the nodes and gateways of the cluster, as they last showed themselves and as they were last told."""

from enum import StrEnum

from cutwater.engine.coordinator.rollout import Worker
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.nodes import Announcement, NodeBeat, WorkerSpec
from cutwater.units import NodeId, Seconds, WorkerId
from cutwater.wire.message import Address


class Standing(StrEnum):
    """What the coordinator knows of a node's life."""

    UNKNOWN = "unknown"
    """Its announcement is known, but this coordinator has not heard a beat yet, and has not waited long enough."""
    ALIVE = "alive"
    GONE = "gone"


class Member:
    """One node; changed only by the `Coordinator`."""

    __slots__ = (
        "announcement", "awaits", "beat", "draining", "placed", "sent_at", "standing", "strays", "told",
    )  # fmt: skip

    def __init__(self, announcement: Announcement, standing: Standing) -> None:
        self.announcement = announcement
        self.standing = standing
        self.beat: NodeBeat | None = None
        self.draining = False
        """Asked by people to run nothing."""
        self.placed: dict[WorkerId, Worker] = {}
        """Workers of epochs that are not over, and those of over ones that it still runs."""
        self.strays: frozenset[WorkerId] = frozenset()
        """Workers it runs that nobody knows."""
        self.told: tuple[WorkerSpec, ...] | None = None
        """The assignment last written; None: by an earlier coordinator, if at all."""
        self.awaits: frozenset[str] = frozenset()
        """The blobs it was last told to fetch in advance."""
        self.sent_at = 0.0

    @property
    def usable(self) -> bool:
        """Whether new workers may be put here, and those here may stay."""
        leaving = self.beat is not None and self.beat.leaving
        return self.standing is not Standing.GONE and not self.draining and not leaving

    @property
    def free(self) -> int:
        """Bytes for new workers: what is neither planned for nor used by leftovers."""
        planned = sum(worker.spec.memory for worker in self.placed.values())
        left = 0
        if self.strays and self.beat is not None:
            left = sum(state.memory for state in self.beat.workers if state.worker in self.strays)
        return self.announcement.hardware.memory - planned - left

    def wanted(self) -> tuple[WorkerSpec, ...]:
        """What it shall run now."""
        return tuple(worker.spec for worker in self.placed.values() if worker.wanted)

    def coming(self) -> tuple[str, ...]:
        """Blobs of what it shall run as soon as later stages serve."""
        blobs = (worker.spec.blob for worker in self.placed.values() if worker.coming)
        return tuple(dict.fromkeys(blobs))

    def load(self, model: str) -> float:
        """Share of its cores that the workers of other models use."""
        others = (w.state.busy for w in self.placed.values() if w.state is not None and w.spec.model != model)
        return min(sum(others) / self.announcement.hardware.cores, 1.0)


class Entrance:
    """One gateway; changed only by the `Coordinator`."""

    __slots__ = ("beat", "sent_at", "suspects", "tables", "tallies")

    def __init__(self, beat: GatewayBeat) -> None:
        self.beat = beat
        self.tallies: dict[str, ModelTally] = {}
        self.tables: dict[str, RouteTable] = {}
        """As last written, by model."""
        self.sent_at: dict[str, Seconds] = {}
        self.suspects: dict[Address, Seconds] = {}
        """Workers it gets no answer from, and since when."""

    def probed(self, model: str, epoch: int) -> str | None:
        """What it says of its probe of ``epoch``: "" that all chains answered, else why not; None: nothing yet."""
        tally = self.tallies.get(model)
        return None if tally is None else tally.probed.get(epoch)

    def emptied(self, model: str, epoch: int) -> bool:
        """Whether it has switched away from ``epoch``, and nothing is under way there any more."""
        tally = self.tallies.get(model)
        return tally is None or (tally.epoch != epoch and not tally.flying.get(epoch, 0))


Members = dict[NodeId, Member]
