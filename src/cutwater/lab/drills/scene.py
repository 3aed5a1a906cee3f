"""Scene: a cluster of its own, with a model deployed and a client, for one drill; nothing of it runs afterwards."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import InputError, NoReply
from cutwater.fabric.base import Fabric
from cutwater.frameworks.base import Session
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.lab.adding import Added, add_model
from cutwater.lab.drills.watch import Watch
from cutwater.lab.inputs import good_feeds, open_inputs
from cutwater.lab.load.checked import Case, Load
from cutwater.services.asking import Deploy, Done, ask_coordinator
from cutwater.services.background import kill_leftovers
from cutwater.services.cluster.cluster import GATEWAY, LocalCluster
from cutwater.services.cluster.deploying import deploy, until_live
from cutwater.services.cluster.overview import reached
from cutwater.services.gateway.client import NativeClient
from cutwater.services.home import Home, Wishes
from cutwater.settings.settings import Settings
from cutwater.units import NodeId, Seconds

CASES = 4
"""Different questions that are asked in turn."""
LIVE: Seconds = 120.0
"""For the model to be deployed."""
LED: Seconds = 20.0
"""For a coordinator to answer, one that has just been killed included."""

Say = Callable[[str], None]


@dataclass
class Scene:
    """What a drill acts in."""

    home: Home
    settings: Settings
    cluster: LocalCluster
    fabric: Fabric
    watch: Watch
    client: NativeClient
    load: Load
    spec: DeploySpec

    def pid(self, name: str) -> int:
        """Of a process that was brought up, as its record says."""
        return self.home.records()[name].pid

    def born(self, name: str) -> str:
        """When it was; see `services.background.birth`."""
        return self.home.records()[name].birth

    async def revive(self) -> None:
        """Start again what has ended, as an init system would; processes, not workers."""
        await self.cluster.bring_up(self.settings, Wishes())

    async def renew(self) -> None:
        """Ask for the same model in a new epoch. Raises NoReply where nobody leads."""
        # All nodes by name are no others than any node, but another wish.
        nodes = () if self.spec.nodes else tuple(sorted(self.watch.nodes))
        self.spec = msgspec.structs.replace(self.spec, nodes=nodes)
        await led(self.fabric, Deploy(self.spec))

    def nodes(self) -> list[NodeId]:
        """Those that serve the model, by name."""
        return sorted({member.node for member in self.watch.serving()})


async def led(fabric: Fabric, request: Deploy) -> None:
    """Have a coordinator do this, as soon as one leads. Raises NoReply."""
    until = clock() + LED
    while True:
        try:
            await ask_coordinator(fabric, request, Done)
            return
        except NoReply:
            if clock() > until:
                raise


@asynccontextmanager
async def scene(
    home: Home, settings: Settings, cluster: LocalCluster, added: Added, spec: DeploySpec, say: Say
) -> AsyncIterator[Scene]:
    """Bring everything up; whatever happens inside, everything is down afterwards.

    Raises:
        InputError: a cluster runs in this home already.
        ProcessLost: something was left running; it is killed.
        CutwaterError: why the cluster does not come up, or the model is not deployed.
    """
    _clear(home.folder)
    try:
        await cluster.bring_up(settings, Wishes())
        async with reached(home, settings.fabric, "drill") as fabric, Watch(fabric, spec.model) as watch:
            say(f"adding and deploying {spec.model}")
            await add_model(fabric, added)
            await until_live(fabric, spec, await deploy(fabric, spec), LIVE)
            address = home.alive()[GATEWAY].facts["socket"]
            async with NativeClient(address, spec.model, timeout=spec.timeout) as client:
                load = Load(client.infer, cases(added))
                yield Scene(home, settings, cluster, fabric, watch, client, load, spec)
    finally:
        await cluster.take_down(settings)
        kill_leftovers(home.run)


def cases(added: Added) -> list[Case]:
    """Questions, and what the uncut model answers."""
    record = added.record
    feeds = good_feeds(open_inputs(f"synthetic:{CASES}", record.inputs), CASES)
    session: Session = OnnxRuntime().load(added.file.read_bytes())
    try:
        names = [each.name for each in record.outputs]
        return [Case(each, dict(zip(names, session.run(each), strict=True))) for each in feeds]
    finally:
        session.close()


def _clear(folder: Path) -> None:
    """Forget an earlier drill's cluster, its logs included. Raises InputError if it runs."""
    if Home(folder).alive():
        raise InputError(f"a cluster runs in {folder}; take it down with `cutwater down --home {folder}`")
    for name in ("run", "logs", "data", "authority"):
        shutil.rmtree(folder / name, ignore_errors=True)
