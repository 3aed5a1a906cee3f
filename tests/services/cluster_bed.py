"""A cluster on a real fabric for tests: agents and coordinators, a gateway that only says what a real one would."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.gateways import EpochTable, GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import BEAT, NodeBeat, Phase, WorkerState
from cutwater.errors import CutwaterError, FabricError
from cutwater.fabric.base import TIMEOUT, Fabric, Message
from cutwater.services.asking import AddModel, ClusterStatus, Deploy, Done, GetStatus, ask_coordinator
from cutwater.services.coordinator.coordinator import CoordinatorProcess
from cutwater.services.facts import GATEWAY_BEATS, NODE_BEATS, STATE, decode, encode, gateway_beat
from cutwater.services.home import Home
from cutwater.services.node.node import NodeAgent
from cutwater.settings.handover import write_handover
from cutwater.settings.settings import CoordinatorSettings, FabricSettings, NodeSettings, Settings
from cutwater.units import GatewayId, NodeId

GATEWAY = GatewayId("door")


class Nursery:
    """Everything a story starts, ended when it ends."""

    def __init__(self, connect: Callable[[], Fabric], url: str, folder: Path) -> None:
        self.home = Home(folder)
        self.home.make()
        self._connect = connect
        self._url = url
        self._stops: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def settings(self, name: str) -> Settings:
        return Settings(
            home=self.home.folder,
            fabric=FabricSettings(url=self._url),
            coordinator=CoordinatorSettings(name=name, trace=self.home.folder / "traces"),
            node=NodeSettings(name=name, speed=1.0, memory=2**30, cores=2, host=name, listen="127.0.0.1", grace=5.0),
        )

    async def agent(self, name: str, **changes: Any) -> None:
        """Start a node agent in this process; returns when it serves."""
        settings = self.settings(name)
        settings = msgspec.structs.replace(settings, node=msgspec.structs.replace(settings.node, **changes))
        await self._start(name, lambda fabric: NodeAgent(settings, fabric))

    async def coordinator(self, name: str) -> None:
        """Start a coordinator in this process; returns when it stands by or leads."""
        settings = self.settings(name)
        await self._start(name, lambda fabric: CoordinatorProcess(settings, fabric))

    async def stop(self, name: str) -> None:
        """End one of them in good order. Raises what it ended with."""
        self._stops.pop(name).set()
        await self._tasks.pop(name)

    async def process(self, kind: str, name: str) -> int:
        """Start an agent ("node") or a "coordinator" as a process; its pid, when it serves."""
        path = self.home.run / f"{name}.settings"
        write_handover(path, self.settings(name))
        child = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", f"cutwater.services.{kind}.{kind}", str(path)],
            stdout=subprocess.PIPE,
        )
        self._children[name] = child
        assert child.stdout is not None
        line = await asyncio.to_thread(child.stdout.readline)
        assert b"Serving" in line, line
        return child.pid

    def kill(self, name: str) -> None:
        child = self._children.pop(name)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()

    async def end(self) -> None:
        for name in tuple(self._children):
            self.kill(name)
        for stop in self._stops.values():
            stop.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _start(self, name: str, make: Callable[[Fabric], NodeAgent | CoordinatorProcess]) -> None:
        stop, serving = asyncio.Event(), asyncio.Event()

        async def live() -> None:
            async with self._connect() as fabric:
                await make(fabric).run(lambda facts: serving.set(), stop)

        task = asyncio.create_task(live())
        waiting = asyncio.create_task(serving.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            await task
        self._stops[name], self._tasks[name] = stop, task


class Watcher:
    """What the fabric says, and waiting until it says what one waits for; and the stand-in of a gateway."""

    def __init__(self, fabric: Fabric, host: str) -> None:
        self.fabric = fabric
        self.beats: dict[NodeId, NodeBeat] = {}
        self.history: list[tuple[str, Phase]] = []
        """(worker, phase) as they were first seen, in order."""
        self.table: RouteTable | None = None
        self._host = host
        self._changed = asyncio.Condition()
        self._gone: dict[NodeId, float] = {}

    async def until(self, what: Callable[[], Any]) -> Any:
        """Wait for the fabric to say that ``what()`` is so; returns it."""
        async with self._changed:
            return await self._changed.wait_for(what)

    async def ask(self, request: Any, kind: Any = Done, timeout: float = TIMEOUT) -> Any:  # noqa: ASYNC109
        """Ask whoever leads, as soon as somebody does."""
        while True:
            try:
                return await ask_coordinator(self.fabric, request, kind, timeout)
            except FabricError:
                await self._tick()

    async def status(self, is_so: Callable[[ClusterStatus], bool]) -> ClusterStatus:
        """The coordinator's picture, once ``is_so``."""
        # A question that reached one who was killed at that moment has no answer: it is not waited for at length.
        while not is_so(found := await self.ask(GetStatus(), ClusterStatus, timeout=1.0)):
            await self._tick()
        return found

    async def deploy(self, record: ModelRecord, folder: Path, **spec: Any) -> EpochTable:
        """Add the model, deploy it, and wait until the gateway is told its ways."""
        for blob in (record.blob, record.profile):
            await self.fabric.blobs.put(folder / blob)
        await self.ask(AddModel(record))
        await self.ask(Deploy(DeploySpec(model=record.name, **spec)))
        return await self.live(1)

    async def live(self, epoch: int) -> EpochTable:
        """Wait until the gateway is told to use this epoch, or a later one."""
        return await self.until(
            lambda: self.table.live if self.table and self.table.live and self.table.live.epoch >= epoch else None
        )

    def workers(self, phase: Phase = Phase.READY) -> dict[str, WorkerState]:
        """All workers in this phase."""
        return {state.worker: state for beat in self.beats.values() for state in beat.workers if state.phase is phase}

    async def _tick(self) -> None:
        async with self._changed:
            await self._changed.wait()

    async def _heard(self, message: Message) -> None:
        beat = decode(message.data, NodeBeat)
        known = set(self.history)
        self.history += [(s.worker, s.phase) for s in beat.workers if (s.worker, s.phase) not in known]
        async with self._changed:
            self.beats[beat.node] = beat
            self._changed.notify_all()

    async def _own(self, message: Message) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _follow(self) -> None:
        state = await self.fabric.keys(STATE)
        async with state.watch(f"routes.{GATEWAY}.*") as entries:
            async for entry in entries:
                if entry.value is not None:
                    async with self._changed:
                        self.table = decode(entry.value, RouteTable)
                        self._changed.notify_all()
                    await self._beat()

    async def _beating(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(BEAT)

    async def _beat(self) -> None:
        table = self.table
        tallies: tuple[ModelTally, ...] = ()
        if table is not None:
            live = table.live.epoch if table.live else 0
            probed = {table.candidate.epoch: ""} if table.candidate else {}
            tallies = (ModelTally(model=table.model, epoch=live, probed=probed),)
        beat = GatewayBeat(
            gateway=GATEWAY, incarnation="1", node=NodeId("n1"), host=self._host, clients="unix:/x", models=tallies
        )
        try:
            await self.fabric.publish(gateway_beat(GATEWAY), encode(beat))
        except CutwaterError:
            return


@asynccontextmanager
async def watching(connect: Callable[[], Fabric], host: str = "n1") -> AsyncIterator[Watcher]:
    """A watcher that beats like a gateway on ``host``."""
    async with connect() as fabric:
        watcher = Watcher(fabric, host)
        await fabric.subscribe(NODE_BEATS, watcher._heard)
        await fabric.subscribe(GATEWAY_BEATS, watcher._own)
        tasks = [asyncio.create_task(watcher._follow()), asyncio.create_task(watcher._beating())]
        try:
            yield watcher
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def alive(pid: int | None) -> bool:
    """Whether there is such a process."""
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
