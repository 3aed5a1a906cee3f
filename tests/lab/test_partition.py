"""A node is cut off under load: every request is answered, the others take over, and it is used again afterwards."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, count
from pathlib import Path
from random import Random

import pytest

from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.nodes import BEAT, LEASE
from cutwater.lab.adding import Addition, prepare
from cutwater.lab.bed import SWITCH, Bed, Device
from cutwater.lab.bed_cluster import BedCluster
from cutwater.lab.contest import enter, questions
from cutwater.lab.drills.watch import Watch
from cutwater.lab.load.checked import Load
from cutwater.lab.load.result import Result
from cutwater.services.cluster.overview import reached
from cutwater.services.gateway.client import NativeClient
from cutwater.settings.settings import FabricSettings
from cutwater.units import Seconds

NODES = ("node-a", "node-b", "node-c")
RATE = 20.0
"""Requests per second, Poisson."""
CUT: Seconds = 8.0
LONG: Seconds = 40.0
SLACK: Seconds = 1.0
"""For a busy machine to say what it has seen."""


@pytest.mark.bed
def test_a_node_that_is_cut_off_is_missed_replaced_and_used_again(make_bed: Callable[..., Bed], tmp_path: Path) -> None:
    bed = make_bed(*map(Device, NODES))
    added = prepare(Addition("vit-tiny"), tmp_path)
    cases = questions(added, ["synthetic:4"])

    async def story(cluster: BedCluster, address: str) -> None:
        async with reached(cluster.head, FabricSettings(), "story") as fabric:
            spread = await enter(fabric, added, "spread", DeploySpec(model="", stages=3, fallback=False))
            victim = next(stage.nodes[0] for stage in spread.plan.stages if stage.nodes[0] != "node-a")
            async with (
                Watch(fabric, spread.model) as watch,
                NativeClient(address, spread.model, timeout=30.0) as client,
            ):
                assert await watch.until(lambda: "serving" if len(watch.serving()) == 3 else "", LONG)
                before = watch.nodes[victim].incarnation
                load = Load(client.infer, cases)
                chance = Random(0)
                gaps = (chance.expovariate(RATE) for _ in count())
                loading = asyncio.create_task(load.open(accumulate(gaps), LONG))

                async with bed.partition(victim):
                    cut_at = clock()
                    lost = await watch.until(
                        lambda: next((n.text for _, n in watch.notes if (n.kind, n.about) == ("lost", victim)), ""),
                        LONG,
                    )
                    assert lost is not None and lost[0] - cut_at < LEASE + BEAT + SLACK
                    without = await watch.until(
                        lambda: (
                            "elsewhere" if victim not in {m.node for m in watch.serving()} and watch.epoch > 1 else ""
                        ),
                        LONG,
                    )
                    assert without is not None
                    await asyncio.sleep(max(0.0, cut_at + CUT - clock()))

                back = await watch.until(lambda: _used(watch, victim), LONG)
                assert back is not None, "it is used again"
                assert watch.nodes[victim].incarnation == before, "as the node it was"
                await loading
                results = Counter(each.result for each in load.attempts)
                assert results == {Result.ANSWERED: load.sent}

    with BedCluster(bed, tmp_path / "cluster") as cluster:
        cluster.join(*NODES, memory="1 GiB")
        address = cluster.open_gateway("node-a")
        with bed.inside(SWITCH):
            asyncio.run(story(cluster, address))


def _used(watch: Watch, node: str) -> str:
    return "used" if node in {member.node for member in watch.serving()} else ""
