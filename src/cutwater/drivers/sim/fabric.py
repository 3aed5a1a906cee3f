"""SimFabric: keys that are watched, messages that are passed on, and leases; with a delay, or for a while not at all.

What is put while nobody can reach the fabric is put as soon as they can; what is published meanwhile is lost. Whoever
watches is told everything again after an outage. So behave the live processes over their fabric.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from cutwater.drivers.sim.clock import Clock
from cutwater.drivers.sim.network import Network
from cutwater.drivers.sim.process import Process
from cutwater.engine.facts.nodes import LEASE
from cutwater.units import NodeId, Seconds

FABRIC = NodeId("(fabric)")
"""Where it runs: on no node of the cluster."""


class _Ear(NamedTuple):
    process: Process
    told: Callable[[Any], None]


class _Lease:
    """Who holds it, and until when."""

    __slots__ = ("holder", "until")

    def __init__(self, holder: Process, until: Seconds) -> None:
        self.holder = holder
        self.until = until


class SimFabric:
    """One messaging system."""

    def __init__(self, clock: Clock, network: Network, delay: Seconds = 1e-3) -> None:
        """``delay``: from one process to another."""
        self.up = True
        self.delay = delay
        self.messages = 0
        """Delivered so far."""
        self._clock = clock
        self._network = network
        self._values: dict[str, Any] = {}
        self._terms: dict[str, int] = {}
        """In which each key was last written."""
        self._revision = 0
        self._leases: dict[str, _Lease] = {}
        self._keys: dict[str, list[_Ear]] = {}
        """Watches, by the exact key, or by the part up to a final dot."""
        self._subjects: dict[str, list[_Ear]] = {}
        self._outboxes: dict[Process, dict[str, tuple[Any, int]]] = {}

    def reaches(self, process: Process) -> bool:
        """Whether ``process`` is connected."""
        return self.up and process.alive and self._network.reaches(FABRIC, process.node)

    # Messages

    def subscribe(self, process: Process, subject: str, told: Callable[[Any], None]) -> None:
        """Have every message on ``subject`` told."""
        self._subjects.setdefault(subject, []).append(_Ear(process, told))

    def publish(self, process: Process, subject: str, message: Any) -> None:
        """Pass a message on to whoever can be reached."""
        if self.reaches(process) and (ears := self._subjects.get(subject)):
            self._clock.after(self.delay, self._pass_on, (ears, message))

    def _pass_on(self, what: tuple[list[_Ear], Any]) -> None:
        ears, message = what
        for ear in tuple(ears):
            if not ear.process.alive:
                ears.remove(ear)
            elif self.reaches(ear.process):
                self.messages += 1
                ear.process.loop.add(0.0, ear.told, message)

    # Keys

    def put(self, process: Process, key: str, value: Any, term: int = 0) -> None:
        """Replace a value (None: delete it), now or as soon as it can be; not one written in a later term."""
        if self.reaches(process):
            self._put(key, value, term)
        elif process.alive:
            self._outboxes.setdefault(process, {})[key] = (value, term)

    def _put(self, key: str, value: Any, term: int) -> None:
        if term < self._terms.get(key, 0):
            return
        self._terms[key] = term
        self._revision += 1
        if value is None:
            self._values.pop(key, None)
            return
        self._values[key] = value
        for ears in (self._keys.get(key), self._keys.get(key[: key.rfind(".") + 1])):
            if ears:
                self._clock.after(self.delay, self._pass_on, (ears, value))

    def watch(self, process: Process, key: str, told: Callable[[Any], None]) -> None:
        """Have the value of ``key`` told, now and at every change; of every key that begins so, if it ends in a dot."""
        self._keys.setdefault(key, []).append(_Ear(process, told))
        self._tell_again(key, _Ear(process, told))

    def read(self, prefix: str) -> list[Any]:
        """All values whose keys begin so, in the order of the keys."""
        return [self._values[key] for key in sorted(self._values) if key.startswith(prefix)]

    def _tell_again(self, key: str, ear: _Ear) -> None:
        values = self.read(key) if key.endswith(".") else [self._values[key]] if key in self._values else []
        for value in values:
            self._clock.after(self.delay, self._pass_on, ([ear], value))

    def resume(self) -> None:
        """Somebody can be reached again: write what waited, and tell those who watch."""
        for process, outbox in list(self._outboxes.items()):
            if not process.alive:
                del self._outboxes[process]
            elif self.reaches(process):
                del self._outboxes[process]
                for key, (value, term) in outbox.items():
                    self._put(key, value, term)
        for key, ears in self._keys.items():
            for ear in ears:
                if self.reaches(ear.process):
                    self._tell_again(key, ear)

    # Leases

    def take(self, process: Process, key: str) -> int | None:
        """Hold a lease that nobody holds; returns its revision, which grows from holder to holder, or None."""
        if not self.reaches(process):
            return None
        lease = self._leases.get(key)
        if lease is not None and lease.until > self._clock.now:
            return None
        self._revision += 1
        self._leases[key] = _Lease(process, self._clock.now + LEASE)
        return self._revision

    def renew(self, process: Process, key: str) -> bool | None:
        """Hold it for longer; False if it is somebody else's or has run out, None if nobody can say."""
        if not self.reaches(process):
            return None
        lease = self._leases.get(key)
        if lease is None or lease.holder is not process or lease.until <= self._clock.now:
            return False
        lease.until = self._clock.now + LEASE
        return True
