"""Planning: asks for plans that are needed and for plans that might pay, and acts on the answers."""

from collections.abc import Callable, Sequence
from heapq import heappush

import msgspec

from cutwater.engine.control import MakePlan, NodeView, Planned
from cutwater.engine.coordinator.books import Books
from cutwater.engine.coordinator.conduct import Conduct
from cutwater.engine.coordinator.deployment import Ask, Deployment, soonest
from cutwater.engine.coordinator.replanning import Shortfall, gains, pause
from cutwater.engine.coordinator.rollout import EpochStep
from cutwater.engine.coordinator.room import fits, least_used, nodes_of
from cutwater.engine.facts.deployments import Blueprint, Chain, DeploySpec, EpochPhase
from cutwater.engine.fault import Fault
from cutwater.errors import did_you_mean
from cutwater.units import NodeId, Seconds


class Planning:
    """Between the planner and the conduct of epochs."""

    def __init__(self, books: Books, conduct: Conduct) -> None:
        self._books = books
        self._options = books.options
        self._conduct = conduct
        self.take_from_others: Callable[[Deployment, int, Seconds], bool] = lambda deployment, missing, now: False
        """Have other deployments give chains back, where they are served more amply; whether any does."""

    def plan(self, deployment: Deployment, now: Seconds) -> None:
        """Ask for a plan if one is needed, or queue up for one that might pay; and look again when it is time."""
        self._see(deployment, now)
        self._arm(deployment, now)

    def _see(self, deployment: Deployment, now: Seconds) -> None:
        asked = deployment.asked
        if asked is not None and now - asked.at >= self._options.plan_timeout:
            deployment.asked = None
        closed = deployment.removed or deployment.parked or deployment.asked or deployment.rolling
        if closed or self._books.settling or deployment.spec.model not in self._books.models:
            return
        why = self._needed(deployment, now)
        if why:
            if now >= deployment.retry_at and self._may_start(deployment, now):
                self._ask(deployment, why, voluntary=False, now=now)
        elif deployment.wish is not None and now >= self._wish_at(deployment, now):
            self._books.wishing[deployment.spec.model] = None

    def _needed(self, deployment: Deployment, now: Seconds) -> str:
        """Why there has to be another epoch; "" where the live one is good."""
        over = deployment.unfit.forgive(now)
        live = deployment.live
        if live is None:
            if over:
                deployment.retry_at = min(deployment.retry_at, now)
            return "deployed"
        if over:
            deployment.wish = f"{', '.join(sorted(over))} may run it again"
        if deployment.renew:
            return "what is live is not what is wanted"
        return self._books.fails(deployment, live)

    def _may_start(self, deployment: Deployment, now: Seconds) -> bool:
        """Whether there is anything to plan with, and the first plan need not wait for links being measured."""
        if not any(member.usable for member in self._books.nodes.values()):
            return False
        first = deployment.live is None and not deployment.failures
        return not (first and self._books.survey.busy and now < deployment.retry_at + self._options.survey_patience)

    def _wish_at(self, deployment: Deployment, now: Seconds) -> Seconds:
        """When a plan that might pay may be asked for."""
        at = max(deployment.avoid_until, now)
        if deployment.trial is not None:
            at = max(at, deployment.trial.until)
        if deployment.switched_at is not None:
            at = max(at, deployment.switched_at + self._options.interval)
        if deployment.considered_at is not None:
            at = max(at, deployment.considered_at + self._options.consider)
        return at

    def consider(self, now: Seconds) -> None:
        """Ask for plans that might pay, a few at a time."""
        if not self._books.wishing:
            return
        under_way = sum(d.asked is not None and d.asked.voluntary for d in self._books.deployments.values())
        while self._books.wishing and under_way < self._options.voluntary_plans:
            model = next(iter(self._books.wishing))
            del self._books.wishing[model]
            deployment = self._books.deployments.get(model)
            if deployment is None or not deployment.settled or deployment.wish is None or deployment.trial:
                continue
            if deployment.grows:
                continue  # a chain that joins is there sooner; looked at again when it has
            under_way += 1
            self._ask(deployment, deployment.wish, voluntary=True, now=now)
            self._arm(deployment, now)

    def _ask(self, deployment: Deployment, why: str, *, voluntary: bool, now: Seconds) -> None:
        """Have an epoch planned."""
        deployment.wish = None
        deployment.considered_at = now
        views = self._views(deployment)
        self._books.tickets += 1
        if not views:
            fault = Fault("NoPlan", self._nobody(deployment.spec), "coordinator")
            planned = Planned(model=deployment.spec.model, ticket=self._books.tickets, fault=fault)
            self._unplanned(deployment, planned, now)
            return
        live = deployment.live
        nodes = frozenset(view.announcement.node for view in views)
        deployment.asked = Ask(self._books.tickets, why, voluntary, nodes, now)
        wished = deployment.kept if voluntary else deployment.wished
        self._send(deployment, wished, views, None if live is None else live.blueprint)

    def ask_more(self, deployment: Deployment, count: int, why: str, now: Seconds) -> None:
        """Have so many chains planned that are to join the live epoch, on nodes that none of its chains is on."""
        spec = msgspec.structs.replace(deployment.spec, chains=count)
        views = self._untaken(deployment)
        self._books.tickets += 1
        nodes = frozenset(view.announcement.node for view in views)
        if deployment.asked is not None:  # that might have paid: it is looked at again
            deployment.wish = deployment.asked.why
        deployment.asked = Ask(self._books.tickets, why, True, nodes, now, count)
        if views:
            self._send(deployment, spec, views, None, whole=True)
        else:
            fault = Fault("NoPlan", "each node that may run it does", "coordinator")
            self.planned(Planned(model=spec.model, ticket=self._books.tickets, fault=fault), now)

    def _untaken(self, deployment: Deployment) -> list[NodeView]:
        """The nodes that may run it and run none of its chains; a spare only waits there."""
        assert deployment.live is not None
        taken = {worker.node for worker in deployment.live.workers.values() if not worker.spare}
        return [view for view in self._views(deployment, whole=True) if view.announcement.node not in taken]

    def _views(self, deployment: Deployment, *, whole: bool = False) -> list[NodeView]:
        """The nodes as they are; ``whole``: with the load of the deployment's own workers."""
        spec = deployment.spec
        fit = self._books.allowed(spec) - self._books.unfit(deployment)
        return [
            NodeView(
                announcement=member.announcement,
                free=member.free,
                slowdown=self._books.paces.slowdown(node),
                load=member.load("" if whole else spec.model),
            )
            for node, member in sorted(self._books.nodes.items())
            if node in fit
        ]

    def _send(
        self,
        deployment: Deployment,
        spec: DeploySpec,
        views: Sequence[NodeView],
        live: Blueprint | None,
        *,
        whole: bool = False,
    ) -> None:
        """Show the planner the nodes; ``whole``: as in `_views`."""
        source, host = self._source()
        self._books.asks.append(
            MakePlan(
                ticket=self._books.tickets,
                spec=spec,
                record=self._books.models[spec.model],
                nodes=tuple(views),
                links=tuple(self._books.links.values()),
                source=source,
                source_host=host,
                taken=self._taken(views, "" if whole else spec.model),
                live=live,
                span=self._span(deployment),
            )
        )

    def _taken(self, views: Sequence[NodeView], model: str) -> dict[str, float]:
        """Cores that the workers of other models use on the hosts of ``views``, on nodes that are not among them."""
        offered = {view.announcement.node for view in views}
        hosts = {view.announcement.host for view in views}
        taken: dict[str, float] = {}
        for node, member in self._books.nodes.items():
            told = member.announcement
            if node not in offered and told.host in hosts and (load := member.load(model)):
                taken[told.host] = taken.get(told.host, 0.0) + load * told.hardware.cores
        return taken

    def _span(self, deployment: Deployment) -> int | None:
        """Nodes that one chain may take, so that as many fit beside each other as there may be."""
        scaling = deployment.spec.scaling
        return None if scaling is None else max(len(self._views(deployment)) // scaling.most, 1)

    def _nobody(self, spec: DeploySpec) -> str:
        """Why there is no node to plan with."""
        if not spec.nodes:
            return "no node can be used now"
        strangers = [node for node in spec.nodes if node not in self._books.nodes]
        hint = did_you_mean(strangers[0], sorted(self._books.nodes)) if strangers else ""
        return f"of the nodes it may run on ({', '.join(spec.nodes)}), none can be used now{hint}"

    def _source(self) -> tuple[NodeId, str]:
        """Where requests are born: at the first gateway; as long as there is none, at the first node."""
        if self._books.gateways:
            beat = self._books.gateways[min(self._books.gateways)].beat
            return beat.node, beat.host
        node = min(node for node, member in self._books.nodes.items() if member.usable)
        return node, self._books.nodes[node].announcement.host

    def planned(self, event: Planned, now: Seconds) -> None:
        """The planner has answered."""
        deployment = self._books.deployments.get(event.model)
        if deployment is None or deployment.asked is None or deployment.asked.ticket != event.ticket:
            return
        asked, deployment.asked = deployment.asked, None
        self._books.touch(deployment)
        if asked.adding:
            self._added(deployment, asked, event, now)
            return
        needed = self._needed(deployment, now)
        blueprint = event.blueprint
        if blueprint is None:
            if needed:
                if deployment.live is None:
                    deployment.unfit.pardon()
                self._unplanned(deployment, event, now)
        elif not asked.nodes.issuperset(used := nodes_of(blueprint)):
            stranger = ", ".join(sorted(used - asked.nodes))
            fault = Fault("NoPlan", f"the plan uses {stranger}, which was not offered", "coordinator")
            self._unplanned(deployment, msgspec.structs.replace(event, fault=fault, short=False), now)
        elif not all(map(self._books.usable, used)):
            # Lost while the plan was made: another one is asked for at once.
            deployment.wish = None if needed else asked.why
        elif needed:
            if fits(blueprint, self._books.nodes):
                self._conduct.begin(deployment, blueprint, asked.why, voluntary=False, now=now)
            else:
                self._unplanned(deployment, msgspec.structs.replace(event, blueprint=None, short=True), now)
        elif asked.voluntary and deployment.grows:
            deployment.wish = asked.why
        elif asked.voluntary and fits(blueprint, self._books.nodes):
            nearer = self._nearer(deployment, blueprint)
            # What a person asked for need not show that it pays.
            if nearer > 0 or (nearer == 0 and self._pays(deployment, blueprint, event)):
                self._conduct.begin(deployment, blueprint, asked.why, voluntary=nearer == 0, now=now)

    def _added(self, deployment: Deployment, asked: Ask, event: Planned, now: Seconds) -> None:
        """The planner has answered what may join the live epoch."""
        live, size, blueprint = deployment.live, deployment.size, event.blueprint
        if live is None or size is None or deployment.renew or deployment.removed or deployment.parked:
            return
        chains: list[Chain] = []
        wanted = max(size.chains - len(live.staying), 0)
        least = self._options.scale_worth * live.blueprint.throughput / len(live.blueprint.chains)
        if blueprint is not None and asked.nodes.issuperset(nodes_of(blueprint)):
            able = all(map(self._books.usable, nodes_of(blueprint))) and fits(blueprint, self._books.nodes)
            chains = [c for c in blueprint.chains if able and c.plan.score.throughput >= least][:wanted]
        if chains:
            self._conduct.chains.join(deployment, live, chains, now)
        size.growing = size.growing if chains else None
        missing = min(asked.adding, wanted) - len(chains)
        if missing <= 0:
            size.short_since = None
            return
        if size.short_since is None:
            why = event.fault.message if event.fault is not None else "there is no room for more"
            have = len(live.staying)
            self._books.tell("short", deployment.spec.model, f"{have} of {size.chains} chains: {why}")
        size.short_since = now
        size.crowded = (event.short or blueprint is not None) and bool(self._untaken(deployment))
        size.awaits_room = size.crowded and self.take_from_others(deployment, missing, now)

    def _nearer(self, deployment: Deployment, blueprint: Blueprint) -> int:
        """1: nearer to what a person wants than what is live; -1: farther from it; 0: neither."""
        if deployment.live is None:
            return 0
        new = Shortfall.of(blueprint, deployment.kept)
        old = Shortfall.of(deployment.live.blueprint, deployment.kept)
        return (new < old) - (new > old)

    def _pays(self, deployment: Deployment, blueprint: Blueprint, event: Planned) -> bool:
        """Whether a switch is worth its trouble."""
        live = deployment.live
        if live is None or blueprint.chains == live.blueprint.chains:
            return False
        return gains(event, deployment.spec.objective, self._options.gain)

    def _unplanned(self, deployment: Deployment, event: Planned, now: Seconds) -> None:
        """There is no plan, and one is needed: make room, or try again later."""
        if event.short and self._make_room(deployment, now):
            deployment.retry_at = now + self._options.retry
            return
        deployment.failures += 1
        deployment.retry_at = now + pause(deployment.failures, self._options)
        said = event.fault.message if event.fault is not None else "memory is short"
        self._books.tell("unplanned", deployment.spec.model, said)

    def _make_room(self, deployment: Deployment, now: Seconds) -> bool:
        """Free memory for ``deployment``, the cheapest first. Whether there is hope."""
        others = [d for d in self._books.deployments.values() if d is not deployment]
        held = [d for d in self._books.deployments.values() if d.trial is not None]
        for on_trial in held:
            self._conduct.end_trial(on_trial)
        if held or any(d.parting for d in self._books.deployments.values()):
            return True
        live = deployment.live
        if live is None and self.take_from_others(deployment, deployment.wished.chains, now):
            return True
        if live is not None and not live.serves:
            live.take(EpochStep.RETIRE, now)
            return True
        least = least_used(others, now - self._options.park_after)
        if least is None:
            return False
        least.parked = True
        self._conduct.take_down(least, "parked", f"makes room for {deployment.spec.model}", now)
        return True

    def _arm(self, deployment: Deployment, now: Seconds) -> None:
        """Look at the deployment again when something of it is due."""
        options = self._options
        limits = {
            EpochPhase.STARTING: options.start_timeout,
            EpochPhase.PROBING: options.probe_timeout,
            EpochPhase.DRAINING: options.drain_timeout,
        }
        times: list[Seconds | None] = [e.since + limits[e.phase] for e in deployment.epochs if e.phase in limits]
        times.append(deployment.retry_at)
        times.append(deployment.retry_at + options.survey_patience)
        times.append(deployment.asked.at + options.plan_timeout if deployment.asked is not None else None)
        if deployment.live is not None:
            live = deployment.live
            times += [since + options.start_timeout for since in live.lame.values()]
            times += [leave.since + options.drain_timeout for leave in live.leaving.values()]
        times.append(deployment.trial.until if deployment.trial is not None else None)
        times.append(self._wish_at(deployment, now) if deployment.wish is not None else None)
        times += deployment.unfit.ends()
        due = soonest(at for at in times if at is not None and at > now)
        if due is not None and due != deployment.due:
            deployment.due = due
            heappush(self._books.alarms, (due, deployment.spec.model))
