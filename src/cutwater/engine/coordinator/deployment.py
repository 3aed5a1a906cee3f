"""Deployment: one model that is wanted, with its epochs and what is planned, awaited and avoided for it."""

from collections.abc import Iterable

import msgspec

from cutwater.engine.coordinator.replanning import Trial
from cutwater.engine.coordinator.rollout import Epoch
from cutwater.engine.coordinator.size import Size
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.coordinator.unfit import Unfit
from cutwater.engine.facts.deployments import DeploymentRecord, DeploySpec, EpochPhase
from cutwater.units import NodeId, Seconds

ROLLING = (EpochPhase.STARTING, EpochPhase.PROBING)
PLANNED_FOR = ("objective", "budget", "stages", "nodes", "cuts", "places", "chains", "replicas", "spares", "batch")
"""The wishes that another plan is needed for; the others take effect at once."""


def needs_plan(before: DeploySpec, spec: DeploySpec) -> bool:
    """Whether a deployment that is as ``before`` must be planned anew to be as ``spec`` says."""
    spans = [each.scaling.most if each.scaling is not None else None for each in (before, spec)]
    return spans[0] != spans[1] or any(getattr(spec, name) != getattr(before, name) for name in PLANNED_FOR)


class Ask:
    """A plan that is being made."""

    __slots__ = ("adding", "at", "nodes", "ticket", "voluntary", "why")

    def __init__(
        self, ticket: int, why: str, voluntary: bool, nodes: frozenset[NodeId], at: Seconds, adding: int = 0
    ) -> None:
        self.ticket = ticket
        self.why = why
        self.voluntary = voluntary
        self.nodes = nodes
        """That may be used."""
        self.at = at
        self.adding = adding
        """So many chains are to join the live epoch; 0: the plan is for a new one."""

    @property
    def optional(self) -> bool:
        """Whether it is for an epoch that might pay."""
        return self.voluntary and not self.adding


class Deployment:
    """Changed only by the `Coordinator`."""

    __slots__ = (
        "asked", "avoid_until", "considered_at", "due", "ending", "epochs", "failures", "next_epoch", "parked",
        "removed", "renew", "retry_at", "saved", "size", "spec", "switched_at", "trial", "unfit", "used_at", "wish",
    )  # fmt: skip

    def __init__(self, record: DeploymentRecord, now: Seconds, options: CoordinatorOptions) -> None:
        self.spec = record.spec
        self.size: Size | None = None
        """Of one that follows its demand."""
        self._follow(record, options, now)
        self.next_epoch = record.next_epoch
        self.parked = record.parked
        self.removed = record.removed
        self.renew = record.renew
        self.epochs: list[Epoch] = []
        """Those that are not GONE, oldest first."""
        self.ending: list[Epoch] = []
        """GONE, but some of their workers still show in beats."""
        self.asked: Ask | None = None
        self.failures = 0
        """Plans and roll-outs in a row that came to nothing."""
        self.retry_at = now
        self.unfit = Unfit(options)
        """Nodes on which its workers fail."""
        self.wish: str | None = None
        """Why another plan might pay."""
        self.considered_at: Seconds | None = None
        self.switched_at: Seconds | None = None
        """When it was last switched for the gain alone."""
        self.avoid_until = now
        self.trial: Trial | None = None
        self.used_at = now
        self.due: Seconds | None = None
        """When to look at it again."""
        self.saved: tuple[object, ...] | None = None

    @property
    def live(self) -> Epoch | None:
        """The epoch the gateways use."""
        return next((epoch for epoch in self.epochs if epoch.phase is EpochPhase.LIVE), None)

    @property
    def rolling(self) -> Epoch | None:
        """The epoch that is being brought up."""
        return next((epoch for epoch in self.epochs if epoch.phase in ROLLING), None)

    @property
    def settled(self) -> bool:
        """Whether it has one live epoch and nothing else going on."""
        return len(self.epochs) == 1 and self.live is not None and not self.removed and self.asked is None

    @property
    def parting(self) -> int:
        """Chains of it on their way out, whose room will be free soon."""
        draining = [epoch for epoch in self.epochs if epoch.phase is EpochPhase.DRAINING and not epoch.held]
        whole = sum(len(epoch.frontier) for epoch in (*draining, *self.ending))
        return whole + sum(epoch.parting for epoch in self.epochs)

    @property
    def grows(self) -> bool:
        """Whether it shall have more chains than it has, and there may be room for them."""
        size, live = self.size, self.live
        if size is None or live is None or len(live.staying) >= size.chains:
            return False
        return size.short_since is None or size.awaits_room

    def epoch(self, number: int) -> Epoch | None:
        """The epoch of this number, if it is not GONE."""
        return next((epoch for epoch in self.epochs if epoch.number == number), None)

    def change(self, spec: DeploySpec, options: CoordinatorOptions, now: Seconds) -> bool:
        """Want ``spec`` from now on. Whether that needs another plan."""
        before, self.spec = self.spec, spec
        if spec.scaling != before.scaling:
            self._follow(self.record(), options, now)
        return needs_plan(before, spec)

    def _follow(self, record: DeploymentRecord, options: CoordinatorOptions, now: Seconds) -> None:
        """Follow the demand from now on, if that is wanted."""
        scaling = self.spec.scaling
        self.size = Size(record, scaling, options, now) if scaling is not None else None

    @property
    def wished(self) -> DeploySpec:
        """What an epoch is planned for: with as many chains as are wanted now."""
        return self.spec if self.size is None else msgspec.structs.replace(self.spec, chains=self.size.chains)

    @property
    def kept(self) -> DeploySpec:
        """What an epoch that might pay is planned for: no more chains than there are, for others may join any time."""
        if self.size is None or self.live is None:
            return self.wished
        return msgspec.structs.replace(self.spec, chains=min(self.size.chains, len(self.live.staying)))

    def record(self) -> DeploymentRecord:
        """What a successor needs to know."""
        return DeploymentRecord(
            spec=self.spec,
            epochs=tuple(epoch.record() for epoch in self.epochs),
            next_epoch=self.next_epoch,
            parked=self.parked,
            removed=self.removed,
            renew=self.renew,
            chains=self.size.chains if self.size is not None else 0,
            scaled=self.size.why if self.size is not None else "",
        )

    def mark(self) -> tuple[object, ...]:
        """Differs where `record` does; chains never change, so they need not be compared."""
        phases = tuple((epoch.number, epoch.phase, tuple(epoch.frontier)) for epoch in self.epochs)
        size = (self.size.chains, self.size.why) if self.size is not None else None
        return (self.spec, self.next_epoch, self.parked, self.removed, self.renew, phases, size)


def soonest(times: Iterable[Seconds | None]) -> Seconds | None:
    """The first of these, as far as there are any."""
    return min((at for at in times if at is not None), default=None)
