"""Hands: make a fault happen to a random victim, see that it did, see who notices, and end it when it is time."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

from cutwater.drivers.faults import Hang, Kill, Partition, Slow, What
from cutwater.drivers.live import clock
from cutwater.engine.facts.nodes import Phase
from cutwater.errors import CutwaterError, FabricError
from cutwater.lab.bed import Bed
from cutwater.lab.drill import Injected, Moment, Planned
from cutwater.lab.drills.pids import died, family, signal_to, stopped
from cutwater.lab.drills.scene import Scene
from cutwater.lab.drills.watch import Member
from cutwater.lab.quota import Quota
from cutwater.services.asking import ClusterStatus, GetStatus, ask_coordinator
from cutwater.services.background import birth
from cutwater.services.cluster.cluster import FABRIC
from cutwater.units import NodeId, Seconds

PATIENCE: Seconds = 10.0
"""For somebody to notice."""
LONG: Seconds = 60.0
"""For a slow node to be noticed, and a fabric to be back."""
_LOOK: Seconds = 0.005

Noticed = tuple[Seconds, str] | None


class Hands:
    """Obeys the faults of a drill, one after the other."""

    def __init__(self, scene: Scene, rng: Random, bed: Bed | None = None) -> None:
        """``bed``: where the nodes are devices, for partitions."""
        self._scene, self._watch = scene, scene.watch
        self._rng = rng
        self._bed = bed
        self.killed: set[str] = set()
        """Processes (not workers) that were killed here."""

    async def obey(self, planned: Planned) -> Injected:
        """Returns when it is over. Whatever was stopped or cut off goes on then, also when this is cancelled."""
        try:
            match planned.fault:
                case Kill(what=What.WORKER):
                    return await self._kill_worker(planned)
                case Kill(what=What.NODE):
                    return await self._kill_node(planned, planned.fault)
                case Kill(what=What.COORDINATOR):
                    return await self._kill_coordinator(planned, planned.fault)
                case Kill(what=What.FABRIC):
                    return await self._kill_fabric(planned, planned.fault)
                case Hang():
                    return await self._hang(planned, planned.fault)
                case Slow():
                    return await self._slow(planned, planned.fault)
                case Partition():
                    return await self._partition(planned, planned.fault)
        except CutwaterError as error:
            return self._did_not(planned, f"{error.kind}: {error}")
        return self._did_not(planned, "no hand for it here")

    # Workers

    async def _kill_worker(self, planned: Planned) -> Injected:
        match planned.moment:
            case Moment.LOADING:
                return await self._kill_loading(planned)
            case Moment.ROLLING_OUT:
                return await self._kill_rolling_out(planned)
            case Moment.DRAINING:
                return await self._kill_draining(planned)
        victim = await self._worker()
        return await self._kill(planned, victim)

    async def _kill(self, planned: Planned, victim: Member) -> Injected:
        pid = victim.state.pid
        assert pid is not None
        born = birth(pid)
        at = clock()
        signal_to(pid, signal.SIGKILL)
        dead = born is not None and await died(pid, born)
        noticed = await self._watch.until(self._missed(victim, at), PATIENCE)
        return self._did(planned, at, victim.state.worker, dead, noticed)

    async def _kill_loading(self, planned: Planned) -> Injected:
        """Kill a worker, and then the one that is started in its place, before that serves."""
        victim = await self._worker()
        agent = self._scene.pid(victim.node)
        before = set(family(agent))
        first = await self._kill(planned, victim)
        newborn = await self._newborn([agent], before)
        happened = first.happened and newborn is not None and await self._kill_newborn(newborn)
        return Injected(
            fault=first.fault,
            moment=first.moment,
            at=first.at,
            victim=f"{first.victim} and its successor",
            happened=happened,
            noticed=first.noticed,
            by=first.by,
            why="" if happened else "no worker was caught while it loaded",
        )

    async def _kill_rolling_out(self, planned: Planned) -> Injected:
        """Have another epoch brought up, and kill one of its workers before it serves."""
        old = self._watch.epoch
        agents = {node: self._scene.pid(node) for node in self._watch.nodes}
        before = {pid for agent in agents.values() for pid in family(agent)}
        await self._scene.renew()
        newborn = await self._newborn(list(agents.values()), before)
        at = clock()
        if newborn is None or not await self._kill_newborn(newborn):
            return self._did_not(planned, "no worker was caught while its epoch was brought up")

        def missed() -> str:
            for member in self._watch.members():
                if member.epoch > old and (member.state.restarts or member.state.phase is Phase.BACKING_OFF):
                    return f"{member.node}: {member.state.worker} is {member.state.phase}"
            return ""

        noticed = await self._watch.until(missed, PATIENCE)
        await self._watch.until(lambda: "live" if self._watch.epoch > old else "", LONG)
        return self._did(planned, at, f"pid {newborn} of the next epoch", True, noticed)

    async def _kill_draining(self, planned: Planned) -> Injected:
        """Have another epoch brought up, and when the gateway uses it, kill a worker of the old one."""
        old = self._watch.epoch
        await self._scene.renew()
        if await self._watch.until(lambda: "live" if self._watch.epoch > old else "", LONG) is None:
            return self._did_not(planned, "no other epoch was live in time")
        left = [member for member in self._watch.members(Phase.READY, Phase.DRAINING) if member.epoch == old]
        left = [member for member in left if member.state.pid and birth(member.state.pid)]
        if not left:
            return self._did_not(planned, "the old epoch was gone at once")
        return await self._kill(planned, self._rng.choice(left))

    async def _hang(self, planned: Planned, fault: Hang) -> Injected:
        victim = await self._worker()
        pid = victim.state.pid
        assert pid is not None
        at = clock()
        signal_to(pid, signal.SIGSTOP)
        try:
            happened = await stopped(pid)
            noticed = await self._watch.until(self._missed(victim, at), PATIENCE)
            await asyncio.sleep(max(at + fault.seconds - clock(), 0.0))
        finally:
            signal_to(pid, signal.SIGCONT)
        return self._did(planned, at, victim.state.worker, happened, noticed)

    async def _worker(self) -> Member:
        """A random one of those that serve, as soon as one does."""
        await self._watch.until(lambda: "ready" if self._watch.serving() else "", LONG)
        return self._rng.choice(self._watch.serving())

    async def _newborn(self, agents: list[int], before: set[int]) -> int | None:
        """The next worker process that an agent starts."""
        until = clock() + PATIENCE
        while clock() < until:
            for agent in agents:
                for pid in family(agent):
                    if pid not in before:
                        return pid
            await asyncio.sleep(_LOOK)
        return None

    async def _kill_newborn(self, pid: int) -> bool:
        """Some time into its start: before or while it loads its weights. Whether it did not serve yet."""
        await asyncio.sleep(self._rng.uniform(0.0, 0.4))
        born = birth(pid)
        serves = any(member.state.pid == pid for member in self._watch.members(Phase.READY))
        signal_to(pid, signal.SIGKILL)
        return not serves and born is not None and await died(pid, born)

    # Processes

    async def _kill_node(self, planned: Planned, fault: Kill) -> Injected:
        nodes = await self._serving_nodes()
        node = self._rng.choice(nodes)
        workers = [member for member in self._watch.members(Phase.READY) if member.node == node]
        children = {pid: birth(pid) for pid in family(self._scene.pid(node))[1:]}
        at, dead = await self._end(node)
        noticed = await self._watch.until(self._missed_node(node, workers, at), PATIENCE)
        orphans = [pid for pid, born in children.items() if born is not None and not await died(pid, born)]
        await self._back(at, fault)
        why = f"orphans: {orphans}" if orphans else ""
        return self._did(planned, at, node, dead and not orphans, noticed, why)

    async def _kill_coordinator(self, planned: Planned, fault: Kill) -> Injected:
        await self._watch.until(lambda: self._watch.leader.name if self._watch.leader else "", LONG)
        before = self._watch.leader
        assert before is not None
        at, dead = await self._end(before.name)

        def led() -> str:
            now = self._watch.leader
            return f"{now.name} leads" if now is not None and now.incarnation != before.incarnation else ""

        noticed = await self._watch.until(led, PATIENCE)
        await self._back(at, fault)
        return self._did(planned, at, before.name, dead, noticed)

    async def _kill_fabric(self, planned: Planned, fault: Kill) -> Injected:
        at, dead = await self._end(FABRIC)
        await self._back(at, fault)
        noticed: Noticed = None
        while noticed is None and clock() < at + LONG:
            try:
                await ask_coordinator(self._scene.fabric, GetStatus(), ClusterStatus, 1.0)
                noticed = clock(), "a coordinator answers again"
            except FabricError:
                await asyncio.sleep(0.05)
        return self._did(planned, at, FABRIC, dead, noticed)

    async def _end(self, name: str) -> tuple[Seconds, bool]:
        """SIGKILL: when it was sent, and whether the process is dead."""
        self.killed.add(name)
        pid, born = self._scene.pid(name), self._scene.born(name)
        at = clock()
        alive = birth(pid) == born
        signal_to(pid, signal.SIGKILL)
        return at, alive and await died(pid, born)

    async def _back(self, at: Seconds, fault: Kill) -> None:
        assert fault.back is not None
        await asyncio.sleep(max(at + fault.back - clock(), 0.0))
        await self._scene.revive()

    # Nodes

    async def _slow(self, planned: Planned, fault: Slow) -> Injected:
        node = self._rng.choice(await self._serving_nodes())
        epoch = self._watch.epoch

        def replanned() -> str:
            return f"epoch {self._watch.epoch} is live" if self._watch.epoch > epoch else ""

        quota = Quota.make(f"cutwater-drill-{node}", 1.0 / fault.factor)
        at = clock()
        try:
            _move(family(self._scene.pid(node)), quota.door)  # what they start later is in it, too
            noticed = await self._watch.until(replanned, fault.seconds)
            await asyncio.sleep(max(at + fault.seconds - clock(), 0.0))
            throttled = quota.throttled()
        finally:
            _move(quota.pids(), quota.folder.parent / quota.door.name)
            quota.remove()
        return self._did(planned, at, f"{node} (held back {throttled:.1f} s)", throttled > 0.0, noticed)

    async def _partition(self, planned: Planned, fault: Partition) -> Injected:
        if self._bed is None:
            return self._did_not(planned, "the nodes are not in network namespaces")
        node = self._rng.choice(await self._serving_nodes())
        workers = [member for member in self._watch.members(Phase.READY) if member.node == node]
        at = clock()
        async with self._bed.partition(node):
            noticed = await self._watch.until(self._missed_node(node, workers, at), PATIENCE)
            cut = not await _reaches(self._address(workers))
            await asyncio.sleep(max(at + fault.seconds - clock(), 0.0))
        mended = await _reaches(self._address(workers), refusing=True)
        why = "" if cut and mended else f"cut: {cut}, mended: {mended}"
        return self._did(planned, at, f"{node} for {fault.seconds:g} s", cut and mended, noticed, why)

    async def _serving_nodes(self) -> list[NodeId]:
        await self._watch.until(lambda: "ready" if self._watch.serving() else "", LONG)
        return self._scene.nodes()

    def _address(self, workers: list[Member]) -> str:
        found = (address for member in workers for address in member.state.addresses if address.startswith("tcp:"))
        return next(found, "")

    # Who notices

    def _missed(self, victim: Member, at: Seconds) -> Callable[[], str]:
        """Whether its node or the gateway has said since ``at`` that something is wrong with a worker."""
        watch, state = self._watch, victim.state

        def missed() -> str:
            if words := self._suspected([victim], at):
                return words
            if watch.heard.get(victim.node, 0.0) <= at:
                return ""
            for each in watch.nodes[victim.node].workers:
                if (
                    each.worker == state.worker
                    and each.pid == state.pid
                    and each.phase in (Phase.READY, Phase.DRAINING)
                ):
                    return ""
            return f"{victim.node}: {state.worker} has ended"

        return missed

    def _missed_node(self, node: NodeId, workers: list[Member], at: Seconds) -> Callable[[], str]:
        def missed() -> str:
            for said_at, note in self._watch.notes:
                if said_at > at and note.kind == "lost" and note.about == node:
                    return f"coordinator: {note.text}"
            return self._suspected(workers, at)

        return missed

    def _suspected(self, workers: list[Member], at: Seconds) -> str:
        gateway = self._watch.gateway
        if gateway is None or self._watch.heard.get(gateway.gateway, 0.0) <= at:
            return ""
        for member in workers:
            if set(member.state.addresses) & set(gateway.suspects):
                return f"gateway: {member.state.worker} does not answer"
        return ""

    # What happened

    def _did(
        self, planned: Planned, at: Seconds, victim: str, happened: bool, noticed: Noticed, why: str = ""
    ) -> Injected:
        return Injected(
            fault=planned.fault,
            moment=planned.moment,
            at=at - self._scene.load.began,
            victim=victim,
            happened=happened,
            noticed=None if noticed is None else noticed[0] - at,
            by="" if noticed is None else noticed[1],
            why=why,
        )

    def _did_not(self, planned: Planned, why: str) -> Injected:
        return self._did(planned, clock(), "", False, None, why)


def _move(pids: list[int], door: Path) -> None:
    """Put processes into a control group; those that have ended meanwhile need not go."""
    for pid in pids:
        with contextlib.suppress(OSError):
            door.write_text(str(pid), encoding="ascii")


async def _reaches(address: str, refusing: bool = False) -> bool:
    """Whether anything comes back from there; with ``refusing`` a refusal counts."""
    _, host, port = address.split(":")
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return refusing
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
