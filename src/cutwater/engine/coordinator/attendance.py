"""Attendance: nodes and gateways come, beat, change and go; what that changes is marked in the books."""

from cutwater.engine.control import Assign, Direct, DrainAsked
from cutwater.engine.coordinator.books import Books
from cutwater.engine.coordinator.health import Work
from cutwater.engine.coordinator.members import Entrance, Member, Standing
from cutwater.engine.coordinator.rollout import Worker
from cutwater.engine.coordinator.size import Size
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.nodes import Announcement, Assignment, NodeBeat, Phase, WorkerState
from cutwater.units import GatewayId, NodeId, Seconds


class Attendance:
    """Hears everybody. A beat that says nothing new costs a few comparisons, whatever the size of the cluster."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._options = books.options

    def announced(self, announcement: Announcement, now: Seconds) -> None:
        """A node says what it is."""
        node = announcement.node
        if node in self._books.revoked:
            return
        member = self._books.nodes.get(node)
        if member is None:
            # It counts when its first beat comes; until the books are settled its workers may be ours.
            standing = Standing.UNKNOWN if self._books.settling else Standing.GONE
            member = self._books.nodes[node] = Member(announcement, standing)
            self._books.stir(f"{node} joined", now)
            for deployment in self._books.deployments.values():
                for epoch in deployment.epochs:
                    member.placed.update((n, w) for n, w in epoch.workers.items() if w.node == node)
            return
        before, member.announcement = member.announcement, announcement
        if before.incarnation != announcement.incarnation:
            # Its workers ended with the agent that ran them.
            member.beat, member.told = None, None
            self._books.paces.forget(node)
            self._blank(member)
            self._books.stale_nodes[node] = None

    def beaten(self, beat: NodeBeat, now: Seconds) -> None:
        """A node lives."""
        member = self._books.nodes.get(beat.node)
        if member is None or member.announcement.incarnation != beat.incarnation:
            return
        self._books.node_leases.hear(beat.node, now)
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
        work: Work | None = None
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
            elif state.served > before.served and state.spent > before.spent and worker.spec.seconds:
                done = _done(worker, before, state).beyond(self._options.slack)
                work = work + done if work is not None and done is not None else done or work
        if work is not None:
            self._books.paces.tell(beat.node, member.announcement.host, work, now)
        if strange or member.strays or len(beat.workers) - strange != len(placed):
            self._see_difference(member, beat)
        told = member.told
        differs_from_told = told is not None and (wanted != len(told) or strange or unwanted)
        if differs_from_told and now - member.sent_at >= self._options.resend:
            member.told = None
            self._books.stale_nodes[beat.node] = None

    def _see_difference(self, member: Member, beat: NodeBeat) -> None:
        """Some worker is missing from the beat, or strange to us."""
        seen = {state.worker for state in beat.workers}
        member.strays = frozenset(seen.difference(member.placed))
        for name, worker in list(member.placed.items()):
            if name not in seen and worker.state is not None:
                worker.state = None
                self._books.touch(self._books.deployments[worker.spec.model])
                if worker.over:
                    del member.placed[name]

    def _worker_changed(self, worker: Worker, before: WorkerState | None, state: WorkerState, now: Seconds) -> None:
        deployment = self._books.deployments[worker.spec.model]
        self._books.touch(deployment)
        if before is None and worker.epoch.adopt(worker):
            self._books.stale_nodes.update(dict.fromkeys(worker.epoch.nodes))
        if before is not None and state.restarts > before.restarts:
            crashes = worker.crashes
            crashes.append(now)
            while crashes[0] < now - self._options.crash_window:
                crashes.popleft()
            if len(crashes) >= self._options.crash_limit:
                crashes.clear()
                deployment.unfit.add(worker.node, now)
                self._books.tell("failing", str(worker.spec.worker), f"it ends again and again on {worker.node}")

    def _come(self, member: Member, now: Seconds) -> None:
        """A node is heard for the first time, or again."""
        node = member.announcement.node
        if member.standing is Standing.GONE:
            self._books.tell("joined", node, f"{node} is here")
            self._books.stir(f"{node} joined", now)
        member.standing = Standing.ALIVE
        member.told = None
        self._books.stale_nodes[node] = None
        self._books.survey.joined(node, self._books.nodes, self._books.links, now)
        for deployment in self._books.deployments.values():
            if deployment.live is None or deployment.failures or node in deployment.live.nodes:
                deployment.retry_at = now
                self._books.touch(deployment)
        self._more_room()

    def _more_room(self) -> None:
        """Those that found none for another chain may look again at once."""
        for deployment in self._books.deployments.values():
            if deployment.size is not None and deployment.size.short_since is not None:
                deployment.size.awaits_room = True

    def lose(self, node: NodeId) -> None:
        """A node has not been heard for a lease."""
        member = self._books.nodes[node]
        member.standing = Standing.GONE
        member.beat, member.strays = None, frozenset()
        self._books.paces.forget(node)
        self._books.survey.gone(node)
        self._books.tell("lost", node, f"{node} has been silent for {self._options.lease:g} s")
        self._blank(member)

    def _blank(self, member: Member) -> None:
        """Nothing is known of its workers."""
        for name, worker in list(member.placed.items()):
            worker.state = None
            self._books.touch(self._books.deployments[worker.spec.model])
            if worker.over:
                del member.placed[name]

    def _usable_changed(self, member: Member, why: str) -> None:
        """Its workers may have to go elsewhere, or may stay after all."""
        self._books.tell("drained" if not member.usable else "joined", member.announcement.node, why)
        for worker in member.placed.values():
            self._books.touch(self._books.deployments[worker.spec.model])

    def drain_asked(self, event: DrainAsked, now: Seconds) -> None:
        """People want a node to run nothing, or to run things again."""
        member = self._books.nodes.get(event.node)
        if member is None or member.draining == event.on:
            return
        member.draining = event.on
        self._usable_changed(member, f"{event.node} is drained" if event.on else f"{event.node} is used again")
        if not event.on:
            self._books.stir(f"{event.node} is used again", now)
            self._more_room()

    def gateway_beaten(self, beat: GatewayBeat, now: Seconds) -> None:
        """A gateway lives."""
        self._books.gateway_leases.hear(beat.gateway, now)
        entrance = self._books.gateways.get(beat.gateway)
        if entrance is None or (entrance.beat.incarnation, entrance.beat.host) != (beat.incarnation, beat.host):
            entrance = self._books.gateways[beat.gateway] = Entrance(beat)
            for served in self._books.deployments.values():
                self._books.touch(served)
        entrance.beat = beat
        before, tallies = entrance.tallies, {tally.model: tally for tally in beat.models}
        entrance.tallies = tallies
        for tally in beat.models:
            deployment = self._books.deployments.get(tally.model)
            if deployment is None:
                if tally.epoch:  # undeployed while it was away
                    gone = RouteTable(model=tally.model, term=self._books.term, removed=True)
                    self._books.asks.append(Direct(beat.gateway, gone))
                continue
            deployment.used_at = max(deployment.used_at, now - tally.idle)
            if deployment.size is not None:
                self._count(deployment.size, before.get(tally.model), tally)
            if deployment.parked and tally.queued:
                deployment.parked = False
                deployment.retry_at = now
                self._books.tell("unparked", tally.model, f"{tally.queued} requests wait for it")
                self._books.touch(deployment)
            elif len(deployment.epochs) > 1 or (live := deployment.live) is None or live.leaving or live.lame:
                self._books.dirty[tally.model] = None
        self._see_tables(entrance, now)
        if beat.suspects or entrance.suspects:
            self._see_suspects(entrance, now)

    def _count(self, size: Size, before: ModelTally | None, tally: ModelTally) -> None:
        """Requests are asked for, whether they are let in or not; of those before a gateway was known nobody knows."""
        asked = 0
        if before is not None:
            asked = max(tally.accepted + tally.refused - before.accepted - before.refused, 0)
        waiting = sum(e.tallies[tally.model].queued for e in self._books.gateways.values() if tally.model in e.tallies)
        size.demand.count(asked, waiting)

    def _see_tables(self, entrance: Entrance, now: Seconds) -> None:
        """A gateway that does not show what it was told is told again."""
        for model, table in entrance.tables.items():
            tally = entrance.tallies.get(model)
            shown = "" if tally is None else tally.mark
            if shown != table.mark and now - entrance.sent_at[model] >= self._options.resend:
                entrance.sent_at[model] = now
                self._books.asks.append(Direct(entrance.beat.gateway, table))

    def _see_suspects(self, entrance: Entrance, now: Seconds) -> None:
        """A worker that serves by its node's word, but not by the gateway's, makes its node unfit for the model."""
        known = entrance.suspects
        entrance.suspects = {address: known.get(address, now) for address in entrance.beat.suspects}
        long = {a for a, since in entrance.suspects.items() if now - since >= self._options.suspect_for}
        if not long:
            return
        for deployment in self._books.deployments.values():
            live = deployment.live
            for worker in live.workers.values() if live is not None else ():
                suspected = worker.state is not None and worker.ready and long.intersection(worker.state.addresses)
                if suspected and worker.node not in deployment.unfit:
                    deployment.unfit.add(worker.node, now)
                    said = f"{entrance.beat.gateway} gets no answer from it on {worker.node}"
                    self._books.tell("failing", str(worker.spec.worker), said)
                    self._books.touch(deployment)

    def lose_gateway(self, gateway: GatewayId) -> None:
        """A gateway has not been heard for a lease."""
        del self._books.gateways[gateway]
        self._books.tell("lost", gateway, f"{gateway} has been silent for {self._options.lease:g} s")
        for deployment in self._books.deployments.values():
            self._books.dirty[deployment.spec.model] = None

    def settle(self) -> None:
        """Whoever lives has been heard by now."""
        self._books.settle_at = None
        for node, member in self._books.nodes.items():
            if member.standing is Standing.UNKNOWN:
                self.lose(node)
        self._books.stale_nodes = dict.fromkeys(self._books.nodes)
        for deployment in self._books.deployments.values():
            self._books.touch(deployment)

    def revoke(self, node: NodeId) -> None:
        """A node no longer belongs here: it is told to run nothing, and not heard any more."""
        books = self._books
        books.revoked.add(node)
        member = books.nodes.get(node)
        if member is None:
            return
        self.lose(node)
        books.node_leases.forget(node)
        books.asks.append(Assign(Assignment(node=node, term=books.term)))
        del books.nodes[node]


def _done(worker: Worker, before: WorkerState, state: WorkerState) -> Work:
    """What a worker did between two beats.

    Batches take less than was predicted of their requests one by one. That makes no node fast, or others would seem
    slow: who takes batches is as fast as predicted, or slower.
    """
    served = state.served - before.served
    predicted, spent = served * worker.spec.seconds, state.spent - before.spent
    if worker.spec.batching.limit > 1:
        spent = max(spent, predicted)
    return Work(served, predicted, spent, state.waited - before.waited)


def _differ(before: WorkerState, state: WorkerState) -> bool:
    """Whether anything has changed that decisions hang on."""
    return before.phase is not state.phase or before.restarts != state.restarts or before.addresses != state.addresses
