"""Sightings: the last beats a coordinator has heard, and the picture of the cluster they make with what it decided."""

import itertools
from collections.abc import Iterable, Mapping

from cutwater.engine.facts.deployments import Chain, DeploymentRecord, EpochPhase, EpochRecord
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally
from cutwater.engine.facts.nodes import LEASE, Announcement, NodeBeat, Phase, WorkerState
from cutwater.services.asking import (
    DeploymentStatus,
    EpochStatus,
    GatewayStatus,
    NodeStatus,
    WorkerStatus,
)
from cutwater.units import GatewayId, NodeId, Seconds, WorkerId

MISSED: Seconds = 600.0
"""How long a gateway that is silent is still told of: whoever ends one for good need not tell anybody."""


class Sightings:
    """Who was heard when, and what it said."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, tuple[NodeBeat, Seconds]] = {}
        self._gateways: dict[GatewayId, tuple[GatewayBeat, Seconds]] = {}

    def node(self, beat: NodeBeat, now: Seconds) -> NodeBeat | None:
        """A node has beaten; returns what it said before."""
        before = self._nodes.get(beat.node)
        self._nodes[beat.node] = (beat, now)
        return None if before is None else before[0]

    def gateway(self, beat: GatewayBeat, now: Seconds) -> None:
        """A gateway has beaten."""
        self._gateways[beat.gateway] = (beat, now)

    def nodes(self, known: Iterable[Announcement], draining: Iterable[NodeId], now: Seconds) -> tuple[NodeStatus, ...]:
        """All nodes that are known, by name."""
        drained = set(draining)
        found = []
        for announcement in sorted(known, key=lambda each: each.node):
            beat, at = self._nodes.get(announcement.node, (None, None))
            if beat is not None and beat.incarnation != announcement.incarnation:
                beat, at = None, None
            age = None if at is None else now - at
            found.append(
                NodeStatus(
                    announcement=announcement,
                    beat=beat,
                    age=age,
                    alive=age is not None and age < LEASE,
                    draining=announcement.node in drained,
                )
            )
        return tuple(found)

    def gateways(self, now: Seconds) -> tuple[GatewayStatus, ...]:
        """All gateways that were heard of late, by name."""
        self._gateways = {name: seen for name, seen in self._gateways.items() if now - seen[1] < MISSED}
        return tuple(
            GatewayStatus(beat=beat, age=now - at, alive=now - at < LEASE)
            for _, (beat, at) in sorted(self._gateways.items())
        )

    def deployments(
        self, records: Iterable[DeploymentRecord], problems: Mapping[str, str], now: Seconds
    ) -> tuple[DeploymentStatus, ...]:
        """All deployments, predicted beside measured. ``problems``: model -> what went wrong last."""
        alive = [beat for beat, at in self._nodes.values() if now - at < LEASE]
        states = {state.worker: state for beat in alive for state in beat.workers}
        return tuple(
            self._deployment(record, states, problems.get(record.spec.model, ""), now)
            for record in sorted(records, key=lambda each: each.spec.model)
        )

    def _deployment(
        self, record: DeploymentRecord, states: Mapping[WorkerId, WorkerState], problem: str, now: Seconds
    ) -> DeploymentStatus:
        tallies = self._tallies(record.spec.model, now)
        epochs = tuple(_epoch(record.spec.model, epoch, states) for epoch in record.epochs)
        live = next((epoch for epoch in epochs if epoch.phase is EpochPhase.LIVE), None)
        return DeploymentStatus(
            spec=record.spec,
            parked=record.parked,
            removed=record.removed,
            epochs=epochs,
            rate=sum(tally.rate for tally in tallies),
            p50=max((tally.p50 for tally in tallies), default=0.0),
            p99=max((tally.p99 for tally in tallies), default=0.0),
            problem=problem,
            chains=_serving(live) if live is not None else 0,
            wanted=record.chains or record.spec.chains,
            scaled=record.scaled,
        )

    def _tallies(self, model: str, now: Seconds) -> list[ModelTally]:
        alive = [beat for beat, at in self._gateways.values() if now - at < LEASE]
        return [tally for beat in alive for tally in beat.models if tally.model == model]


def _epoch(model: str, record: EpochRecord, states: Mapping[WorkerId, WorkerState]) -> EpochStatus:
    numbers = record.numbers or range(len(record.blueprint.chains))
    chains = enumerate(zip(numbers, record.blueprint.chains, strict=True))
    workers = itertools.chain.from_iterable(
        _workers(f"{model}.{record.epoch}.{number}", c, chain, states) for c, (number, chain) in chains
    )
    return EpochStatus(
        epoch=record.epoch,
        phase=record.phase,
        why=record.why,
        throughput=record.blueprint.throughput,
        latency=record.blueprint.latency,
        workers=tuple(workers),
        scores=tuple(chain.plan.score for chain in record.blueprint.chains),
    )


def _serving(epoch: EpochStatus) -> int:
    """Chains all of whose workers are ready."""
    lame = {w.chain for w in epoch.workers if not w.spare and (w.state is None or w.state.phase is not Phase.READY)}
    return len({worker.chain for worker in epoch.workers} - lame)


def _workers(called: str, c: int, chain: Chain, states: Mapping[WorkerId, WorkerState]) -> Iterable[WorkerStatus]:
    counts = [itertools.count() for _ in chain.parts]
    for post in chain.posts:
        stage = chain.plan.stages[post.stage]
        worker = WorkerId(f"{called}.{post.stage}.{next(counts[post.stage])}")
        yield WorkerStatus(
            worker=worker,
            chain=c,
            stage=post.stage,
            begin=stage.begin.label,
            end=stage.end.label,
            node=post.node,
            spare=post.spare,
            predicted=post.seconds,
            state=states.get(worker),
        )
