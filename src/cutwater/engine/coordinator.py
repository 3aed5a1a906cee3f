"""Coordinator: decides for the cluster who runs what, which ways lead through it, and when that has to change."""

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import Any

import msgspec

from cutwater.engine.cluster import (
    Assignment,
    Blueprint,
    DeploymentRecord,
    EpochPhase,
    EpochRecord,
    EpochTable,
    MeasuredLink,
    ModelRecord,
    NodeBeat,
    Phase,
    RouteTable,
    WorkerState,
)
from cutwater.engine.control import (
    Announced,
    Assign,
    Beaten,
    CoordinatorCommand,
    CoordinatorEvent,
    DeployAsked,
    Direct,
    DrainAsked,
    Erase,
    GatewayBeaten,
    Leading,
    LinkMeasured,
    MakePlan,
    ModelAdded,
    ModelRemoved,
    NodeRevoked,
    NodeView,
    Planned,
    Save,
    Tell,
    UndeployAsked,
)
from cutwater.engine.deployment import Ask, Deployment, soonest
from cutwater.engine.fault import Fault
from cutwater.engine.health import Leases, Paces
from cutwater.engine.members import Entrance, Member, Members, Standing
from cutwater.engine.replanning import Measured, Trial, differs, fit, gains, lost, pause, worse
from cutwater.engine.rollout import Epoch, EpochStep, Worker, token_of
from cutwater.engine.room import fits, least_used, nodes_of
from cutwater.engine.routes import epoch_table
from cutwater.engine.steering import CoordinatorOptions
from cutwater.engine.survey import Survey
from cutwater.engine.vocabulary import Tick
from cutwater.units import GatewayId, NodeId, Seconds, WorkerId


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
        self._forget_all()

    def handle(self, event: CoordinatorEvent, now: Seconds) -> list[CoordinatorCommand]:
        """See `Machine.handle`."""
        if not self._term and not isinstance(event, Leading):
            return []
        self._notes: list[Tell] = []
        self._asks: list[CoordinatorCommand] = []
        _EVENTS[type(event)](self, event, now)
        self._watch(now)
        while self._dirty:
            model = next(iter(self._dirty))
            del self._dirty[model]
            deployment = self._deployments.get(model)
            if deployment is not None:
                self._touched[model] = None
                self._advance(deployment, now)
        self._consider(now)
        measure = self._survey.next(self._nodes, now)
        if measure is not None:
            self._asks.append(measure)
        return [*self._notes, *self._saves(), *self._assigns(now), *self._directs(now), *self._asks]

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`."""
        alarm = self._alarms[0][0] if self._alarms else None
        times = (alarm, self._settle_at, self._stir_at, self._survey.wake_at())
        return soonest((self._node_leases.wake_at(), self._gateway_leases.wake_at(), *times))

    def snapshot(self) -> CoordinatorSnapshot:
        """See `Machine.snapshot`."""
        deployments = self._deployments.values()
        return CoordinatorSnapshot(
            term=self._term,
            nodes=sum(member.standing is Standing.ALIVE for member in self._nodes.values()),
            gateways=len(self._gateways),
            deployments=len(deployments),
            rolling=sum(d.rolling is not None for d in deployments),
            parked=sum(d.parked for d in deployments),
            planning=sum(d.asked is not None for d in deployments),
        )

    def _forget_all(self) -> None:
        self._term = 0
        self._secret = ""
        self._nodes: Members = {}
        self._revoked: set[NodeId] = set()
        self._gateways: dict[GatewayId, Entrance] = {}
        self._models: dict[str, ModelRecord] = {}
        self._deployments: dict[str, Deployment] = {}
        self._links: dict[tuple[NodeId, NodeId], MeasuredLink] = {}
        self._node_leases: Leases[NodeId] = Leases(self.options.lease)
        self._gateway_leases: Leases[GatewayId] = Leases(self.options.lease)
        self._paces = Paces(self.options)
        self._survey = Survey(self.options)
        self._next_epochs: dict[str, int] = {}
        """Of models that were undeployed: an epoch's number is not given twice."""
        self._tickets = 0
        self._marks = 0
        self._settle_at: Seconds | None = None
        """Until then nodes that were not heard of are unknown, not gone."""
        self._stirred = ""
        """What has changed in the cluster, so that other plans may pay."""
        self._stir_at: Seconds | None = None
        self._alarms: list[tuple[Seconds, str]] = []
        self._dirty: dict[str, None] = {}
        """Deployments to look at."""
        self._touched: dict[str, None] = {}
        """Deployments that may have to be saved."""
        self._stale_nodes: dict[NodeId, None] = {}
        self._stale_tables: dict[str, None] = {}
        self._wishing: dict[str, None] = {}
        """Deployments for which another plan might pay, in the order of asking."""

    # Taking the lead

    def _leading(self, event: Leading, now: Seconds) -> None:
        self._forget_all()
        self._term, self._secret = event.term, event.secret
        self._settle_at = now + self.options.lease
        self._tickets = event.term
        self._models = {record.name: record for record in event.models}
        self._links = {(link.source, link.target): link for link in event.links}
        self._revoked = set(event.revoked)
        for announcement in event.nodes:
            member = Member(announcement, Standing.UNKNOWN)
            member.draining = announcement.node in event.draining
            self._nodes[announcement.node] = member
        for record in event.deployments:
            self._restore(record, now)

    def _restore(self, record: DeploymentRecord, now: Seconds) -> None:
        deployment = Deployment(record, now)
        self._deployments[record.spec.model] = deployment
        deployment.saved = None
        for epoch_record in record.epochs:
            epoch = Epoch(record.spec.model, epoch_record, now, self.options)
            deployment.epochs.append(epoch)
            self._place(epoch)
        deployment.saved = deployment.mark()
        self._touch(deployment)

    def _settle(self, now: Seconds) -> None:
        """Whoever lives has been heard by now."""
        self._settle_at = None
        for node, member in self._nodes.items():
            if member.standing is Standing.UNKNOWN:
                self._lose(node)
        self._stale_nodes = dict.fromkeys(self._nodes)
        for deployment in self._deployments.values():
            self._touch(deployment)

    # Nodes

    def _announced(self, event: Announced, now: Seconds) -> None:
        announcement = event.announcement
        node = announcement.node
        if node in self._revoked:
            return
        member = self._nodes.get(node)
        if member is None:
            # It counts when its first beat comes.
            standing = Standing.GONE if self._settle_at is None else Standing.UNKNOWN
            self._nodes[node] = Member(announcement, standing)
            return
        before, member.announcement = member.announcement, announcement
        if before.incarnation != announcement.incarnation:
            # Its workers ended with the agent that ran them.
            member.beat, member.told = None, None
            self._paces.forget(node)
            self._blank(member)
            self._stale_nodes[node] = None

    def _beaten(self, event: Beaten, now: Seconds) -> None:
        beat = event.beat
        member = self._nodes.get(beat.node)
        if member is None or member.announcement.incarnation != beat.incarnation:
            return
        self._node_leases.hear(beat.node, now)
        before, member.beat = member.beat, beat
        if member.standing is not Standing.ALIVE:
            self._come(member, now)
        if beat.leaving != (before is not None and before.leaving):
            self._usable_changed(member, f"{beat.node} leaves" if beat.leaving else f"{beat.node} stays")
        self._see_workers(member, beat, now)

    def _see_workers(self, member: Member, beat: NodeBeat, now: Seconds) -> None:
        """Take note of how its workers are; only what differs from the last beat causes work."""
        placed = member.placed
        wanted = strange = unwanted = 0
        measured = predicted = 0.0
        for state in beat.workers:
            worker = placed.get(state.worker)
            if worker is None:
                strange += 1
                continue
            if worker.wanted:
                wanted += 1
            elif state.phase is not Phase.DRAINING:
                unwanted += 1
            before, worker.state = worker.state, state
            if before is None or _differ(before, state):
                self._worker_changed(worker, before, state, now)
            elif state.served > before.served and state.seconds and worker.spec.seconds:
                measured += state.seconds
                predicted += worker.spec.seconds
        if predicted:
            self._paces.tell(beat.node, measured / predicted, now)
        if strange or member.strays or len(beat.workers) - strange != len(placed):
            self._see_difference(member, beat)
        told = member.told
        differs_from_told = told is not None and (wanted != len(told) or strange or unwanted)
        if differs_from_told and now - member.sent_at >= self.options.resend:
            member.told = None
            self._stale_nodes[beat.node] = None

    def _see_difference(self, member: Member, beat: NodeBeat) -> None:
        """Some worker is missing from the beat, or strange to us."""
        seen = {state.worker for state in beat.workers}
        member.strays = frozenset(seen.difference(member.placed))
        for name, worker in list(member.placed.items()):
            if name not in seen and worker.state is not None:
                worker.state = None
                self._touch(self._deployments[worker.spec.model])
                if worker.epoch.phase is EpochPhase.GONE:
                    del member.placed[name]

    def _worker_changed(self, worker: Worker, before: WorkerState | None, state: WorkerState, now: Seconds) -> None:
        deployment = self._deployments[worker.spec.model]
        self._touch(deployment)
        if before is None and worker.epoch.adopt(worker):
            self._stale_nodes.update(dict.fromkeys(worker.epoch.nodes))
        if before is not None and state.restarts > before.restarts:
            crashes = worker.crashes
            crashes.append(now)
            while crashes[0] < now - self.options.crash_window:
                crashes.popleft()
            if len(crashes) >= self.options.crash_limit:
                crashes.clear()
                deployment.unfit[worker.node] = now + self.options.unfit_for
                self._tell("failing", str(worker.spec.worker), f"it ends again and again on {worker.node}")

    def _come(self, member: Member, now: Seconds) -> None:
        """A node is heard for the first time, or again."""
        node = member.announcement.node
        if member.standing is Standing.GONE:
            self._tell("joined", node, f"{node} is here")
            self._stir(f"{node} joined", now)
        member.standing = Standing.ALIVE
        member.told = None
        self._stale_nodes[node] = None
        self._survey.joined(node, self._nodes, self._links)
        for deployment in self._deployments.values():
            if deployment.live is None or deployment.failures or node in deployment.live.nodes:
                deployment.retry_at = now
                self._touch(deployment)

    def _lose(self, node: NodeId) -> None:
        """A node has not been heard for a lease."""
        member = self._nodes[node]
        member.standing = Standing.GONE
        member.beat, member.strays = None, frozenset()
        self._paces.forget(node)
        self._survey.gone(node)
        self._tell("lost", node, f"{node} has been silent for {self.options.lease:g} s")
        self._blank(member)

    def _blank(self, member: Member) -> None:
        """Nothing is known of its workers."""
        for name, worker in list(member.placed.items()):
            worker.state = None
            self._touch(self._deployments[worker.spec.model])
            if worker.epoch.phase is EpochPhase.GONE:
                del member.placed[name]

    def _usable_changed(self, member: Member, why: str) -> None:
        self._tell("drained" if not member.usable else "joined", member.announcement.node, why)
        for worker in member.placed.values():
            self._touch(self._deployments[worker.spec.model])

    def _drain_asked(self, event: DrainAsked, now: Seconds) -> None:
        member = self._nodes.get(event.node)
        if member is None or member.draining == event.on:
            return
        member.draining = event.on
        self._usable_changed(member, f"{event.node} is drained" if event.on else f"{event.node} is used again")
        if not event.on:
            self._stir(f"{event.node} is used again", now)

    def _node_revoked(self, event: NodeRevoked, now: Seconds) -> None:
        self._revoked.add(event.node)
        member = self._nodes.get(event.node)
        if member is not None:
            member.draining = True
            self._lose(event.node)
        for deployment in self._deployments.values():
            self._renew(deployment, f"{event.node} was revoked", now)

    def _usable(self, node: NodeId) -> bool:
        member = self._nodes.get(node)
        return member is not None and member.usable and node not in self._revoked

    def _host_of(self, node: NodeId) -> str | None:
        member = self._nodes.get(node)
        return member.announcement.host if member is not None and member.standing is not Standing.GONE else None

    # Gateways

    def _gateway_beaten(self, event: GatewayBeaten, now: Seconds) -> None:
        beat = event.beat
        self._gateway_leases.hear(beat.gateway, now)
        entrance = self._gateways.get(beat.gateway)
        if entrance is None or (entrance.beat.incarnation, entrance.beat.host) != (beat.incarnation, beat.host):
            entrance = self._gateways[beat.gateway] = Entrance(beat)
            for served in self._deployments.values():
                self._touch(served)
        entrance.beat = beat
        tallies = {tally.model: tally for tally in beat.models}
        for tally in beat.models:
            deployment = self._deployments.get(tally.model)
            if deployment is None:
                continue
            deployment.used_at = max(deployment.used_at, now - tally.idle)
            if deployment.parked and tally.queued:
                deployment.parked = False
                deployment.retry_at = now
                self._tell("unparked", tally.model, f"{tally.queued} requests wait for it")
                self._touch(deployment)
            elif len(deployment.epochs) > 1 or not deployment.live:
                self._dirty[tally.model] = None
        entrance.tallies = tallies
        self._see_tables(entrance, now)

    def _see_tables(self, entrance: Entrance, now: Seconds) -> None:
        """A gateway that does not show what it was told is told again."""
        for model, table in entrance.tables.items():
            tally = entrance.tallies.get(model)
            shown = "" if tally is None else tally.mark
            if shown != table.mark and now - entrance.sent_at[model] >= self.options.resend:
                entrance.sent_at[model] = now
                self._asks.append(Direct(entrance.beat.gateway, table))

    def _lose_gateway(self, gateway: GatewayId) -> None:
        del self._gateways[gateway]
        self._tell("lost", gateway, f"{gateway} has been silent for {self.options.lease:g} s")
        for deployment in self._deployments.values():
            self._dirty[deployment.spec.model] = None

    # What people want

    def _model_added(self, event: ModelAdded, now: Seconds) -> None:
        self._models[event.record.name] = event.record
        self._dirty[event.record.name] = None

    def _model_removed(self, event: ModelRemoved, now: Seconds) -> None:
        self._models.pop(event.model, None)

    def _deploy_asked(self, event: DeployAsked, now: Seconds) -> None:
        model = event.spec.model
        if model not in self._models:
            self._tell("refused", model, f"no model is called {model!r}")
            return
        deployment = self._deployments.get(model)
        if deployment is None:
            number = self._next_epochs.get(model, 1)
            deployment = Deployment(DeploymentRecord(spec=event.spec, next_epoch=number), now)
            self._deployments[model] = deployment
        elif deployment.change(event.spec):
            self._renew(deployment, "the deployment was changed", now)
        deployment.parked = deployment.removed = False
        deployment.retry_at = deployment.used_at = now
        self._touch(deployment)

    def _renew(self, deployment: Deployment, why: str, now: Seconds) -> None:
        """The live epoch has to be replaced, and what is being brought up is not wanted any more."""
        deployment.renew = deployment.live is not None
        rolling = deployment.rolling
        if rolling is not None:
            self._give_up(deployment, rolling, why, now)
        deployment.asked = None
        deployment.failures = 0
        deployment.retry_at = now
        self._end_trial(deployment)
        self._touch(deployment)

    def _undeploy_asked(self, event: UndeployAsked, now: Seconds) -> None:
        deployment = self._deployments.get(event.model)
        if deployment is not None and not deployment.removed:
            deployment.removed = True
            self._take_down(deployment, "undeployed", now)

    def _take_down(self, deployment: Deployment, why: str, now: Seconds) -> None:
        """Let go of every epoch."""
        deployment.asked = None
        deployment.renew = False
        self._end_trial(deployment)
        rolling, live = deployment.rolling, deployment.live
        if rolling is not None:
            self._drop(deployment, rolling, EpochStep.GIVE_UP, now)
        if live is not None:
            live.take(EpochStep.RETIRE, now)
        self._tell("parked" if deployment.parked else "removed", deployment.spec.model, why)
        self._touch(deployment)

    def _link_measured(self, event: LinkMeasured, now: Seconds) -> None:
        link = event.link
        before = self._links.get((link.source, link.target))
        self._links[link.source, link.target] = link
        self._survey.measured(link)
        if not self._survey.busy:
            self._dirty.update(dict.fromkeys(m for m, d in self._deployments.items() if d.live is None))
        if differs(link, before, self.options.link_change):
            self._stir(f"the link {link.source} -> {link.target} changed", now)

    # Time

    def _tick(self, event: Tick, now: Seconds) -> None:
        """What is due is looked for after every event."""

    def _watch(self, now: Seconds) -> None:
        """Whose time has come?"""
        for node in self._node_leases.expired(now):
            self._lose(node)
        for gateway in self._gateway_leases.expired(now):
            self._lose_gateway(gateway)
        if self._settle_at is not None and now >= self._settle_at:
            self._settle(now)
        for node, slow in self._paces.review(now):
            factor = self._paces.slowdown(node)
            said = f"{node} takes {factor:.1f} times as long as predicted" if slow else f"{node} is well again"
            self._tell("slow" if slow else "well", node, said)
            self._stir(said, now)
        if self._stir_at is not None and now >= self._stir_at:
            self._stir_at = None
            for deployment in self._deployments.values():
                deployment.wish = self._stirred
                self._dirty[deployment.spec.model] = None
        while self._alarms and self._alarms[0][0] <= now:
            at, model = heappop(self._alarms)
            rung = self._deployments.get(model)
            if rung is not None and rung.due == at:
                rung.due = None
                self._dirty[model] = None

    def _stir(self, why: str, now: Seconds) -> None:
        """Other plans may pay now; acted on when nothing more changes."""
        self._stirred = why
        self._stir_at = now + self.options.calm

    # The life of a deployment

    def _advance(self, deployment: Deployment, now: Seconds) -> None:
        """Do all that is due for one deployment."""
        for epoch in list(deployment.epochs):
            _PHASES[epoch.phase](self, deployment, epoch, now)
        self._judge(deployment, now)
        self._plan(deployment, now)
        deployment.ending = [epoch for epoch in deployment.ending if self._shows(epoch)]
        if deployment.removed and not deployment.epochs and not deployment.ending:
            return
        self._arm(deployment, now)

    def _starting(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        if self._overtaken(deployment, epoch, now):
            return
        why = self._poisoned(deployment, epoch, now)
        if not why and now >= epoch.since + self.options.start_timeout:
            missing = ", ".join(w.spec.worker for w in epoch.workers.values() if not w.ready)
            why = f"after {self.options.start_timeout:g} s {missing} did not serve"
        if why:
            self._give_up(deployment, epoch, why, now)
            return
        if epoch.advance():
            self._stale_nodes.update(dict.fromkeys(epoch.nodes))
        if epoch.ready:
            epoch.take(EpochStep.READY, now)
            self._probing(deployment, epoch, now)
            self._touch(deployment)

    def _overtaken(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> bool:
        """Whether an epoch that is being brought up has lost a node: it is given up, and another planned at once."""
        why = lost(epoch, self._usable)
        if why:
            self._give_up(deployment, epoch, why, now)
            deployment.failures -= 1
            deployment.retry_at = now
        return bool(why)

    def _poisoned(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> str:
        """Why the epoch cannot be brought up: a worker that ends at every start."""
        for worker in epoch.workers.values():
            state = worker.state
            if state is not None and not worker.ready and state.restarts >= self.options.load_failures:
                deployment.unfit[worker.node] = now + self.options.unfit_for
                said = state.fault.message if state.fault is not None else "no reason known"
                return f"{worker.spec.worker} ended {state.restarts} times on {worker.node}: {said}"
        return ""

    def _probing(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        if self._overtaken(deployment, epoch, now):
            return
        model, number, why = deployment.spec.model, epoch.number, ""
        proven = self._settle_at is None
        for gateway, entrance in self._gateways.items():
            tally = entrance.tallies.get(model)
            said = None if tally is None else tally.probed.get(number)
            proven = proven and said == ""
            why = why or (f"{gateway} got no answer through it: {said}" if said else "")
        if not why and now >= epoch.since + self.options.probe_timeout:
            why = f"not every gateway had an answer through it within {self.options.probe_timeout:g} s"
        if why:
            self._give_up(deployment, epoch, why, now)
        elif proven and epoch.ready:
            self._switch(deployment, epoch, now)

    def _switch(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        """The gateways use this epoch from now on."""
        before = deployment.live
        self._end_trial(deployment)
        epoch.take(EpochStep.PROVE, now)
        if before is not None:
            before.take(EpochStep.RETIRE, now)
            if epoch.voluntary:
                deployment.switched_at = now
                before.held = True
                until = now + self.options.trial
                deployment.trial = Trial(before.number, until, self._measured(deployment.spec.model))
        deployment.failures, deployment.renew = 0, False
        self._tell("rolled-out" if before is None else "replanned", deployment.spec.model, epoch.why)
        self._touch(deployment)

    def _in_use(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        """A live epoch asks for nothing; whether it has to be replaced is asked when plans are."""

    def _draining(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        if epoch.held or self._settle_at is not None:
            return
        model, number = deployment.spec.model, epoch.number
        emptied = all(entrance.emptied(model, number) for entrance in self._gateways.values())
        if emptied or now >= epoch.since + self.options.drain_timeout:
            self._drop(deployment, epoch, EpochStep.EMPTY, now)

    def _give_up(self, deployment: Deployment, epoch: Epoch, why: str, now: Seconds) -> None:
        """An epoch that was being brought up comes to nothing."""
        self._drop(deployment, epoch, EpochStep.GIVE_UP, now)
        deployment.failures += 1
        deployment.retry_at = now + pause(deployment.failures, self.options)
        if epoch.voluntary:
            deployment.avoid_until = now + self.options.avoid
        self._tell("rolled-back", deployment.spec.model, why)
        self._touch(deployment)

    def _drop(self, deployment: Deployment, epoch: Epoch, taken: EpochStep, now: Seconds) -> None:
        """An epoch is over: its nodes shall run nothing of it."""
        epoch.take(taken, now)
        deployment.epochs.remove(epoch)
        for name, worker in epoch.workers.items():
            member = self._nodes.get(worker.node)
            if member is not None:
                self._stale_nodes[worker.node] = None
                if worker.state is None:
                    member.placed.pop(name, None)
        if self._shows(epoch):
            deployment.ending.append(epoch)
        self._touch(deployment)

    def _shows(self, epoch: Epoch) -> bool:
        """Whether a node still runs some of its workers."""
        return any(name in self._nodes[w.node].placed for name, w in epoch.workers.items() if w.node in self._nodes)

    def _place(self, epoch: Epoch) -> None:
        for name, worker in epoch.workers.items():
            member = self._nodes.get(worker.node)
            if member is not None:
                member.placed[name] = worker
                self._stale_nodes[worker.node] = None

    # Trials

    def _judge(self, deployment: Deployment, now: Seconds) -> None:
        """At the end of a trial: was the switch worth it? Before that: does the new epoch still stand?"""
        trial, live = deployment.trial, deployment.live
        if trial is None or live is None:
            return
        previous = deployment.epoch(trial.previous)
        stands = previous is not None and not lost(previous, self._usable) and previous.serves
        if lost(live, self._usable) and previous is not None and stands:
            self._revive(deployment, live, previous, lost(live, self._usable), now)
        elif now >= trial.until:
            measured = self._measured(deployment.spec.model)
            objective, margin = deployment.spec.objective, self.options.trial_margin
            if previous is not None and stands and worse(measured, trial.before, objective, margin):
                self._revive(deployment, live, previous, "measured, the switch made it worse", now)
            else:
                self._end_trial(deployment)

    def _revive(self, deployment: Deployment, live: Epoch, previous: Epoch, why: str, now: Seconds) -> None:
        """Undo the switch."""
        self._end_trial(deployment)
        live.take(EpochStep.RETIRE, now)
        previous.take(EpochStep.REVIVE, now)
        deployment.avoid_until = now + self.options.avoid
        self._tell("rolled-back", deployment.spec.model, why)
        self._touch(deployment)

    def _end_trial(self, deployment: Deployment) -> None:
        """The previous epoch is not needed any more."""
        deployment.trial = None
        for epoch in deployment.epochs:
            epoch.held = False
        self._dirty[deployment.spec.model] = None

    def _measured(self, model: str) -> Measured:
        return Measured.of([e.tallies[model] for e in self._gateways.values() if model in e.tallies])

    # Plans

    def _plan(self, deployment: Deployment, now: Seconds) -> None:
        """Ask for a plan if one is needed, or queue up for one that might pay."""
        asked = deployment.asked
        if asked is not None and now - asked.at >= self.options.plan_timeout:
            deployment.asked = None
        closed = deployment.removed or deployment.parked or deployment.asked or deployment.rolling
        if closed or self._settle_at is not None or deployment.spec.model not in self._models:
            return
        why = self._needed(deployment, now)
        if why:
            if now >= deployment.retry_at and self._may_start(deployment, now):
                self._ask(deployment, why, voluntary=False, now=now)
        elif deployment.wish is not None and now >= self._wish_at(deployment, now):
            self._wishing[deployment.spec.model] = None

    def _needed(self, deployment: Deployment, now: Seconds) -> str:
        """Why there has to be another epoch; "" where the live one is good."""
        live = deployment.live
        if live is None:
            return "deployed"
        if deployment.renew:
            return "what is live is not what is wanted"
        deployment.unfit = fit(deployment.unfit, now)
        failing = sorted(live.nodes & deployment.unfit.keys())
        return lost(live, self._usable) or (f"workers fail on {', '.join(failing)}" if failing else "")

    def _may_start(self, deployment: Deployment, now: Seconds) -> bool:
        """Whether there is anything to plan with, and the first plan need not wait for links being measured."""
        if not any(member.usable for member in self._nodes.values()):
            return False
        first = deployment.live is None and not deployment.failures
        return not (first and self._survey.busy and now < deployment.retry_at + self.options.survey_patience)

    def _wish_at(self, deployment: Deployment, now: Seconds) -> Seconds:
        """When a plan that might pay may be asked for."""
        at = max(deployment.avoid_until, now)
        if deployment.trial is not None:
            at = max(at, deployment.trial.until)
        if deployment.switched_at is not None:
            at = max(at, deployment.switched_at + self.options.interval)
        if deployment.considered_at is not None:
            at = max(at, deployment.considered_at + self.options.consider)
        return at

    def _consider(self, now: Seconds) -> None:
        """Ask for plans that might pay, a few at a time."""
        if not self._wishing:
            return
        under_way = sum(d.asked is not None and d.asked.voluntary for d in self._deployments.values())
        while self._wishing and under_way < self.options.voluntary_plans:
            model = next(iter(self._wishing))
            del self._wishing[model]
            deployment = self._deployments.get(model)
            if deployment is None or not deployment.settled or deployment.wish is None or deployment.trial:
                continue
            under_way += 1
            self._ask(deployment, deployment.wish, voluntary=True, now=now)
            self._arm(deployment, now)

    def _ask(self, deployment: Deployment, why: str, *, voluntary: bool, now: Seconds) -> None:
        self._tickets += 1
        deployment.wish = None
        deployment.considered_at = now
        spec, model = deployment.spec, deployment.spec.model
        allowed = set(spec.nodes) or self._nodes.keys()
        views = [
            NodeView(
                announcement=member.announcement,
                free=member.free,
                slowdown=self._paces.slowdown(node),
                load=member.load(model),
            )
            for node, member in sorted(self._nodes.items())
            if node in allowed and self._usable(node) and node not in deployment.unfit
        ]
        nodes = frozenset(view.announcement.node for view in views)
        deployment.asked = Ask(self._tickets, why, voluntary, nodes, now)
        live = deployment.live
        source, host = self._source()
        self._asks.append(
            MakePlan(
                ticket=self._tickets,
                spec=spec,
                record=self._models[model],
                nodes=tuple(views),
                links=tuple(self._links.values()),
                source=source,
                source_host=host,
                live=None if live is None else live.blueprint,
            )
        )

    def _source(self) -> tuple[NodeId, str]:
        """Where requests are born: at the first gateway; as long as there is none, at the first node."""
        if self._gateways:
            beat = self._gateways[min(self._gateways)].beat
            return beat.node, beat.host
        node = min(node for node, member in self._nodes.items() if member.usable)
        return node, self._nodes[node].announcement.host

    def _planned(self, event: Planned, now: Seconds) -> None:
        deployment = self._deployments.get(event.model)
        if deployment is None or deployment.asked is None or deployment.asked.ticket != event.ticket:
            return
        asked, deployment.asked = deployment.asked, None
        self._touch(deployment)
        needed = self._needed(deployment, now)
        blueprint = event.blueprint
        if blueprint is None:
            if needed:
                self._unplanned(deployment, event, now)
        elif not asked.nodes.issuperset(used := nodes_of(blueprint)):
            stranger = ", ".join(sorted(used - asked.nodes))
            fault = Fault("NoPlan", f"the plan uses {stranger}, which was not offered", "coordinator")
            self._unplanned(deployment, msgspec.structs.replace(event, fault=fault, short=False), now)
        elif not all(map(self._usable, used)):
            # Lost while the plan was made: another one is asked for at once.
            deployment.wish = None if needed else asked.why
        elif needed:
            if fits(blueprint, self._nodes):
                self._begin(deployment, blueprint, asked.why, voluntary=False, now=now)
            else:
                self._unplanned(deployment, msgspec.structs.replace(event, blueprint=None, short=True), now)
        elif self._pays(deployment, blueprint, event) and fits(blueprint, self._nodes):
            self._begin(deployment, blueprint, asked.why, voluntary=True, now=now)

    def _pays(self, deployment: Deployment, blueprint: Blueprint, event: Planned) -> bool:
        live = deployment.live
        if live is None or blueprint.chains == live.blueprint.chains:
            return False
        return gains(event, deployment.spec.objective, self.options.gain)

    def _begin(self, deployment: Deployment, blueprint: Blueprint, why: str, *, voluntary: bool, now: Seconds) -> None:
        """Bring up a blueprint."""
        model, number = deployment.spec.model, deployment.next_epoch
        deployment.next_epoch += 1
        token = token_of(self._secret, model, number)
        record = EpochRecord(epoch=number, token=token, phase=EpochPhase.STARTING, blueprint=blueprint, why=why)
        epoch = Epoch(model, record, now, self.options)
        epoch.voluntary = voluntary
        deployment.epochs.append(epoch)
        self._place(epoch)
        self._tell("rolling-out", model, f"epoch {number}: {why}")

    def _unplanned(self, deployment: Deployment, event: Planned, now: Seconds) -> None:
        """There is no plan, and one is needed: make room, or try again later."""
        if event.short and self._make_room(deployment, now):
            deployment.retry_at = now + self.options.retry
            return
        deployment.failures += 1
        deployment.retry_at = now + pause(deployment.failures, self.options)
        said = event.fault.message if event.fault is not None else "memory is short"
        self._tell("unplanned", deployment.spec.model, said)

    def _make_room(self, deployment: Deployment, now: Seconds) -> bool:
        """Free memory for ``deployment``, the cheapest first. Whether there is hope."""
        others = [d for d in self._deployments.values() if d is not deployment]
        held = [d for d in self._deployments.values() if d.trial is not None]
        for on_trial in held:
            self._end_trial(on_trial)
        if held or any(d.ending or any(e.phase is EpochPhase.DRAINING for e in d.epochs) for d in others):
            return True
        if deployment.ending or any(epoch.phase is EpochPhase.DRAINING for epoch in deployment.epochs):
            return True
        live = deployment.live
        if live is not None and not live.serves:
            live.take(EpochStep.RETIRE, now)
            return True
        least = least_used(others, now - self.options.park_after)
        if least is None:
            return False
        least.parked = True
        self._take_down(least, f"makes room for {deployment.spec.model}", now)
        return True

    # Writing

    def _touch(self, deployment: Deployment) -> None:
        """Look at it, and at the tables that lead through it."""
        self._dirty[deployment.spec.model] = None
        self._stale_tables[deployment.spec.model] = None

    def _arm(self, deployment: Deployment, now: Seconds) -> None:
        """Look at the deployment again when something of it is due."""
        options = self.options
        limits = {
            EpochPhase.STARTING: options.start_timeout,
            EpochPhase.PROBING: options.probe_timeout,
            EpochPhase.DRAINING: options.drain_timeout,
        }
        times: list[Seconds | None] = [e.since + limits[e.phase] for e in deployment.epochs if e.phase in limits]
        times.append(deployment.retry_at)
        times.append(deployment.retry_at + options.survey_patience)
        times.append(deployment.asked.at + options.plan_timeout if deployment.asked is not None else None)
        times.append(deployment.trial.until if deployment.trial is not None else None)
        times.append(self._wish_at(deployment, now) if deployment.wish is not None else None)
        times += deployment.unfit.values()
        due = soonest(at for at in times if at is not None and at > now)
        if due is not None and due != deployment.due:
            deployment.due = due
            heappush(self._alarms, (due, deployment.spec.model))

    def _saves(self) -> Iterable[CoordinatorCommand]:
        commands: list[CoordinatorCommand] = []
        for model in self._touched:
            deployment = self._deployments.get(model)
            if deployment is None:
                continue
            if deployment.removed and not deployment.epochs and not deployment.ending:
                self._next_epochs[model] = deployment.next_epoch
                commands.append(Erase(model))
                continue
            mark = deployment.mark()
            if mark != deployment.saved:
                deployment.saved = mark
                commands.append(Save(deployment.record()))
        self._touched.clear()
        return commands

    def _assigns(self, now: Seconds) -> Iterable[CoordinatorCommand]:
        commands: list[CoordinatorCommand] = []
        for node in self._stale_nodes:
            member = self._nodes.get(node)
            if member is None or member.standing is Standing.UNKNOWN:
                continue  # what it runs is not known yet; it may be more than this coordinator would want
            wanted = () if node in self._revoked else member.wanted()
            if member.told is None or [w.worker for w in wanted] != [w.worker for w in member.told]:
                member.told, member.sent_at = wanted, now
                commands.append(Assign(Assignment(node=node, term=self._term, workers=wanted)))
        self._stale_nodes.clear()
        return commands

    def _directs(self, now: Seconds) -> Iterable[CoordinatorCommand]:
        commands: list[CoordinatorCommand] = []
        stale, self._stale_tables = self._stale_tables, {}
        for model in stale:
            deployment = self._deployments.get(model)
            if deployment is None:
                continue
            if not self._known(deployment):
                self._stale_tables[model] = None
                continue
            made: dict[str, RouteTable] = {}
            for gateway, entrance in sorted(self._gateways.items()):
                host, last = entrance.beat.host, entrance.tables.get(model)
                table = made.get(host) or made.setdefault(host, self._table(deployment, host))
                if last is None or msgspec.structs.replace(last, mark="") != table:
                    self._marks += 1
                    table = msgspec.structs.replace(table, mark=f"{self._term}.{self._marks}")
                    entrance.tables[model], entrance.sent_at[model] = table, now
                    commands.append(Direct(gateway, table))
        for model in stale:
            deployment = self._deployments.get(model)
            if deployment is not None and deployment.removed and not deployment.epochs and not deployment.ending:
                del self._deployments[model]
                for entrance in self._gateways.values():
                    entrance.tables.pop(model, None)
        return commands

    def _known(self, deployment: Deployment) -> bool:
        """Whether all nodes of the ways have been heard of: else a table would leave out ways that work."""
        epochs = [epoch for epoch in (deployment.live, deployment.rolling) if epoch is not None]
        nodes = (self._nodes.get(node) for epoch in epochs for node in epoch.nodes)
        return not any(member is not None and member.standing is Standing.UNKNOWN for member in nodes)

    def _table(self, deployment: Deployment, host: str) -> RouteTable:
        def ways(epoch: Epoch | None) -> EpochTable | None:
            return None if epoch is None else epoch_table(epoch, host, self._host_of, self.options.most_routes)

        spec, live, rolling = deployment.spec, deployment.live, deployment.rolling
        probed = rolling if rolling is not None and rolling.phase is EpochPhase.PROBING else None
        return RouteTable(
            model=spec.model,
            term=self._term,
            live=ways(live),
            candidate=ways(probed),
            whole=live.blueprint.whole if live is not None and spec.fallback else None,
            window=spec.window,
            timeout=spec.timeout,
            removed=deployment.removed,
        )

    def _tell(self, kind: str, about: str, text: str) -> None:
        self._notes.append(Tell(kind, about, text))

    def validate(self) -> None:
        """See `Machine.validate`."""
        self._node_leases.validate()
        self._gateway_leases.validate()
        placed: set[WorkerId] = set()
        for node, member in self._nodes.items():
            assert (node in self._node_leases) == (member.standing is Standing.ALIVE), node
            for name, worker in member.placed.items():
                assert worker.node == node and worker.spec.worker == name
                assert worker.epoch.phase is not EpochPhase.GONE or worker.state is not None
                placed.add(name)
        for model, deployment in self._deployments.items():
            assert sum(epoch.phase is EpochPhase.LIVE for epoch in deployment.epochs) <= 1, model
            assert all(epoch.phase is not EpochPhase.GONE for epoch in deployment.epochs)
            assert all(epoch.number < deployment.next_epoch for epoch in deployment.epochs)
            for epoch in deployment.epochs:
                assert all(n in placed for n, w in epoch.workers.items() if w.node in self._nodes)
                assert epoch.held == (deployment.trial is not None and deployment.trial.previous == epoch.number)


def _differ(before: WorkerState, state: WorkerState) -> bool:
    """Whether anything has changed that decisions hang on."""
    return before.phase is not state.phase or before.restarts != state.restarts or before.addresses != state.addresses


_PHASES: Mapping[EpochPhase, Callable[[Coordinator, Deployment, Epoch, Seconds], None]] = {
    EpochPhase.STARTING: Coordinator._starting,
    EpochPhase.PROBING: Coordinator._probing,
    EpochPhase.LIVE: Coordinator._in_use,
    EpochPhase.DRAINING: Coordinator._draining,
}

_EVENTS: Mapping[type, Callable[[Coordinator, Any, Seconds], None]] = {
    Leading: Coordinator._leading,
    Announced: Coordinator._announced,
    Beaten: Coordinator._beaten,
    GatewayBeaten: Coordinator._gateway_beaten,
    LinkMeasured: Coordinator._link_measured,
    ModelAdded: Coordinator._model_added,
    ModelRemoved: Coordinator._model_removed,
    DeployAsked: Coordinator._deploy_asked,
    UndeployAsked: Coordinator._undeploy_asked,
    DrainAsked: Coordinator._drain_asked,
    NodeRevoked: Coordinator._node_revoked,
    Planned: Coordinator._planned,
    Tick: Coordinator._tick,
}
