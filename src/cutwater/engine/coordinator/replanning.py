"""Re-planning: when a deployment needs another plan, when one would merely pay, and whether a switch was worth it."""

from collections.abc import Callable, Collection

import msgspec

from cutwater.engine.control import Planned
from cutwater.engine.coordinator.rollout import Epoch
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import Blueprint, DeploySpec
from cutwater.engine.facts.gateways import ModelTally
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.units import NodeId, Seconds


def lost(epoch: Epoch, usable: Callable[[NodeId], bool]) -> str:
    """Why ``epoch`` cannot go on as it was planned, given the nodes that may run it; "" where it can."""
    missing = sorted(node for node in epoch.nodes if not usable(node))
    return f"{', '.join(missing)} cannot be used" if missing else ""


def gains(planned: Planned, objective: str, factor: float) -> bool:
    """Whether the new plan beats the live one by ``factor``; a live one that cannot run is beaten by any."""
    if planned.current is None or planned.best is None:
        return True
    if objective.startswith("latency"):
        return planned.current >= factor * planned.best
    return planned.best >= factor * planned.current


def differs(link: MeasuredLink, before: MeasuredLink | None, factor: float) -> bool:
    """Whether a link is another one than it was: worth a look at the plans."""
    if before is None:
        return True
    speeds = sorted((link.bandwidth, before.bandwidth))
    waits = sorted((link.latency, before.latency))
    # Below a millisecond the way's latency matters to no plan, and measures badly.
    return speeds[1] > factor * speeds[0] or waits[1] > factor * waits[0] + 1e-3


class Shortfall(msgspec.Struct, frozen=True, order=True):
    """What a blueprint lacks of what a person wants, the weightiest first; the lesser one is nearer to the wish.

    A wish for more than the nodes allow is met as far as they do, whoever is lost, and in full once they are there.
    """

    chains: int
    stages: int
    """Of the shortest chain."""
    decided: int
    """Cuts and places."""
    replicas: int
    spares: int

    @classmethod
    def of(cls, blueprint: Blueprint, spec: DeploySpec) -> "Shortfall":
        """How far ``blueprint`` is from ``spec``."""
        stages = min(len(chain.parts) for chain in blueprint.chains)
        widest = min(
            max(sum(p.stage == k and not p.spare for p in chain.posts) for k in range(len(chain.parts)))
            for chain in blueprint.chains
        )
        spares = min(
            sum(p.stage == k and p.spare for p in chain.posts)
            for chain in blueprint.chains
            for k in range(len(chain.parts))
        )
        return cls(
            chains=max(spec.chains - len(blueprint.chains), 0),
            stages=max((spec.stages or stages) - stages, 0),
            decided=blueprint.missed,
            replicas=max(spec.replicas - widest, 0),
            spares=max(spec.spares - spares, 0),
        )

    def said(self, spec: DeploySpec) -> str:
        """For people; "" where nothing is lacking."""
        lacks = [
            f"{wanted - lack} of {wanted} {what}"
            for what, wanted, lack in (
                ("chains", spec.chains, self.chains),
                ("stages", spec.stages or 0, self.stages),
                ("cuts and places", len(spec.cuts) + sum(map(bool, spec.places)), self.decided),
                ("replicas", spec.replicas, self.replicas),
                ("spares", spec.spares, self.spares),
            )
            if lack
        ]
        return f"{', '.join(lacks)}, as the nodes allow no more" if lacks else ""


class Measured(msgspec.Struct, frozen=True):
    """How a deployment does, by its gateways' own figures."""

    rate: float
    p50: Seconds
    waiting: bool
    """Whether requests wait at a gateway: then the rate is all that the epoch can do."""

    @classmethod
    def of(cls, tallies: Collection[ModelTally]) -> "Measured":
        """All gateways together; the median is that of the busiest."""
        busiest = max(tallies, key=lambda tally: tally.rate, default=None)
        return cls(
            rate=sum(tally.rate for tally in tallies),
            p50=busiest.p50 if busiest is not None else 0.0,
            waiting=any(tally.queued for tally in tallies),
        )


def worse(now: Measured, before: Measured, objective: str, margin: float) -> bool:
    """Whether a deployment does worse than before the switch; where nothing can be compared it does not."""
    if objective.startswith("latency"):
        return now.p50 > (1 + margin) * before.p50 > 0.0
    return now.waiting and now.rate < (1 - margin) * before.rate


class Trial(msgspec.Struct, frozen=True):
    """A voluntary switch that still has to show that it pays."""

    previous: int
    """The epoch that is kept warm."""
    until: Seconds
    before: Measured


def pause(failures: int, options: CoordinatorOptions) -> Seconds:
    """How long to wait after so many failures in a row."""
    return min(options.retry * 2.0 ** max(failures - 1, 0), options.retry_limit)
