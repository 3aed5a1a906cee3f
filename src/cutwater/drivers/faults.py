"""Faults as data: what shall go wrong, when, and for how long; the simulator and live drills obey the same.

``at`` is in seconds since the load began. A name that is empty leaves the choice to whoever obeys.
"""

from enum import StrEnum

import msgspec

from cutwater.units import NodeId, Seconds


class What(StrEnum):
    """What a fault befalls."""

    WORKER = "worker"
    """One worker process; its node starts another one."""
    NODE = "node"
    """A node's agent, and with it every worker of it."""
    COORDINATOR = "coordinator"
    """The one that leads, where no name is given."""
    FABRIC = "fabric"


class Kill(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """SIGKILL."""

    at: Seconds
    what: What
    name: str = ""
    back: Seconds | None = None
    """Started again so much later; None: not by anybody here (a worker: by its node all the same)."""


class Hang(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """SIGSTOP, and SIGCONT ``seconds`` later."""

    at: Seconds
    what: What
    name: str = ""
    seconds: Seconds


class Slow(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Everything a node's processes compute takes ``factor`` times as long."""

    at: Seconds
    node: NodeId = NodeId("")
    factor: float
    seconds: Seconds


class Partition(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Nothing passes between these nodes and the rest of the world, the fabric included."""

    at: Seconds
    nodes: tuple[NodeId, ...]
    seconds: Seconds


class LossyLink(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A share of the packets between two nodes is lost, both ways."""

    at: Seconds
    source: NodeId
    target: NodeId
    loss: float
    """0 to 1."""
    seconds: Seconds


class SlowLink(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The way between two nodes gets narrower or longer, both ways."""

    at: Seconds
    source: NodeId
    target: NodeId
    bandwidth: float
    """Bytes per second."""
    latency: Seconds
    """One way."""
    seconds: Seconds


Fault = Kill | Hang | Slow | Partition | LossyLink | SlowLink


def ends_at(fault: Fault) -> Seconds:
    """When nothing of it is left to happen, seconds since the load began."""
    if isinstance(fault, Kill):
        return fault.at + (fault.back or 0.0)
    return fault.at + fault.seconds
