"""World: hosts, processes and links in one virtual time, the requests that come, and what became of them."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from random import Random
from typing import Any

import msgspec

from cutwater.drivers.sim.clock import Clock
from cutwater.drivers.sim.entrance import Entrance
from cutwater.drivers.sim.hosts import Host
from cutwater.drivers.sim.links import LinkOptions, Links
from cutwater.drivers.sim.network import Network, NetworkOptions
from cutwater.drivers.sim.outcomes import Asking, Figures, figures
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Stepper
from cutwater.engine.trace import Trace
from cutwater.units import NodeId, RequestId, Seconds

Arrival = tuple[Seconds, str]
"""When a request comes, and for which model."""


class WorldOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a world runs."""

    seed: int = 0
    links: LinkOptions = LinkOptions()
    validate_every: Seconds = 0.0
    """Every machine's books are checked so often; 0: never."""
    keep: bool = True
    """Whether what became of every request is kept; else only what the figures need would be seen by `on_outcome`."""


class World:
    """Everything there is; the parts are added by whoever builds it."""

    def __init__(self, network: NetworkOptions, options: WorldOptions = WorldOptions()) -> None:  # noqa: B008
        self.options = options
        self.clock = Clock()
        self.rng = Random(options.seed)
        self.trace: Trace | None = None
        self.hosts: dict[str, Host] = {}
        self.where: dict[NodeId, str] = {}
        """Node -> its host."""
        self.network = Network(self.clock, network, self.where)
        self.links = Links(self.clock, self.network, self.rng, options.links)
        self.askings: list[Asking] = []
        """Every request so far, in the order of asking."""
        self.on_outcome: Callable[[Asking], None] = lambda asking: None
        self.offered = 0
        self.ended = 0
        self._loads = 0
        """Arrivals that have not come to their end."""
        self._steppers: list[tuple[Process, Stepper]] = []
        self._ids = count(1)
        self._pids = count(1)
        if options.validate_every:
            self.clock.after(options.validate_every, self._validate)

    def host(self, name: str, cores: int, *, contention: float = 1.0, threads: int = 1) -> Host:
        """Add a machine."""
        self.hosts[name] = Host(self.clock, name, cores, contention=contention, threads=threads)
        return self.hosts[name]

    def process(self, node: NodeId, name: str, *, threads: int = 1) -> Process:
        """Start a process on a node whose host is known."""
        host = self.hosts[self.where[node]]
        return Process(self.clock, host, node, name, pid=next(self._pids), threads=threads)

    def watch(self, process: Process, stepper: Stepper) -> None:
        """Check this machine's books now and then, for as long as its process lives."""
        self._steppers.append((process, stepper))

    def offer(
        self,
        arrivals: Iterable[Arrival],
        entrance: Callable[[str], Entrance],
        timeout: Seconds,
        priority: int = 0,
        client: str = "",
    ) -> None:
        """Have requests come when ``arrivals`` says, seconds from now; each at the entrance of its model."""
        self._loads += 1
        self._next((iter(arrivals), entrance, timeout, self.clock.now, priority, client))

    def _next(self, source: tuple[Iterator[Arrival], Callable[[str], Entrance], Seconds, Seconds, int, str]) -> None:
        arrival = next(source[0], None)
        if arrival is None:
            self._loads -= 1
        else:
            self.clock.at(source[3] + arrival[0], self._come, (arrival[1], source))

    def _come(self, what: tuple[str, Any]) -> None:
        model, source = what
        self.ask(source[1](model), model, source[2], source[4], source[5])
        self._next(source)

    def ask(self, entrance: Entrance, model: str, timeout: Seconds, priority: int = 0, client: str = "") -> Asking:
        """One request, now."""
        asking = Asking(RequestId(next(self._ids)), model, self.clock.now, timeout, priority, client)
        self.offered += 1
        if self.options.keep:
            self.askings.append(asking)
        entrance.process.loop.add(0.0, entrance.ask, asking)
        return asking

    def hear(self, asking: Asking) -> None:
        """A request is answered: once, and in time."""
        assert asking.ended is not None
        self.ended += 1
        self.on_outcome(asking)

    def run(self, until: Seconds) -> None:
        """Let time pass."""
        self.clock.run(until)

    def settle(self, limit: Seconds) -> None:
        """Let time pass until no more requests come and every one is answered, but not beyond ``limit``."""
        while (self._loads or self.ended < self.offered) and self.clock.now < limit:
            self.clock.run(min(self.clock.now + 0.1, limit))

    def figures(self) -> Figures:
        """What came of all requests so far."""
        return figures(self.askings)

    @property
    def steps(self) -> int:
        """Steps of all watched machines."""
        return sum(stepper.steps for _, stepper in self._steppers)

    def validate(self) -> None:
        """Raise AssertionError where a living machine's books contradict each other."""
        self._steppers = [pair for pair in self._steppers if pair[0].alive]
        for _, stepper in self._steppers:
            stepper.machine.validate()

    def _validate(self, _: None) -> None:
        self.validate()
        self.clock.after(self.options.validate_every, self._validate)
