"""A cluster on this machine as a person brings it up, with a small model that classifies pictures, under load."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from cutwater.cut.lattice import Lattice
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.models import ModelRecord
from cutwater.profile.files import save_profile
from cutwater.profile.profile import Conditions, Profile, Sample
from cutwater.services.asking import AddModel, ClusterStatus, Done, ask_coordinator
from cutwater.services.cluster.deploying import deploy, until_live
from cutwater.services.cluster.overview import reached
from cutwater.services.home import Home
from cutwater.settings.settings import FabricSettings

MODEL = "vit"
CUTWATER = [sys.executable, "-m", "cutwater"]
UP = (
    *("--nodes", "3", "--node-speed", "5"),
    *("--gateway-http", "127.0.0.1:0", "--gateway-grpc", "", "--gateway-drills", "on"),
)


class LiveCluster:
    """A home with everything running in it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self._environment = {**os.environ, "CUTWATER_HOME": str(folder)}

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return self.home.alive()["gateway"].facts["http"]

    def type(self, *words: str) -> None:
        subprocess.run([*CUTWATER, *words], env=self._environment, capture_output=True, timeout=300, check=True)

    def status(self) -> ClusterStatus:
        command = [*CUTWATER, "status", "--json"]
        said = subprocess.run(command, env=self._environment, capture_output=True, timeout=60, check=True).stdout
        return msgspec.convert(msgspec.json.decode(said)["cluster"], ClusterStatus, strict=False)

    def deploy(self, record: ModelRecord, blobs: list[bytes]) -> None:
        """Add a model and wait until it is live in two stages."""

        async def deployed() -> None:
            async with reached(self.home, FabricSettings(), "test") as fabric:
                for blob in blobs:
                    await fabric.blobs.put(blob)
                await ask_coordinator(fabric, AddModel(record), Done)
                spec = DeploySpec(model=record.name, stages=2)
                await until_live(fabric, spec, await deploy(fabric, spec), 20.0)

        asyncio.run(deployed())

    def kill(self, name: str) -> None:
        os.kill(self.home.alive()[name].pid, signal.SIGKILL)

    @contextmanager
    def load(self, model: str, rate: int) -> Iterator[None]:
        """Requests by the native way, for as long as the context is open."""
        command = [*CUTWATER, "infer", model, "synthetic:4", "--rate", str(rate), "--for", "10 min"]
        with subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.kill()


@contextmanager
def live_cluster(vit: Path, lattice: Lattice) -> Iterator[LiveCluster]:
    """Three nodes and a gateway; the model runs in two stages, under load."""
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        made = LiveCluster(Path(folder))
        try:
            made.type("up", *UP)
            made.deploy(*_classifier(vit, lattice, Path(folder)))
            with made.load(MODEL, rate=20):
                yield made
        finally:
            made.type("down")


def _classifier(vit: Path, lattice: Lattice, folder: Path) -> tuple[ModelRecord, list[bytes]]:
    """The small transformer with a profile by FLOPs, as one that names what it sees."""
    graph = lattice.graph
    total = sum(op.flops for op in graph.ops)
    profile = Profile(
        model=MODEL,
        model_hash=graph.hash,
        conditions=Conditions(
            device="test", cores=2, threads=1, batch=1, busy_cores=0, versions={}, measured_at="2026-01-01T00:00:00"
        ),
        ops={op.name: Sample(0.004 * op.flops / total, 0.0, 1) for op in graph.ops},
        whole=Sample(0.004, 0.0, 1),
        borders=(),
        stage_overhead=1e-4,
        contention=1.0,
        base_memory=50_000_000,
    )
    save_profile(profile, folder / "profile")
    blobs = [vit.read_bytes(), (folder / "profile").read_bytes()]
    model, measured = (sha256(blob).hexdigest() for blob in blobs)
    classes = graph.tensors[graph.outputs[0]].shape[-1]
    return ModelRecord(
        name=MODEL,
        hash=graph.hash,
        blob=model,
        nbytes=len(blobs[0]),
        profile=measured,
        speed=5.0,
        inputs=tuple(graph.tensors[name] for name in graph.inputs),
        outputs=tuple(graph.tensors[name] for name in graph.outputs),
        labels=tuple(f"thing {k}" for k in range(int(classes))),
        task="classify",
    ), blobs
