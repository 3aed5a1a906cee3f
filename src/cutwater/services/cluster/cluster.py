"""LocalCluster: a whole cluster on this machine, each process in the background, brought up and down in order.

Level-triggered: bringing up starts what is missing and leaves alone what runs; taking down ends whatever is left.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import psutil

from cutwater.errors import FabricError
from cutwater.fabric.authority import Role
from cutwater.fabric.server import answering, prepare, reload
from cutwater.services.access import fabric_of
from cutwater.services.background import Recipe, Record, marked, python, start, stop
from cutwater.services.cluster.membership import OPERATOR, Membership
from cutwater.services.facts import STATE, node_key
from cutwater.services.hardware import usable_memory
from cutwater.services.home import Home, Wishes
from cutwater.settings.handover import write_handover
from cutwater.settings.settings import Settings
from cutwater.units import NodeId, Seconds

FABRIC = "fabric"
GATEWAY = "gateway"
MODULES = {
    "coordinator": "cutwater.services.coordinator.coordinator",
    "node": "cutwater.services.node.node",
    GATEWAY: "cutwater.services.gateway.gateway",
}
_DOWN = (GATEWAY, "coordinator", "node", FABRIC)
"""Nothing new comes in first; then nobody plans anew while the nodes leave."""
_FAREWELL: Seconds = 3.0
"""How long the children of ended processes may take to end."""

Tell = Callable[[str], None]


class Venue(NamedTuple):
    """Where a process runs that does not simply run here, such as in a network namespace of its own."""

    command: Callable[[tuple[str, ...]], tuple[str, ...]]
    """The command that runs a command there."""
    settings: Callable[[Settings], Settings]
    """What it is told, as that has to be there."""


class Brought(NamedTuple):
    """What bringing up did."""

    started: tuple[str, ...]
    """In the order in which they were started."""
    running: tuple[str, ...]
    """Those that ran already."""


class Taken(NamedTuple):
    """What taking down did."""

    stopped: tuple[str, ...]
    killed: tuple[str, ...]
    """Those of them that did not end in time, and children that were left behind."""


class LocalCluster:
    """The processes of one home."""

    def __init__(
        self, home: Home, tell: Tell = lambda what: None, venues: Mapping[str, Venue] = MappingProxyType({})
    ) -> None:
        """``tell`` is called with what is about to happen; ``venues``: process -> where it runs, if not here."""
        self.home = home
        self._venues = venues
        self.membership = Membership(home.folder)
        self._tell = tell

    async def bring_up(self, settings: Settings, wishes: Wishes) -> Brought:
        """Start what is missing of ``settings.cluster``; if that fails or is interrupted, end what was started.

        Args:
            settings: For every process that is started.
            wishes: To be remembered until the cluster is taken down.

        Raises:
            ProcessLost: A process did not begin to serve.
            CutwaterError: What a process says it is unable to do.
        """
        self.home.make()
        with self.home.locked(self._wait):
            running = tuple(self.home.alive())
            started: list[str] = []
            try:
                await self._bring_up(settings, started)
            except BaseException:
                await self._stop(reversed(started), settings.cluster.stop_limit)
                raise
            self.home.wish(wishes)
            return Brought(tuple(started), running)

    async def _bring_up(self, settings: Settings, started: list[str]) -> None:
        await self._clear_dead()
        alive = self.home.alive()
        if not settings.fabric.url:
            self._enlist(settings, alive.get(FABRIC))
        url = settings.fabric.url or (alive[FABRIC].facts["url"] if FABRIC in alive else "")
        if not url:
            self._tell("starting the fabric")
            url = (await self._start_fabric(settings)).facts["url"]
            started.append(FABRIC)
        missing = [name for name in wanted_processes(settings) if name not in alive]
        if missing:
            self._tell(f"starting {', '.join(missing)}")
        tasks = [asyncio.create_task(self._start(name, settings, url, started)) for name in missing]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def take_down(self, settings: Settings) -> Taken:
        """Drain and end every process, in order; kill what does not end in time. Models and deployments stay known."""
        if not self.home.run.is_dir():
            return Taken((), ())
        with self.home.locked(self._wait):
            records = {name: record for name, record in self.home.records().items() if record.alive}
            stopped: list[str] = []
            killed: list[str] = []
            for role in _DOWN:
                group = [name for name in records if role_of(name) == role]
                if role == FABRIC:
                    await self._forget_nodes(settings)
                if group:
                    self._tell(f"stopping {', '.join(group)}")
                    killed += await self._stop(group, settings.cluster.stop_limit)
                    stopped += group
            killed += _kill_left(self.home.run)
            for path in self.home.run.iterdir():
                path.unlink()
            self.home.remove_sockets()
            self.home.wish(None)
            return Taken(tuple(stopped), tuple(killed))

    async def _forget_nodes(self, settings: Settings) -> None:
        """Nobody shall miss them when the cluster comes up with fewer."""
        fabric = self.home.alive().get(FABRIC)
        url = settings.fabric.url or (fabric.facts["url"] if fabric is not None else "")
        if not url:
            return
        with contextlib.suppress(FabricError):
            access = msgspec.structs.replace(settings.fabric, url=url)
            if not settings.fabric.url:
                access = self.membership.access(access, OPERATOR)
            async with fabric_of(access, "down") as connection:
                state = await connection.keys(STATE)
                for path in self.home.run.glob("node-*.settings"):
                    await state.delete(node_key(NodeId(path.stem)))

    def _wait(self) -> None:
        self._tell("waiting for another command that starts or stops processes here")

    async def _clear_dead(self) -> None:
        """End what never came to serve, because whoever started it was killed; forget what has ended."""
        for name, record in self.home.records().items():
            if not (record.alive and record.serving):
                await stop(self.home.record(name), 0.0)

    def _enlist(self, settings: Settings, fabric: Record | None) -> None:
        """Have the fabric know every process that is wanted."""
        before = self.membership.members()
        for name in wanted_processes(settings):
            self.membership.enlist(Role(role_of(name)), name)
        if fabric is not None and self.membership.members() != before:
            reload(self.membership.server(self.home.data(FABRIC), settings.fabric), fabric.pid)

    async def _start_fabric(self, settings: Settings) -> Record:
        options = self.membership.server(self.home.data(FABRIC), settings.fabric)
        command = prepare(options)
        with contextlib.suppress(FileExistsError):
            self.home.log(FABRIC).symlink_to(options.log)

        async def answered(pid: int) -> dict[str, str]:
            return {"url": await answering(options, pid)}

        return await start(self._recipe(FABRIC, command, settings), settings.cluster.start_limit, answered)

    async def _start(self, name: str, settings: Settings, url: str, started: list[str]) -> None:
        path = self.home.handover(name)
        told_ = told(name, settings, self.home, url)
        if not settings.fabric.url:
            told_ = msgspec.structs.replace(told_, fabric=self.membership.access(told_.fabric, name))
        command = python(MODULES[role_of(name)], str(path))
        if (venue := self._venues.get(name)) is not None:
            command, told_ = venue.command(command), venue.settings(told_)
        write_handover(path, told_)
        recipe = self._recipe(name, command, settings)
        await start(recipe, settings.cluster.start_limit)
        started.append(name)

    def _recipe(self, name: str, command: Iterable[str], settings: Settings) -> Recipe:
        home, limit = self.home, settings.cluster.log_limit
        return Recipe(name=name, command=tuple(command), record=home.record(name), log=home.log(name), log_limit=limit)

    async def _stop(self, names: Iterable[str], limit: Seconds) -> list[str]:
        """Those that had to be killed."""
        names = list(names)
        killed = await asyncio.gather(*(stop(self.home.record(name), limit) for name in names))
        return [name for name, hard in zip(names, killed, strict=True) if hard]


def wanted_processes(settings: Settings) -> list[str]:
    """What these settings want to run besides the fabric."""
    wanted = settings.cluster
    return [
        *(f"coordinator-{k + 1}" for k in range(wanted.coordinators)),
        *(f"node-{k + 1}" for k in range(wanted.nodes)),
        *([GATEWAY] if wanted.nodes else []),
    ]


def role_of(name: str) -> str:
    """``"node-2"`` -> ``"node"``."""
    return name.partition("-")[0]


def told(name: str, settings: Settings, home: Home, url: str) -> Settings:
    """The settings that the process ``name`` is started with."""
    replace = msgspec.structs.replace
    settings = replace(settings, home=home.folder, fabric=replace(settings.fabric, url=url))
    match role_of(name):
        case "coordinator":
            return replace(settings, coordinator=replace(settings.coordinator, name=name))
        case "node":
            memory = settings.node.memory or usable_memory() * 4 // 5 // settings.cluster.nodes
            cache = settings.node.cache or home.data(name)
            return replace(settings, node=replace(settings.node, name=name, memory=memory, cache=cache))
        case _:
            node = settings.gateway.node or "node-1"
            return replace(settings, gateway=replace(settings.gateway, name=name, node=node))


def _kill_left(folder: Path) -> list[str]:
    """Wait for the children of what has ended; kill those that stay, and say which."""
    _, left = psutil.wait_procs(marked(folder), timeout=_FAREWELL)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_FAREWELL)
    return [f"pid {process.pid}" for process in left]
