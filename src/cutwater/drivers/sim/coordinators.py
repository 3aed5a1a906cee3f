"""SimCoordinator: a coordinator process; it leads while it holds the lease, and otherwise stands by."""

from collections.abc import Callable
from typing import Any

from cutwater.drivers.sim.fabric import SimFabric
from cutwater.drivers.sim.models import Planner
from cutwater.drivers.sim.network import Network
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Hands, Stepper
from cutwater.engine.control import (
    Announced,
    Assign,
    Beaten,
    Direct,
    Erase,
    GatewayBeaten,
    Leading,
    LinkMeasured,
    MakePlan,
    Measure,
    ModelAdded,
    Save,
    Tell,
)
from cutwater.engine.coordinator.coordinator import Coordinator
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.gateways import GatewayBeat
from cutwater.engine.facts.nodes import LEASE, Announcement, MeasuredLink, NodeBeat
from cutwater.engine.trace import Trace
from cutwater.units import Seconds

RENEWAL: Seconds = 1.0
"""How often the lease is renewed."""
LOOK: Seconds = 0.5
"""How often one who stands by looks whether it is free."""
MARGIN: Seconds = 0.5
"""So long before it runs out it counts as lost."""
MEASURING: Seconds = 0.1
"""What measuring one link takes."""
LEASE_KEY = "coordinator"


class SimCoordinator:
    """Obeys a `Coordinator` while it leads."""

    def __init__(
        self,
        process: Process,
        fabric: SimFabric,
        network: Network,
        planner: Planner,
        *,
        planning: Seconds = 0.2,
        options: CoordinatorOptions = CoordinatorOptions(),  # noqa: B008
        watch: Callable[[Process, Stepper], None] = lambda process, stepper: None,
        trace: Trace | None = None,
    ) -> None:
        """``planning``: what one plan takes."""
        self.process = process
        self.stepper: Stepper | None = None
        """While it leads."""
        self.term = 0
        self.notes: list[tuple[Seconds, Tell]] = []
        self._fabric = fabric
        self._network = network
        self._planner = planner
        self._planning = planning
        self._options = options
        self._watch = watch
        self._trace = trace
        self._until: Seconds = 0.0
        fabric.subscribe(process, "beat.node", self._beaten)
        fabric.subscribe(process, "beat.gateway", self._gateway_beaten)
        fabric.subscribe(process, "ask.coordinator", self.tell)
        fabric.watch(process, "node.", self._announced)
        process.clock.after(0.0, self._wake)

    @property
    def leading(self) -> bool:
        """Whether it believes so."""
        return self.stepper is not None and self.process.alive

    # The lease

    def _wake(self, _: None) -> None:
        if self.process.alive:
            self.process.loop.add(0.0, self._look, None)

    def _look(self, _: None) -> None:
        now = self.process.clock.now
        if self.stepper is None:
            term = self._fabric.take(self.process, LEASE_KEY)
            if term is not None:
                self._lead(term)
        else:
            held = self._fabric.renew(self.process, LEASE_KEY)
            if held:
                self._until = now + LEASE - MARGIN
            elif held is False or now >= self._until:
                self.stepper = None
        self.process.clock.after(RENEWAL if self.stepper is not None else LOOK, self._wake)

    def _lead(self, term: int) -> None:
        now, read = self.process.clock.now, self._fabric.read
        self.term = term
        self._until = now + LEASE - MARGIN
        hands: Hands = {
            MakePlan: self._plan,
            Assign: self._assign,
            Direct: self._direct,
            Save: lambda command: self._put(f"deployment.{command.record.spec.model}", command.record),
            Erase: lambda command: self._put(f"deployment.{command.model}", None),
            Measure: self._measure,
            Tell: lambda command: self.notes.append((self.process.clock.now, command)),
        }
        self.stepper = Stepper(Coordinator(self._options), hands, self.process, self.process.name, self._trace)
        self._watch(self.process, self.stepper)
        self.stepper.tell(
            Leading(
                term=term,
                secret=f"secret-{term}",
                models=tuple(read("model.")),
                deployments=tuple(read("deployment.")),
                nodes=tuple(read("node.")),
                links=tuple(read("link.")),
            )
        )

    # What it is told

    def tell(self, event: Any) -> None:
        """Something a person or a process wants; heard only by the one that leads."""
        if self.stepper is not None:
            if isinstance(event, ModelAdded):
                self._put(f"model.{event.record.name}", event.record)
            self.stepper.tell(event)

    def _beaten(self, beat: NodeBeat) -> None:
        if self.stepper is not None:
            self.stepper.tell(Beaten(beat))

    def _gateway_beaten(self, beat: GatewayBeat) -> None:
        if self.stepper is not None:
            self.stepper.tell(GatewayBeaten(beat))

    def _announced(self, announcement: Announcement) -> None:
        if self.stepper is not None:
            self.stepper.tell(Announced(announcement))

    # Hands

    def _put(self, key: str, value: Any) -> None:
        self._fabric.put(self.process, key, value, self.term)

    def _assign(self, command: Assign) -> None:
        self._put(f"assign.{command.assignment.node}", command.assignment)

    def _direct(self, command: Direct) -> None:
        self._put(f"routes.{command.gateway}.{command.table.model}", command.table)

    def _plan(self, command: MakePlan) -> None:
        self._later(self._planning, self._planner(command))

    def _measure(self, command: Measure) -> None:
        for number, (peer, _) in enumerate(command.peers):
            path = self._network.path(command.node, peer)
            if path is not None:
                link = MeasuredLink(
                    source=command.node,
                    target=peer,
                    bandwidth=1.0 / path.seconds_per_byte if path.seconds_per_byte else 1e12,
                    latency=path.options.latency,
                    at="",
                )
                self._later((number + 1) * MEASURING, LinkMeasured(link))

    def _later(self, seconds: Seconds, event: Any) -> None:
        """Tell it in a while, if the same coordinator leads then."""
        stepper = self.stepper

        def told(_: None) -> None:
            if self.stepper is stepper and stepper is not None:
                if isinstance(event, LinkMeasured):
                    self._put(f"link.{event.link.source}.{event.link.target}", event.link)
                stepper.tell(event)

        self.process.clock.after(seconds, lambda _: self.process.loop.add(0.0, told, None))
