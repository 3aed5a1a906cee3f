"""The run: a cluster comes up, a model is deployed over it, the scene is played, all is taken down."""

from dataclasses import dataclass
from pathlib import Path

from cutwater.drivers.live import clock
from cutwater.drivers.loop import run
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.lab.adding import Added, Addition, add_model, prepare
from cutwater.lab.demo.exam import MODEL, Exam
from cutwater.lab.demo.leftovers import leftovers
from cutwater.lab.demo.scene import LIMIT, Audience, Scene, Streamed, live_plan
from cutwater.lab.demo.stream import Stream
from cutwater.services.cluster.cluster import GATEWAY, LocalCluster
from cutwater.services.cluster.deploying import deploy, until_live
from cutwater.services.cluster.overview import reached
from cutwater.services.gateway.client import NativeClient
from cutwater.services.home import Home, Wishes
from cutwater.settings.settings import ClusterSettings, Settings
from cutwater.units import Seconds

NODES = 3
STAGES = 3
_SAMPLES = 3
"""Pictures the model is measured with."""


@dataclass(frozen=True)
class Played:
    """The whole run."""

    exam: Exam
    streamed: Streamed
    killed_at_end: tuple[str, ...]
    """What had to be killed when the cluster was taken down."""
    left: list[str]
    """What is left of it all the same."""
    took: Seconds


def play(exam: Exam, home: Home, cache: Path, steady: Seconds, audience: Audience) -> Played:
    """Do it all; whatever happens, the cluster is taken down.

    Args:
        exam: what is asked.
        home: the cluster's own, which nobody else uses.
        cache: where measurements are kept.
        steady: how long pictures stream before the node is killed, and after the survivors have their plan.
        audience: told what happens.

    Raises:
        CutwaterError: the cluster, the model or its first deployment does not come up.
    """
    began = clock()
    settings = Settings(home=home.folder, cluster=ClusterSettings(nodes=NODES))
    cluster = LocalCluster(home)
    try:
        audience.step(f"cutwater up --nodes {NODES}")
        run(cluster.bring_up(settings, Wishes()))
        audience.step(f"cutwater model add {MODEL}")
        pictures = [str(verdict.photograph.path) for verdict in exam.verdicts.values()]
        added = prepare(Addition(MODEL, inputs=pictures[:_SAMPLES]), cache, audience.progress)
        streamed = run(_stream(exam, home, settings, added, steady, audience))
    finally:
        audience.step("cutwater down")
        taken = run(cluster.take_down(settings))
    left = leftovers(home, streamed.known, [streamed.url])
    return Played(exam, streamed, taken.killed, left, clock() - began)


async def _stream(
    exam: Exam, home: Home, settings: Settings, added: Added, steady: Seconds, audience: Audience
) -> Streamed:
    async with reached(home, settings.fabric, "demo") as fabric:
        await add_model(fabric, added)
        audience.step(f"cutwater deploy {MODEL} --stages {STAGES}")
        spec = DeploySpec(model=MODEL, stages=STAGES)
        await until_live(fabric, spec, await deploy(fabric, spec), LIMIT)
        plan = await live_plan(fabric)
        for k, stage in enumerate(plan.stages):
            node = stage.nodes[0]
            audience.tell(f"stage {k + 1} on {node}: {stage.begin.label} to {stage.end.label}")
        audience.step(f"cutwater infer {MODEL} pictures/ --for 30s")
        socket = home.alive()[GATEWAY].facts["socket"]
        async with NativeClient(socket, MODEL) as client:
            stream = Stream(client, exam.items, exam.judge)
            return await Scene(fabric, home, plan, stream, audience).play(steady)
