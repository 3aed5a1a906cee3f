"""Conduct: leads each epoch through its life, from the first worker wanted to the last one gone."""

import itertools
from collections.abc import Callable, Mapping

from cutwater.engine.coordinator.books import Books
from cutwater.engine.coordinator.chains import Chains
from cutwater.engine.coordinator.deployment import Deployment
from cutwater.engine.coordinator.members import Entrance
from cutwater.engine.coordinator.replanning import Shortfall, Trial, lost, pause, worse
from cutwater.engine.coordinator.rollout import Epoch, EpochStep, token_of
from cutwater.engine.facts.deployments import Blueprint, DeploymentRecord, EpochPhase, EpochRecord
from cutwater.units import GatewayId, Seconds


class Conduct:
    """Decides at each phase what is due; see `cutwater.engine.coordinator.rollout` for the life itself."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._options = books.options
        self.chains = Chains(books)

    def advance(self, deployment: Deployment, now: Seconds) -> None:
        """Do all that is due for the deployment's epochs."""
        for epoch in list(deployment.epochs):
            _PHASES[epoch.phase](self, deployment, epoch, now)
        self._judge(deployment, now)
        deployment.ending = [epoch for epoch in deployment.ending if self._shows(epoch)]

    def _starting(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        if self._overtaken(deployment, epoch, now):
            return
        why = self._poisoned(deployment, epoch, now)
        if not why and now >= epoch.since + self._options.start_timeout:
            missing = ", ".join(w.spec.worker for w in epoch.workers.values() if not w.ready)
            why = f"after {self._options.start_timeout:g} s {missing} did not serve"
        if why:
            self._give_up(deployment, epoch, why, now)
            return
        if epoch.advance():
            self._books.stale_nodes.update(dict.fromkeys(epoch.nodes))
        if epoch.ready:
            epoch.take(EpochStep.READY, now)
            self._probing(deployment, epoch, now)
            self._books.touch(deployment)

    def _overtaken(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> bool:
        """Whether an epoch that is being brought up has lost a node: it is given up, and another planned at once."""
        why = lost(epoch, self._books.usable)
        if why:
            self._give_up(deployment, epoch, why, now)
            deployment.failures -= 1
            deployment.retry_at = now
        return bool(why)

    def _poisoned(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> str:
        """Why the epoch cannot be brought up: a worker that ends at every start."""
        for worker in epoch.workers.values():
            state = worker.state
            if state is not None and not worker.ready and state.restarts >= self._options.load_failures:
                deployment.unfit.add(worker.node, now)
                said = state.fault.message if state.fault is not None else "no reason known"
                return f"{worker.spec.worker} ended {state.restarts} times on {worker.node}: {said}"
        return ""

    def _probing(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        """Every gateway must have had an answer through every chain; when the time for that is over, one must."""
        if self._overtaken(deployment, epoch, now):
            return
        said = {gateway: entrance.probed(deployment.spec.model, epoch.number) for gateway, entrance in self._gateways()}
        proven = [gateway for gateway, why in said.items() if why == ""]
        late = now >= epoch.since + self._options.probe_timeout
        if not self._books.settling and epoch.ready and len(proven) == len(said):
            self._switch(deployment, epoch, now)
        elif late and proven and epoch.ready:
            # One gateway that is ill must not keep all others from what is better, or alone left.
            self._books.tell("unproven", deployment.spec.model, f"epoch {epoch.number}: {_complaints(said)}")
            self._switch(deployment, epoch, now)
        elif late or (said and all(said.values())):
            why = _complaints(said) or f"not all of it served for {self._options.probe_timeout:g} s"
            self._give_up(deployment, epoch, why, now)

    def _gateways(self) -> list[tuple[GatewayId, Entrance]]:
        return sorted(self._books.gateways.items())

    def _switch(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        """The gateways use this epoch from now on."""
        before = deployment.live
        self.end_trial(deployment)
        epoch.take(EpochStep.PROVE, now)
        if before is not None:
            before.take(EpochStep.RETIRE, now)
            if epoch.voluntary:
                deployment.switched_at = now
                before.held = True
                until = now + self._options.trial
                deployment.trial = Trial(before.number, until, self._books.measured(deployment.spec.model))
        deployment.failures, deployment.renew = 0, False
        self._books.tell("rolled-out" if before is None else "replanned", deployment.spec.model, epoch.why)
        self._books.touch(deployment)

    def _in_use(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        """A live epoch asks for nothing but that its chains come and go; whether it is replaced is asked with plans."""
        self.chains.tend(deployment, epoch, now)

    def _draining(self, deployment: Deployment, epoch: Epoch, now: Seconds) -> None:
        """Until nothing is under way on it any more."""
        if epoch.held or self._books.settling:
            return
        model, number = deployment.spec.model, epoch.number
        emptied = all(entrance.emptied(model, number) for entrance in self._books.gateways.values())
        if emptied or now >= epoch.since + self._options.drain_timeout:
            self._drop(deployment, epoch, EpochStep.EMPTY, now)

    def _give_up(self, deployment: Deployment, epoch: Epoch, why: str, now: Seconds) -> None:
        """An epoch that was being brought up comes to nothing."""
        self._drop(deployment, epoch, EpochStep.GIVE_UP, now)
        deployment.failures += 1
        deployment.retry_at = now + pause(deployment.failures, self._options)
        if epoch.voluntary:
            deployment.avoid_until = now + self._options.avoid
        self._books.tell("rolled-back", deployment.spec.model, why)
        self._books.touch(deployment)

    def _drop(self, deployment: Deployment, epoch: Epoch, taken: EpochStep, now: Seconds) -> None:
        """An epoch is over: its nodes shall run nothing of it."""
        epoch.take(taken, now)
        deployment.epochs.remove(epoch)
        for name, worker in epoch.workers.items():
            member = self._books.nodes.get(worker.node)
            if member is not None:
                self._books.stale_nodes[worker.node] = None
                if worker.state is None:
                    member.placed.pop(name, None)
        if self._shows(epoch):
            deployment.ending.append(epoch)
        self._books.touch(deployment)

    def _shows(self, epoch: Epoch) -> bool:
        """Whether a node still runs some of its workers."""
        workers = itertools.chain(epoch.workers.items(), epoch.ended.items())
        return any(name in self._books.nodes[w.node].placed for name, w in workers if w.node in self._books.nodes)

    def _place(self, epoch: Epoch) -> None:
        """Its workers take their memory from now on."""
        for name, worker in epoch.workers.items():
            member = self._books.nodes.get(worker.node)
            if member is not None:
                member.placed[name] = worker
                self._books.stale_nodes[worker.node] = None

    def _judge(self, deployment: Deployment, now: Seconds) -> None:
        """At the end of a trial: was the switch worth it? Before that: does the new epoch still stand?"""
        trial, live = deployment.trial, deployment.live
        if trial is None or live is None:
            return
        previous = deployment.epoch(trial.previous)
        stands = previous is not None and not self._books.fails(deployment, previous) and previous.serves
        if (why := self._books.fails(deployment, live)) and previous is not None and stands:
            self._revive(deployment, live, previous, why, now)
        elif now >= trial.until:
            measured = self._books.measured(deployment.spec.model)
            objective, margin = deployment.spec.objective, self._options.trial_margin
            if previous is not None and stands and worse(measured, trial.before, objective, margin):
                self._revive(deployment, live, previous, "measured, the switch made it worse", now)
            else:
                self.end_trial(deployment)

    def _revive(self, deployment: Deployment, live: Epoch, previous: Epoch, why: str, now: Seconds) -> None:
        """Undo the switch."""
        self.end_trial(deployment)
        live.take(EpochStep.RETIRE, now)
        previous.take(EpochStep.REVIVE, now)
        deployment.avoid_until = now + self._options.avoid
        self._books.tell("rolled-back", deployment.spec.model, why)
        self._books.touch(deployment)

    def end_trial(self, deployment: Deployment) -> None:
        """The previous epoch is not needed any more."""
        deployment.trial = None
        for epoch in deployment.epochs:
            epoch.held = False
        self._books.dirty[deployment.spec.model] = None

    def begin(self, deployment: Deployment, blueprint: Blueprint, why: str, *, voluntary: bool, now: Seconds) -> None:
        """Bring up a blueprint."""
        model, number = deployment.spec.model, deployment.next_epoch
        lacking = Shortfall.of(blueprint, deployment.wished).said(deployment.wished)
        reason, why = why, f"{why}; {lacking}" if lacking else why
        deployment.next_epoch += 1
        token = token_of(self._books.secret, model, number)
        record = EpochRecord(epoch=number, token=token, phase=EpochPhase.STARTING, blueprint=blueprint, why=why)
        epoch = Epoch(model, record, now, self._options)
        epoch.voluntary, epoch.reason = voluntary, reason
        deployment.epochs.append(epoch)
        self._place(epoch)
        self._books.tell("rolling-out", model, f"epoch {number}: {why}")

    def postpone(self, deployment: Deployment, epoch: Epoch, why: str, now: Seconds) -> None:
        """What is more urgent does not wait for an epoch that is brought up because it may pay; it may come later."""
        self._drop(deployment, epoch, EpochStep.GIVE_UP, now)
        deployment.wish = epoch.reason
        self._books.tell("postponed", deployment.spec.model, f"epoch {epoch.number}: {why}")

    def take_down(self, deployment: Deployment, kind: str, why: str, now: Seconds) -> None:
        """Let go of every epoch."""
        deployment.asked = None
        deployment.renew = False
        self.end_trial(deployment)
        rolling, live = deployment.rolling, deployment.live
        if rolling is not None:
            self._drop(deployment, rolling, EpochStep.GIVE_UP, now)
        if live is not None:
            live.take(EpochStep.RETIRE, now)
        self._books.tell(kind, deployment.spec.model, why)
        self._books.touch(deployment)

    def renew(self, deployment: Deployment, why: str, now: Seconds) -> None:
        """The live epoch has to be replaced, and what is being brought up is not wanted any more."""
        deployment.renew = deployment.live is not None
        rolling = deployment.rolling
        if rolling is not None:
            self._give_up(deployment, rolling, why, now)
        deployment.asked = None
        deployment.failures = 0
        deployment.retry_at = now
        self.end_trial(deployment)
        self._books.touch(deployment)

    def restore(self, record: DeploymentRecord, now: Seconds) -> None:
        """Go on where a predecessor stopped."""
        deployment = Deployment(record, now, self._options)
        self._books.deployments[record.spec.model] = deployment
        for epoch_record in record.epochs:
            epoch = Epoch(record.spec.model, epoch_record, now, self._options)
            deployment.epochs.append(epoch)
            self._place(epoch)
        deployment.saved = deployment.mark()
        self._books.touch(deployment)


def _complaints(said: Mapping[GatewayId, str | None]) -> str:
    """What gateways have to say against an epoch."""
    return "; ".join(
        f"{gateway} got no answer through it" + (f": {why}" if why else " in time")
        for gateway, why in said.items()
        if why != ""
    )


_PHASES: Mapping[EpochPhase, Callable[[Conduct, Deployment, Epoch, Seconds], None]] = {
    EpochPhase.STARTING: Conduct._starting,
    EpochPhase.PROBING: Conduct._probing,
    EpochPhase.LIVE: Conduct._in_use,
    EpochPhase.DRAINING: Conduct._draining,
}
