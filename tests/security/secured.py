"""A real cluster that can be reached from other machines, with a model over two nodes, asked without a pause."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cutwater.drivers.loop import run
from cutwater.engine.facts.nodes import Assignment
from cutwater.fabric.base import Message
from cutwater.fabric.nats import NatsFabric
from cutwater.services.access import fabric_of
from cutwater.services.cluster.inviting import FABRIC
from cutwater.services.cluster.membership import OPERATOR, Membership
from cutwater.services.cluster.overview import Overview, look
from cutwater.services.facts import NODE_BEATS, STATE, assign_key, decode, encode
from cutwater.services.gateway.client import NativeClient
from cutwater.services.home import Home
from cutwater.settings.settings import FabricSettings, Settings
from cutwater.units import NodeId, WorkerId

ELSEWHERE = "127.0.0.2"
"""Not an address that the cluster takes for loopback, and there on every Linux machine."""
LARGEST = 2 * 2**20
"""Bytes of a request."""
PATIENCE = 20.0
STRANGE = WorkerId("vit.9.0.0.0")
"""Seconds after which a story that waits for something hangs."""
MODEL = "vit"


def command(home: Path, *words: object, fails: bool = False, **more: str) -> Any:
    """What a command says as JSON, or complains about if it ``fails``; with ``more`` in its environment."""
    said = subprocess.run(
        [sys.executable, "-m", "cutwater", *map(str, words), "--home", str(home), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **more},
    )
    assert (said.returncode != 0) == fails, said.stderr
    found = json.loads(said.stdout)
    return found["error"] if fails else found


class Stream(threading.Thread):
    """Asks the gateway one request after the other, for as long as it is wanted."""

    def __init__(self, address: str) -> None:
        super().__init__(name="stream")
        self.answered = 0
        self.errors: list[str] = []
        self.ended = threading.Event()
        self._address = address
        self._more = threading.Condition()

    def run(self) -> None:
        run(self._ask())

    async def _ask(self) -> None:
        feeds = {"pictures": np.zeros((1, 3, 64, 64), "float32")}
        async with NativeClient(self._address, MODEL) as client:
            while not self.ended.is_set():
                try:
                    await client.infer(feeds)
                except Exception as error:  # noqa: BLE001 - whatever it is, the stream was disturbed
                    self.errors.append(repr(error))
                with self._more:
                    self.answered += 1
                    self._more.notify_all()
                await asyncio.sleep(0.01)

    def wait_for(self, more: int) -> None:
        """Until so many more have been answered."""
        with self._more:
            wanted = self.answered + more
            assert self._more.wait_for(lambda: self.answered >= wanted, PATIENCE), "the stream stands still"


class Secured:
    """The cluster, and what a story does to it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.folder = folder
        self.membership = Membership(self.home.folder)
        self.stream: Stream
        self._settings = Settings(home=self.home.folder, fabric=FabricSettings(listen="0.0.0.0"))

    def bring_up(self, model: Path, cache: Path) -> None:
        listen = ("--fabric-listen", "0.0.0.0", "--node-listen", ELSEWHERE)
        command(self.home.folder, "up", "--nodes", 2, *listen, "--gateway-max-request", LARGEST)
        command(self.home.folder, "model", "add", model, "--name", MODEL, CUTWATER_CACHE=str(cache))
        command(self.home.folder, "deploy", MODEL, "--stages", 2, "--on", "node-1", "--on", "node-2")
        self.invite("anybody")  # which makes the server's certificate say that it is reached there
        self.stream = Stream(self.home.alive()["gateway"].facts["socket"])
        self.stream.start()

    def take_down(self) -> None:
        self.stream.ended.set()
        self.stream.join()
        command(self.home.folder, "down")

    def invite(self, name: str, role: str = "node") -> Path:
        path = self.folder / f"{name}.toml"
        words = ("node", "invite", name, "--role", role, "--server", ELSEWHERE, "-o", path)
        command(self.home.folder, *words)
        return path

    @property
    def url(self) -> str:
        """Where other machines reach the fabric."""
        return str(self.home.alive()[FABRIC].facts["url"]).replace("127.0.0.1", ELSEWHERE)

    def access(self, name: str = OPERATOR) -> FabricSettings:
        return self.membership.access(FabricSettings(url=self.url), name)

    def fabric(self, name: str = OPERATOR) -> NatsFabric:
        return fabric_of(self.access(name), name)

    async def overview(self) -> Overview:
        return await look(self.home, self._settings)

    async def refused(self, who: str, reason: str, more_than: int = 0) -> int:
        """Wait until ``who`` has refused somebody for this reason more often than that; how often."""
        async with asyncio.timeout(PATIENCE), self._beats() as beat:
            while (count := await self.count(who, reason)) <= more_than:
                await beat()
        return count

    @asynccontextmanager
    async def _beats(self) -> AsyncIterator[Callable[[], Awaitable[Message]]]:
        """Something to wait for between two looks."""
        beats: asyncio.Queue[Message] = asyncio.Queue()
        async with self.fabric() as fabric:
            await fabric.subscribe(NODE_BEATS, beats.put)
            yield beats.get

    async def beat(self) -> None:
        """Wait for the next beat of a node."""
        async with self._beats() as beat:
            await beat()

    async def count(self, who: str, reason: str) -> int:
        return (await self.overview()).refused.get(who, {}).get(reason, 0)

    async def worker_address(self, node: str) -> tuple[str, str]:
        """Where the first stage on a node takes links from other machines, and the token it wants."""
        async with self.fabric() as fabric:
            state = await fabric.keys(STATE)
            entry = await state.get(assign_key(NodeId(node)))
        assert entry is not None
        assert entry.value is not None
        (spec,) = decode(entry.value, Assignment).workers
        seen = await self.overview()
        assert seen.cluster is not None
        (worker,) = (
            worker
            for deployment in seen.cluster.deployments
            for epoch in deployment.epochs
            for worker in epoch.workers
            if worker.worker == spec.worker
        )
        assert worker.state is not None
        (address,) = (each for each in worker.state.addresses if each.startswith("tcp:"))
        return address, spec.token

    async def assign(self, node: str, blob: str) -> None:
        """Tell a node, as a coordinator that was taken over might, to run a blob besides what it runs."""
        key = assign_key(NodeId(node))
        async with self.fabric() as fabric, asyncio.timeout(PATIENCE), self._beats() as beat:
            state = await fabric.keys(STATE)
            before = await self.count(node, "blob")
            genuine = None
            while await self.count(node, "blob") <= before:
                entry = await state.get(key)
                assert entry is not None
                assert entry.value is not None
                old = decode(entry.value, Assignment)
                if all(spec.worker != STRANGE for spec in old.workers):
                    # The coordinator puts its own value back as soon as it sees this one, maybe before the node does.
                    genuine = entry.value
                    bad = msgspec.structs.replace(old.workers[0], worker=STRANGE, blob=blob)
                    await state.put(key, encode(msgspec.structs.replace(old, workers=(*old.workers, bad))))
                await beat()
            assert genuine is not None
            await state.put(key, genuine)

    def log(self, name: str) -> str:
        return self.home.log(name).read_text(errors="replace")
