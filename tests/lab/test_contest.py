"""A cluster over three devices: its plan counts with the links that were measured, and beats every node by itself."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cutwater.engine.cluster import DeploySpec
from cutwater.lab.adding import Addition, prepare
from cutwater.lab.bed import SWITCH, Bed, Device
from cutwater.lab.bed_cluster import BedCluster
from cutwater.lab.contest import compete, enter, measured_links, questions, unchanged, uses_measured
from cutwater.services.cluster.overview import reached
from cutwater.settings.settings import FabricSettings
from cutwater.units import NodeId

RATES = {"camera": 20e6, "middle": 50e6, "strong": 100e6}
BUDGET = 0.1


@pytest.mark.slow
def test_the_chosen_plan_beats_the_camera_alone_and_sending_everything(
    make_bed: Callable[..., Bed], tmp_path: Path
) -> None:
    bed = make_bed(
        Device("camera", rate=RATES["camera"], cores=0.2),
        Device("middle", rate=RATES["middle"], cores=0.4),
        Device("strong", rate=RATES["strong"], cores=0.8),
    )
    added = prepare(Addition("mobilenet-v2", codecs=("raw", "int8", "int8+zstd")), tmp_path)
    cases = questions(added, ["synthetic:4"])

    async def story(cluster: BedCluster, address: str) -> None:
        async with reached(cluster.head, FabricSettings(), "story") as fabric:
            links = await measured_links(fabric, len(RATES))
            for (source, target), link in links.items():
                assert link.bandwidth * 8 == pytest.approx(min(RATES[source], RATES[target]), rel=0.2)

            spec = DeploySpec(model="", objective="latency", budget=BUDGET)
            chosen = await enter(fabric, added, "chosen", spec)
            hops = uses_measured(chosen.plan, links)
            assert hops, "something is sent"
            assert all(hop.latency == pytest.approx(seconds) for hop, seconds in hops)

            others = [
                await enter(fabric, added, name, msgspec.structs.replace(spec, nodes=(NodeId(name),), stages=1))
                for name in ("camera", "strong")
            ]
            await unchanged(fabric, [chosen, *others])
            with cluster.still():
                scores = await compete(address, [chosen, *others], cases, rounds=5, requests=10)
            for other in others:
                assert scores["chosen"].median < scores[other.name].median, other.described

    with BedCluster(bed, tmp_path / "cluster") as cluster:
        cluster.join(*RATES, memory="1 GiB")
        address = cluster.open_gateway("camera")
        with bed.inside(SWITCH):
            asyncio.run(story(cluster, address))
