"""Coordinator: decides for the cluster who runs what, which ways lead through it, and when that has to change.

Each room does its part on the same books: `Attendance` hears nodes and gateways, `Conduct` leads epochs through their
lives, `Planning` deals with the planner, `Scaler` follows demand, `Writing` turns into commands what differs from what
was written last.
"""

from collections.abc import Callable, Mapping
from heapq import heappop
from typing import Any

import msgspec

from cutwater.engine.control import (
    Announced,
    Beaten,
    CoordinatorCommand,
    CoordinatorEvent,
    DeployAsked,
    DrainAsked,
    GatewayBeaten,
    Leading,
    LinkFailed,
    LinkMeasured,
    ModelAdded,
    ModelRemoved,
    NodeRevoked,
    Planned,
    UndeployAsked,
)
from cutwater.engine.coordinator.attendance import Attendance
from cutwater.engine.coordinator.books import Books
from cutwater.engine.coordinator.conduct import Conduct
from cutwater.engine.coordinator.deployment import Deployment, soonest
from cutwater.engine.coordinator.members import Member, Standing
from cutwater.engine.coordinator.planning import Planning
from cutwater.engine.coordinator.replanning import differs
from cutwater.engine.coordinator.scaling import Scaler
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.coordinator.writing import Writing
from cutwater.engine.facts.deployments import DeploymentRecord, EpochPhase
from cutwater.engine.vocabulary import Tick
from cutwater.units import Seconds, WorkerId


class CoordinatorSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster in figures."""

    term: int
    nodes: int
    """Alive."""
    gateways: int
    deployments: int
    rolling: int
    """Deployments with an epoch that is being brought up."""
    parked: int
    planning: int
    """Plans under way."""


class Coordinator:
    """The machine that steers; see `cutwater.engine.machine.Machine`. Before its first `Leading` it ignores all else.

    Its commands are to be obeyed in their order: what a successor must know is saved before anybody is told.
    """

    def __init__(self, options: CoordinatorOptions = CoordinatorOptions()) -> None:  # noqa: B008
        self.options = options
        self._take_office()

    def _take_office(self) -> None:
        """Start with empty books."""
        self.books = Books(self.options)
        self._attendance = Attendance(self.books)
        self._conduct = Conduct(self.books)
        self._planning = Planning(self.books, self._conduct)
        self._scaler = Scaler(self.books, self._conduct, self._planning)
        self._planning.take_from_others = self._scaler.make_room
        self._writing = Writing(self.books)

    def handle(self, event: CoordinatorEvent, now: Seconds) -> list[CoordinatorCommand]:
        """See `Machine.handle`."""
        if not self.books.term and not isinstance(event, Leading):
            return []
        _EVENTS[type(event)](self, event, now)
        self._watch(now)
        books = self.books
        while books.dirty:
            model = next(iter(books.dirty))
            del books.dirty[model]
            deployment = books.deployments.get(model)
            if deployment is not None:
                books.touched[model] = None
                self._conduct.advance(deployment, now)
                self._planning.plan(deployment, now)
        self._planning.consider(now)
        measure = books.survey.next(books.nodes, now)
        if measure is not None:
            books.asks.append(measure)
        commands: list[CoordinatorCommand] = [*books.notes, *self._writing.saves()]
        commands += self._writing.assigns(now)
        commands += self._writing.directs(now)
        commands += books.asks
        books.notes.clear()
        books.asks.clear()
        return commands

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`."""
        books = self.books
        alarm = books.alarms[0][0] if books.alarms else None
        times = (alarm, books.settle_at, books.stir_at, books.survey.wake_at())
        return soonest((books.node_leases.wake_at(), books.gateway_leases.wake_at(), *times))

    def snapshot(self) -> CoordinatorSnapshot:
        """See `Machine.snapshot`."""
        deployments = self.books.deployments.values()
        return CoordinatorSnapshot(
            term=self.books.term,
            nodes=sum(member.standing is Standing.ALIVE for member in self.books.nodes.values()),
            gateways=len(self.books.gateways),
            deployments=len(deployments),
            rolling=sum(d.rolling is not None for d in deployments),
            parked=sum(d.parked for d in deployments),
            planning=sum(d.asked is not None for d in deployments),
        )

    def _leading(self, event: Leading, now: Seconds) -> None:
        self._take_office()
        books = self.books
        books.term, books.secret = event.term, event.secret
        books.settle_at = now + self.options.lease
        books.models = {record.name: record for record in event.models}
        books.links = {(link.source, link.target): link for link in event.links}
        books.revoked = set(event.revoked)
        for announcement in event.nodes:
            member = Member(announcement, Standing.UNKNOWN)
            member.draining = announcement.node in event.draining
            books.nodes[announcement.node] = member
        for record in event.deployments:
            self._conduct.restore(record, now)

    def _announced(self, event: Announced, now: Seconds) -> None:
        self._attendance.announced(event.announcement, now)

    def _beaten(self, event: Beaten, now: Seconds) -> None:
        self._attendance.beaten(event.beat, now)

    def _gateway_beaten(self, event: GatewayBeaten, now: Seconds) -> None:
        self._attendance.gateway_beaten(event.beat, now)
        self._scaler.review(now)

    def _drain_asked(self, event: DrainAsked, now: Seconds) -> None:
        self._attendance.drain_asked(event, now)

    def _planned(self, event: Planned, now: Seconds) -> None:
        self._planning.planned(event, now)

    def _node_revoked(self, event: NodeRevoked, now: Seconds) -> None:
        self._attendance.revoke(event.node)
        for deployment in self.books.deployments.values():
            self._conduct.renew(deployment, f"{event.node} was revoked", now)

    def _model_added(self, event: ModelAdded, now: Seconds) -> None:
        self.books.models[event.record.name] = event.record
        self.books.dirty[event.record.name] = None

    def _model_removed(self, event: ModelRemoved, now: Seconds) -> None:
        self.books.models.pop(event.model, None)

    def _deploy_asked(self, event: DeployAsked, now: Seconds) -> None:
        books, model = self.books, event.spec.model
        if model not in books.models:
            books.tell("refused", model, f"no model is called {model!r}; add it first")
            return
        deployment = books.deployments.get(model)
        if deployment is None:
            number = books.next_epochs.get(model, 1)
            deployment = Deployment(DeploymentRecord(spec=event.spec, next_epoch=number), now, self.options)
            books.deployments[model] = deployment
        elif deployment.change(event.spec, self.options, now):
            self._conduct.renew(deployment, "the deployment was changed", now)
        deployment.parked = deployment.removed = False
        deployment.retry_at = deployment.used_at = now
        books.touch(deployment)

    def _undeploy_asked(self, event: UndeployAsked, now: Seconds) -> None:
        deployment = self.books.deployments.get(event.model)
        if deployment is not None and not deployment.removed:
            deployment.removed = True
            self._conduct.take_down(deployment, "removed", "undeployed", now)

    def _link_measured(self, event: LinkMeasured, now: Seconds) -> None:
        books, link = self.books, event.link
        before = books.links.get((link.source, link.target))
        books.links[link.source, link.target] = link
        books.survey.measured(link, now)
        self._surveyed()
        if differs(link, before, self.options.link_change):
            books.stir(f"the link {link.source} -> {link.target} changed", now)

    def _link_failed(self, event: LinkFailed, now: Seconds) -> None:
        self.books.survey.failed((event.source, event.target), now)
        self._surveyed()

    def _surveyed(self) -> None:
        """First plans wait for this."""
        if not self.books.survey.busy:
            books = self.books
            books.dirty.update(dict.fromkeys(m for m, d in books.deployments.items() if d.live is None))

    def _tick(self, event: Tick, now: Seconds) -> None:
        """What is due is looked for after every event."""

    def _watch(self, now: Seconds) -> None:
        """Whose time has come?"""
        books = self.books
        for node in books.node_leases.expired(now):
            self._attendance.lose(node)
        for gateway in books.gateway_leases.expired(now):
            self._attendance.lose_gateway(gateway)
        if books.settle_at is not None and now >= books.settle_at:
            self._attendance.settle()
        for node, slow in books.paces.review(now):
            factor = books.paces.slowdown(node)
            said = f"{node} takes {factor:.1f} times as long as predicted" if slow else f"{node} is well again"
            books.tell("slow" if slow else "well", node, said)
            books.stir(said, now)
        if books.stir_at is not None and now >= books.stir_at:
            books.stir_at = None
            for deployment in books.deployments.values():
                deployment.wish = books.stirred
                books.dirty[deployment.spec.model] = None
        while books.alarms and books.alarms[0][0] <= now:
            at, model = heappop(books.alarms)
            rung = books.deployments.get(model)
            if rung is not None and rung.due == at:
                rung.due = None
                books.dirty[model] = None

    def validate(self) -> None:
        """See `Machine.validate`."""
        self.books.node_leases.validate()
        self.books.gateway_leases.validate()
        placed: set[WorkerId] = set()
        for node, member in self.books.nodes.items():
            assert (node in self.books.node_leases) == (member.standing is Standing.ALIVE), node
            for name, worker in member.placed.items():
                assert worker.node == node and worker.spec.worker == name
                assert not worker.over or worker.state is not None
                placed.add(name)
        for model, deployment in self.books.deployments.items():
            assert sum(epoch.phase is EpochPhase.LIVE for epoch in deployment.epochs) <= 1, model
            assert all(epoch.phase is not EpochPhase.GONE for epoch in deployment.epochs)
            assert all(epoch.number < deployment.next_epoch for epoch in deployment.epochs)
            for epoch in deployment.epochs:
                assert epoch.nodes == {w.node for w in epoch.workers.values() if w.chain not in epoch.leaving}
                assert epoch.frontier.keys() == {worker.chain for worker in epoch.workers.values()}
                assert epoch.leaving.keys() <= epoch.frontier.keys() and max(epoch.frontier) < epoch.next_chain
                assert all(n in placed for n, w in epoch.workers.items() if w.node in self.books.nodes)
                assert epoch.held == (deployment.trial is not None and deployment.trial.previous == epoch.number)


_EVENTS: Mapping[type, Callable[[Coordinator, Any, Seconds], None]] = {
    Leading: Coordinator._leading,
    Announced: Coordinator._announced,
    Beaten: Coordinator._beaten,
    GatewayBeaten: Coordinator._gateway_beaten,
    LinkMeasured: Coordinator._link_measured,
    LinkFailed: Coordinator._link_failed,
    ModelAdded: Coordinator._model_added,
    ModelRemoved: Coordinator._model_removed,
    DeployAsked: Coordinator._deploy_asked,
    UndeployAsked: Coordinator._undeploy_asked,
    DrainAsked: Coordinator._drain_asked,
    NodeRevoked: Coordinator._node_revoked,
    Planned: Coordinator._planned,
    Tick: Coordinator._tick,
}
