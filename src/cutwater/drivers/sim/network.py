"""Network: the paths between nodes: how wide, how long, how lossy, what they share, and who is cut off from whom."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from math import inf, sqrt
from random import Random
from typing import Any

from cutwater.drivers.sim.clock import Clock
from cutwater.units import NodeId, Seconds

SEGMENT = 1448
"""Bytes of payload in one TCP segment on Ethernet."""
RTO: Seconds = 0.2
"""What Linux waits at least before it sends again what nobody has acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathOptions:
    """One direction between two nodes, as long as nothing is wrong with it."""

    bandwidth: float = inf
    """Bytes per second."""
    latency: Seconds = 0.0
    """One way, in the network alone; what the ends spend on a frame is theirs."""
    medium: str | None = None
    loss: float = 0.0
    """Share of packets."""


class Path:
    """One direction between two nodes."""

    __slots__ = ("free", "loss", "medium", "options", "seconds_per_byte", "sent")

    def __init__(self, options: PathOptions, medium: "Medium | None") -> None:
        self.medium = medium
        self.free: Seconds = 0.0
        """When everything that was sent so far will have left."""
        self.sent = 0
        """Bytes."""
        self.take(options)

    def take(self, options: PathOptions) -> None:
        """Be like this from now on.

        Loss narrows a TCP connection to MSS / RTT * 1.22 / sqrt(loss) (Mathis, Semke, Mahdavi, Ott, "The macroscopic
        behavior of the TCP congestion avoidance algorithm", CCR 27(3), 1997).
        """
        self.options = options
        self.loss = options.loss
        width = options.bandwidth
        if options.loss > 0.0:
            width = min(width, 1.22 * SEGMENT / (max(2 * options.latency, 1e-3) * sqrt(options.loss)))
        self.seconds_per_byte = 1.0 / width

    def carry(self, nbytes: int, now: Seconds, rng: Random) -> tuple[Seconds, Seconds]:
        """When a frame has left, and when it is there."""
        start = self.free if self.free > now else now
        left = start + nbytes * self.seconds_per_byte
        if self.medium is not None:
            left = max(left, self.medium.carry(nbytes, start))
        self.free = left
        self.sent += nbytes
        there = left + self.options.latency
        if self.loss:
            there += self._again(rng)
        return left, there

    def _again(self, rng: Random) -> Seconds:
        """A lost last packet has nobody behind it that would tell of it: it waits for the timer, which doubles."""
        waited, timer = 0.0, RTO + 2 * self.options.latency
        while rng.random() < self.loss and waited < 60.0:
            waited += timer
            timer *= 2
        return waited


class Medium:
    """What several paths share: a radio channel, an uplink."""

    __slots__ = ("free", "seconds_per_byte")

    def __init__(self, bandwidth: float) -> None:
        self.free: Seconds = 0.0
        self.seconds_per_byte = 1.0 / bandwidth

    def carry(self, nbytes: int, start: Seconds) -> Seconds:
        """When a frame that can start at ``start`` has left."""
        self.free = max(self.free, start) + nbytes * self.seconds_per_byte
        return self.free


@dataclass(kw_only=True)
class NetworkOptions:
    """Who reaches whom, and how."""

    local: PathOptions = PathOptions(bandwidth=5e9, latency=20e-6)
    """Between processes of one host."""
    default: PathOptions | None = PathOptions(bandwidth=125e6, latency=200e-6)
    """Between nodes without a path of their own; None: they cannot reach each other."""
    paths: Mapping[tuple[NodeId, NodeId], PathOptions] = field(default_factory=dict)
    media: Mapping[str, float] = field(default_factory=dict)
    """Bytes per second, all paths of a medium together."""


class Network:
    """All paths; made as they are first used."""

    def __init__(self, clock: Clock, options: NetworkOptions, hosts: Mapping[NodeId, str]) -> None:
        """``hosts``: the host of each node."""
        self._clock = clock
        self._options = options
        self._hosts = hosts
        self._media = {name: Medium(bandwidth) for name, bandwidth in options.media.items()}
        self._paths: dict[tuple[NodeId, NodeId], Path | None] = {}
        self._islands: list[Set[NodeId]] = []

    def path(self, source: NodeId, target: NodeId) -> Path | None:
        """The way from one node to another; None where there is none."""
        key = (source, target)
        if key not in self._paths:
            options = self._options_of(source, target)
            medium = None if options is None or options.medium is None else self._media[options.medium]
            self._paths[key] = None if options is None else Path(options, medium)
        return self._paths[key]

    def _options_of(self, source: NodeId, target: NodeId) -> PathOptions | None:
        own = self._options.paths.get((source, target))
        if own is not None:
            return own
        if source == target or self._hosts.get(source, source) == self._hosts.get(target, target):
            return self._options.local
        return self._options.default

    def reaches(self, source: NodeId, target: NodeId) -> bool:
        """Whether something sent now would arrive."""
        return all((source in island) == (target in island) for island in self._islands)

    @property
    def parted(self) -> bool:
        """Whether somebody is cut off from somebody."""
        return bool(self._islands)

    def isolate(self, nodes: Set[NodeId]) -> None:
        """Nothing passes between ``nodes`` and the rest."""
        self._islands.append(nodes)

    def rejoin(self, nodes: Set[NodeId]) -> None:
        """It passes again."""
        self._islands.remove(nodes)

    def change(self, source: NodeId, target: NodeId, **changes: Any) -> None:
        """Make the way between two nodes another one, both ways."""
        for path in (self.path(source, target), self.path(target, source)):
            if path is not None:
                path.take(replace(path.options, **changes))

    def restore(self, source: NodeId, target: NodeId) -> None:
        """Make it what it was meant to be."""
        for pair in ((source, target), (target, source)):
            path, options = self.path(*pair), self._options_of(*pair)
            if path is not None and options is not None:
                path.take(options)
