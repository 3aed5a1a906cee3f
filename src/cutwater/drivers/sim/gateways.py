"""SimGateway: a gateway process of a cluster: one entrance for each model, by the tables the coordinator writes."""

from collections.abc import Callable, Iterator

from cutwater.drivers.sim.entrance import Entrance
from cutwater.drivers.sim.fabric import SimFabric
from cutwater.drivers.sim.links import Links
from cutwater.drivers.sim.outcomes import Asking, quantile
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Stepper
from cutwater.engine.facts.deployments import Door
from cutwater.engine.facts.gateways import EpochTable, GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.nodes import BEAT
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.figures import GatewaySnapshot
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.gateway.neighbours import Neighbours
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import Route, StandIn
from cutwater.units import GatewayId, RequestId, Seconds
from cutwater.wire.message import Hop, TensorSpec

PROBE_TIMEOUT: Seconds = 5.0
SOON: Seconds = 0.02
"""A change shows in a beat after so long, with all others of that time."""
RECENT = 64
"""Latencies of so many newest answers make a model's figures."""


class Frontage:
    """One model at this gateway: its machine, its table, and what a beat says of it."""

    def __init__(self, entrance: Entrance) -> None:
        self.entrance = entrance
        self.table: RouteTable | None = None
        self.probed: dict[int, str] = {}
        self.doors: dict[tuple[int, int], tuple[TensorSpec, ...]] = {}
        self.tokens: dict[str, str] = {}
        """Address -> what to show there."""
        self.latencies: list[Seconds] = []
        self.ended = 0
        self.reported = 0
        self.used: Seconds = 0.0


class SimGateway:
    """Watches its tables, beats, and has a `Gateway` machine for each model."""

    def __init__(
        self,
        gateway: GatewayId,
        process: Process,
        fabric: SimFabric,
        links: Links,
        *,
        stand_in: Callable[["SimGateway", str, StandIn], None],
        watch: Callable[[Process, Stepper], None],
        told: Callable[[Asking], None],
        probes: Iterator[int],
        trace: Trace | None = None,
    ) -> None:
        """``stand_in`` obeys `StandIn` for a model; ``watch`` checks machines' books; ``told`` hears of answers;
        ``probes``: request ids that no request and no other gateway has.
        """
        self.gateway = gateway
        self.process = process
        self.models: dict[str, Frontage] = {}
        self._fabric = fabric
        self._links = links
        self._stand_in = stand_in
        self._watch = watch
        self._told = told
        self._trace = trace
        self._probes = probes
        self._neighbours = Neighbours()
        self._reporting = False
        fabric.watch(process, f"routes.{gateway}.", self._table)
        process.clock.after(0.0, self._wake)

    def entrance(self, model: str) -> Entrance:
        """Where requests for ``model`` come in."""
        return self._model(model, None).entrance

    # Tables

    def _model(self, model: str, table: RouteTable | None) -> Frontage:
        found = self.models.get(model)
        if found is None:
            window = table.window if table is not None else 64
            machine = Gateway(GatewayOptions(admission=Admission(window=window)))
            found = self.models[model] = Frontage(
                self._entrance(model, machine, f"{self.gateway}/{model}", self._neighbours)
            )
            self._watch(self.process, found.entrance.stepper)
            found.entrance.told = lambda asking: self._ended(found, asking)
        return found

    def _entrance(self, model: str, machine: Gateway, who: str, neighbours: Neighbours | None = None) -> Entrance:
        return Entrance(
            self.process,
            machine,
            self._links,
            lambda route: self.models[model].doors[route.epoch, route.chain],
            tokens=lambda address: self.models[model].tokens.get(address, ""),
            stand_in=lambda command: self._stand_in(self, model, command),
            neighbours=neighbours,
            trace=self._trace,
            who=who,
        )

    def _ended(self, model: Frontage, asking: Asking) -> None:
        model.ended += 1
        model.used = self.process.clock.now
        if not asking.kind:
            model.latencies.append(asking.latency)
            if len(model.latencies) > 2 * RECENT:
                del model.latencies[:-RECENT]
        self._told(asking)

    def _table(self, table: RouteTable) -> None:
        model = self._model(table.model, table)
        before = model.table
        if before == table or (before is not None and before.term > table.term):
            return
        model.table = table
        routes: list[Route] = []
        if table.live is not None and not table.removed:
            self._know(model, table.live)
            routes += table.live.routes
        if table.whole is not None and not table.removed:
            address = f"unix:/{self.gateway}/{table.model}"
            routes.append(Route(hops=(Hop(address, "plain"),), epoch=0, degraded=True))
            model.doors[0, 0] = entering(table.whole.entry)
            model.tokens[address] = self.gateway
        model.entrance.reroute(tuple(routes))
        if table.candidate is not None and table.candidate != (before.candidate if before is not None else None):
            self._know(model, table.candidate)
            self._probe(table.model, table.candidate)
        self._report()

    def _know(self, model: Frontage, table: EpochTable) -> None:
        for chain, (entry, _) in table.numbered.items():
            model.doors[table.epoch, chain] = entering(entry)
        for route in table.routes:
            model.tokens[route.hops[0].address] = table.token

    def _probe(self, name: str, table: EpochTable) -> None:
        """Send one request through every chain; a machine of its own for each makes it go there."""
        model = self.models[name]
        chains: dict[int, list[Route]] = {}
        for route in table.routes:
            chains.setdefault(route.chain, []).append(route)
        open_ = set(table.numbered)
        missing = open_ - set(chains)
        if missing:
            model.probed[table.epoch] = f"no way through chain {min(missing)}"
            return
        model.probed.pop(table.epoch, None)
        for chain, routes in chains.items():
            entrance = self._entrance(name, Gateway(), f"{self.gateway}/{name}/probe")
            asking = Asking(RequestId(next(self._probes)), name, self.process.clock.now, PROBE_TIMEOUT)

            def told(asking: Asking, chain: int = chain, entrance: Entrance = entrance) -> None:
                open_.discard(chain)
                entrance.reroute(())
                if asking.kind or not open_:
                    model.probed[table.epoch] = model.probed.get(table.epoch) or asking.kind
                self._report()

            entrance.told = told
            entrance.reroute(tuple(routes))
            entrance.ask(asking)

    # Beats

    def _wake(self, _: None) -> None:
        if self.process.alive:
            self.process.loop.add(0.0, self._beat_and_wait, None)

    def _beat_and_wait(self, _: None) -> None:
        self._beat(None)
        self.process.clock.after(BEAT, self._wake)

    def _report(self) -> None:
        """Something has changed: beat soon, once for everything that changes until then."""
        if not self._reporting:
            self._reporting = True
            self.process.clock.after(SOON, lambda _: self.process.loop.add(0.0, self._beat, None))

    def _beat(self, _: None) -> None:
        """Say that it lives, and how its models do."""
        self._reporting = False
        said = {name: model.entrance.machine.snapshot() for name, model in self.models.items()}
        beat = GatewayBeat(
            gateway=self.gateway,
            incarnation=self.process.name,
            node=self.process.node,
            host=self.process.host.name,
            clients="",
            models=tuple([self._tally(name, model, said[name]) for name, model in self.models.items()]),
            suspects=tuple([suspect for each in said.values() for suspect in each.suspects]),
        )
        self._fabric.publish(self.process, "beat.gateway", beat)

    def _tally(self, name: str, model: Frontage, said: GatewaySnapshot) -> ModelTally:
        table = model.table
        rate, model.reported = (model.ended - model.reported) / BEAT, model.ended
        recent = sorted(model.latencies[-RECENT:])
        return ModelTally(
            model=name,
            epoch=table.live.epoch if table is not None and table.live is not None else 0,
            mark=table.mark if table is not None else "",
            probed=dict(model.probed),
            flying=said.epochs,
            queued=said.queued,
            accepted=said.accepted,
            answered=said.answered,
            degraded=said.degraded,
            failed=said.failed,
            refused=said.refused,
            retried=said.retried,
            late=said.late,
            quarantined=said.quarantined,
            rate=rate,
            p50=quantile(recent, 0.5) if recent else 0.0,
            p99=quantile(recent, 0.99) if recent else 0.0,
            idle=self.process.clock.now - model.used,
        )


def entering(door: Door) -> tuple[TensorSpec, ...]:
    """What goes through a door, as it is packed plainly."""
    return tuple(TensorSpec(t.name, t.dtype, t.shape, t.nbytes) for t in door.travelling)
