"""Faults of a single plan, as people write them, obeyed on a `SimPipeline`, which has no cluster around it."""

import re
from collections.abc import Iterable

from cutwater.drivers.faults import Fault, Hang, Kill, Partition, Slow, What
from cutwater.drivers.sim.pipeline import SimPipeline
from cutwater.drivers.sim.process import Process
from cutwater.errors import InputError
from cutwater.units import NodeId, Seconds, parse_seconds

_FAULT = re.compile(
    r"(?P<kind>kill|hang|slow|partition) (?P<node>\S+)(?: (?P<factor>[0-9.]+))? at (?P<at>.+?)(?: for (?P<seconds>.+))?"
)


def parse_fault(text: str) -> Fault:
    """``"kill NODE at 10 s"``, ``"hang|partition NODE at 10 s for 5 s"`` or ``"slow NODE 4 at 10 s for 5 s"``.

    Raises:
        InputError: It is none of these.
    """
    match = _FAULT.fullmatch(text.strip())
    if (
        match is None
        or (match["kind"] != "kill" and match["seconds"] is None)
        or ((match["kind"] == "slow") != (match["factor"] is not None))
    ):
        raise InputError(
            f"{text!r} is no fault; write 'kill NODE at 10 s', 'hang NODE at 10 s for 5 s', "
            "'slow NODE 4 at 10 s for 5 s' or 'partition NODE at 10 s for 5 s'"
        )
    node, at = NodeId(match["node"]), parse_seconds(match["at"])
    seconds: Seconds = parse_seconds(match["seconds"]) if match["seconds"] is not None else 0.0
    if match["kind"] == "kill":
        return Kill(at=at, what=What.NODE, name=node)
    if match["kind"] == "hang":
        return Hang(at=at, what=What.NODE, name=node, seconds=seconds)
    if match["kind"] == "slow":
        return Slow(at=at, node=node, factor=float(match["factor"]), seconds=seconds)
    return Partition(at=at, nodes=(node,), seconds=seconds)


def suffer(pipeline: SimPipeline, faults: Iterable[Fault]) -> None:
    """Have faults befall the plan's nodes, at times from now. Raises InputError for a node the plan does not use."""
    known = {worker.process.node for worker in pipeline.workers}
    for fault in faults:
        for node in _nodes_of(fault):
            if node not in known:
                raise InputError(f"the plan does not use the node {node!r}; it uses {', '.join(sorted(known))}")
        pipeline.world.clock.after(fault.at, _Happening(pipeline).begin, fault)


def _nodes_of(fault: Fault) -> tuple[str, ...]:
    match fault:
        case Partition():
            return fault.nodes
        case Kill() | Hang():
            return (fault.name,)
        case Slow():
            return (fault.node,)
        case _:
            raise InputError(f"a {type(fault).__name__} does not befall single plans")


class _Happening:
    """One fault on its way."""

    def __init__(self, pipeline: SimPipeline) -> None:
        self._world = pipeline.world
        self._workers = pipeline.workers

    def begin(self, fault: Fault) -> None:
        """It happens."""
        links, clock = self._world.links, self._world.clock
        if isinstance(fault, Partition):
            island = frozenset(fault.nodes)
            self._world.network.isolate(island)
            links.troubled = True
            clock.after(fault.seconds, self._rejoin, island)
        elif isinstance(fault, Slow):
            self._slow(fault.node, fault.factor)
            clock.after(fault.seconds, lambda _: self._slow(fault.node, 1.0))
        elif isinstance(fault, Kill | Hang):
            for worker in self._workers:
                if worker.process.node == fault.name and isinstance(fault, Kill):
                    worker.process.die()
                elif worker.process.node == fault.name and isinstance(fault, Hang):
                    worker.process.stop()
                    clock.after(fault.seconds, _resume, worker.process)
        links.check()

    def _slow(self, node: str, factor: float) -> None:
        for worker in self._workers:
            if worker.process.node == node:
                worker.process.slowdown = factor

    def _rejoin(self, island: frozenset[NodeId]) -> None:
        self._world.network.rejoin(island)
        self._world.links.troubled = self._world.network.parted


def _resume(process: Process) -> None:
    process.resume()
