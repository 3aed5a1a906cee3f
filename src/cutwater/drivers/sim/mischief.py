"""Mischief: obeys faults on a simulated cluster. A fault without a name picks its victim by the world's chance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from cutwater.drivers.faults import Fault, Hang, Kill, LossyLink, Partition, Slow, SlowLink, What
from cutwater.drivers.sim.coordinators import SimCoordinator
from cutwater.drivers.sim.fabric import SimFabric
from cutwater.drivers.sim.nodes import SimNode
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.world import World
from cutwater.units import NodeId, Seconds


class Victims(Protocol):
    """A cluster, as far as something can go wrong with it."""

    world: World
    fabric: SimFabric

    @property
    def agents(self) -> Mapping[NodeId, SimNode]:
        """The newest agent of each node."""
        ...

    @property
    def leader(self) -> SimCoordinator | None:
        """The coordinator that leads."""
        ...

    def start_coordinator(self) -> None:
        """One more, standing by."""
        ...

    def start_node(self, node: NodeId) -> None:
        """A node's agent, again."""
        ...

    def slow_down(self, node: NodeId, factor: float) -> None:
        """Everything that node computes takes ``factor`` times as long."""
        ...


class Mischief:
    """What goes wrong, and what did."""

    def __init__(self, cluster: Victims) -> None:
        self.done: list[tuple[Seconds, Fault, str]] = []
        """When which fault befell whom."""
        self._cluster = cluster
        self._world = cluster.world
        self._clock = cluster.world.clock
        self._begin: Mapping[type, Callable[[Any], str]] = {
            Kill: self._kill,
            Hang: self._hang,
            Slow: self._slow,
            Partition: self._partition,
            LossyLink: self._lossy,
            SlowLink: self._slow_link,
        }

    def plan(self, fault: Fault) -> None:
        """Have it happen ``fault.at`` seconds from now."""
        self._clock.after(fault.at, self._happen, fault)

    def _happen(self, fault: Fault) -> None:
        victim = self._begin[type(fault)](fault)
        self.done.append((self._clock.now, fault, victim))

    def _later(self, seconds: Seconds, call: Callable[[], None]) -> None:
        self._clock.after(seconds, lambda _: call())

    # Victims

    def _pick(self, names: Sequence[str], name: str) -> str:
        if name in names:
            return name
        return self._world.rng.choice(sorted(names)) if names and not name else ""

    def _workers(self) -> dict[str, Process]:
        agents = self._cluster.agents.values()
        return {
            child.worker.process.name: child.worker.process
            for agent in agents
            if agent.process.alive
            for child in agent.children.values()
        }

    def _processes(self, what: What, name: str) -> tuple[str, list[Process]]:
        """Who is meant: a name, and every process that goes with it."""
        cluster = self._cluster
        if what is What.WORKER:
            workers = self._workers()
            found = self._pick(list(workers), name)
            return found, [workers[found]] if found else []
        if what is What.NODE:
            alive = [node for node, agent in cluster.agents.items() if agent.process.alive]
            found = self._pick(alive, name)
            if not found:
                return "", []
            agent = cluster.agents[NodeId(found)]
            return found, [agent.process, *(child.worker.process for child in agent.children.values())]
        leader = cluster.leader
        return (leader.process.name, [leader.process]) if leader is not None else ("", [])

    # Faults

    def _kill(self, fault: Kill) -> str:
        if fault.what is What.FABRIC:
            self._cluster.fabric.up = False
            if fault.back is not None:
                self._later(fault.back, self._fabric_back)
            return "fabric"
        name, processes = self._processes(fault.what, fault.name)
        for process in processes:
            process.die()
        if fault.back is not None and name:
            if fault.what is What.NODE:
                self._later(fault.back, lambda: self._cluster.start_node(NodeId(name)))
            elif fault.what is What.COORDINATOR:
                self._later(fault.back, self._cluster.start_coordinator)
        return name

    def _fabric_back(self) -> None:
        self._cluster.fabric.up = True
        self._cluster.fabric.resume()

    def _hang(self, fault: Hang) -> str:
        if fault.what is What.FABRIC:
            self._cluster.fabric.up = False
            self._later(fault.seconds, self._fabric_back)
            return "fabric"
        name, processes = self._processes(fault.what, fault.name)
        for process in processes:
            process.stop()
        self._world.links.check()
        self._later(fault.seconds, lambda: _resume(processes))
        return name

    def _slow(self, fault: Slow) -> str:
        node = NodeId(self._pick(list(self._cluster.agents), fault.node))
        self._cluster.slow_down(node, fault.factor)
        self._later(fault.seconds, lambda: self._cluster.slow_down(node, 1.0))
        return node

    def _partition(self, fault: Partition) -> str:
        links, network = self._world.links, self._world.network
        island = frozenset(fault.nodes)
        network.isolate(island)
        links.troubled = True
        links.check()
        self._later(fault.seconds, lambda: self._rejoin(island))
        return ", ".join(fault.nodes)

    def _rejoin(self, island: frozenset[NodeId]) -> None:
        network = self._world.network
        network.rejoin(island)
        self._world.links.troubled = network.parted
        self._cluster.fabric.resume()

    def _lossy(self, fault: LossyLink) -> str:
        self._world.network.change(fault.source, fault.target, loss=fault.loss)
        self._later(fault.seconds, lambda: self._world.network.restore(fault.source, fault.target))
        return f"{fault.source} - {fault.target}"

    def _slow_link(self, fault: SlowLink) -> str:
        self._world.network.change(fault.source, fault.target, bandwidth=fault.bandwidth, latency=fault.latency)
        self._later(fault.seconds, lambda: self._world.network.restore(fault.source, fault.target))
        return f"{fault.source} - {fault.target}"


def _resume(processes: Sequence[Process]) -> None:
    for process in processes:
        process.resume()
