"""Does the plan for three machines beat the best single one, and sending everything away, as it predicts?

Three devices in network namespaces: a weak camera, where requests are born, on a link of 20 Mbit/s; a stronger one on
50 Mbit/s; the strongest on 100 Mbit/s. A cluster is brought up over them by the commands a user gives (invitations,
mutual TLS on all links), and its nodes measure the links. The model is EfficientNet-Lite0 with float32 pictures of
588 KiB as input; codecs that lose something are allowed within a budget, for all plans alike. Compared, with the same
objective, as deployments that take turns: the plan the cluster chooses; the whole model on each node by itself (on the
camera: nothing is sent; elsewhere: everything is, in the best codec). While they compete the coordinator stands still,
for it would plan anew: what one of them costs the camera makes it slow for the others. Needs root.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
from interleave import conditions

from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.errors import CutwaterError
from cutwater.lab.adding import Added, Addition, prepare
from cutwater.lab.bed import SWITCH, Bed, Device
from cutwater.lab.bed_cluster import BedCluster
from cutwater.lab.contest import (
    Contestant,
    Scores,
    compete,
    enter,
    leave,
    measured_links,
    questions,
    unchanged,
    uses_measured,
)
from cutwater.lab.inputs import InputOptions
from cutwater.lab.load.checked import Case
from cutwater.services.cluster.overview import reached
from cutwater.settings.settings import FabricSettings
from cutwater.units import NodeId, Seconds, format_bytes, format_seconds
from cutwater.vision.prepare import Preparation
from cutwater.wire.message import Address
from cutwater.zoo.packages import default_cache
from cutwater.zoo.photographs import photographs
from cutwater.zoo.registry import MODELS

MODEL = "efficientnet-lite0"
CODECS = ("raw", "raw+zstd", "float16", "float16+zstd", "int8", "int8+zstd", "int8-channel+zstd")
CAMERA = NodeId("camera")
OBJECTIVES = ("latency", "throughput")
CHOSEN = "chosen"


class Options(NamedTuple):
    """What is measured, and how long."""

    devices: tuple[Device, ...]
    budget: float
    rounds: int
    requests: int
    seconds: Seconds


def main() -> int:
    """Run, print, and say by the exit code whether the chosen plans won."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=20, help="of a turn, for latency")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn, for throughput")
    parser.add_argument("--budget", type=float, default=0.01, help="largest relative error by the codec of one hop")
    parser.add_argument("--cores", type=float, nargs=3, default=(0.2, 0.4, 0.8), help="camera, middle, strong")
    parser.add_argument("--rates", type=float, nargs=3, default=(20.0, 50.0, 100.0), help="Mbit/s")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES)
    given = parser.parse_args()
    names = (CAMERA, "middle", "strong")
    devices = tuple(Device(*each) for each in zip(names, (r * 1e6 for r in given.rates), given.cores, strict=True))
    options = Options(devices, given.budget, given.rounds, given.requests, given.seconds)
    print(conditions(["onnxruntime", "numpy"]))
    pictures = photographs(default_cache())
    added = prepare(Addition(MODEL, inputs=[str(each.path) for each in pictures[:3]], codecs=CODECS), default_cache())
    preparation = MODELS[MODEL].preparation or Preparation()
    cases = questions(added, [str(each.path) for each in pictures], InputOptions(preparation))
    with (
        tempfile.TemporaryDirectory(prefix="three-links-") as folder,
        Bed(devices) as bed,
        BedCluster(bed, Path(folder)) as cluster,
    ):
        cluster.join(*(device.name for device in devices), memory="1 GiB")
        address = cluster.open_gateway(CAMERA)
        with bed.inside(SWITCH):
            won = [asyncio.run(contest(cluster, address, added, cases, each, options)) for each in given.objectives]
    return 0 if all(won) else 1


async def contest(
    cluster: BedCluster, address: Address, added: Added, cases: list[Case], objective: str, options: Options
) -> bool:
    """One objective: deploy all candidates, let them compete, print; whether the chosen plan won."""
    async with reached(cluster.head, FabricSettings(), "three-links") as fabric:
        links = await measured_links(fabric, len(options.devices))
        spec = DeploySpec(model="", objective=objective, budget=options.budget, window=256)
        contestants = [await enter(fabric, added, CHOSEN, spec)]
        for device in options.devices:
            alone = msgspec.structs.replace(spec, nodes=(NodeId(device.name),), stages=1)
            contestants.append(await enter(fabric, added, device.name, alone))
        await unchanged(fabric, contestants)
        with cluster.still():
            scores = await compete(
                address,
                contestants,
                cases,
                rounds=options.rounds,
                requests=options.requests,
                seconds=options.seconds,
            )
        await leave(fabric, contestants)
    if objective == OBJECTIVES[0]:
        show_links(links, options.devices)
    show_hops(contestants, links)
    return show(objective, contestants, scores)


def show_links(links: dict[tuple[NodeId, NodeId], MeasuredLink], devices: tuple[Device, ...]) -> None:
    """Measured beside what the token buckets let through."""
    rates = {device.name: device.rate or 0.0 for device in devices}
    print("\nlinks, as the nodes measured them when they joined")
    for (source, target), link in links.items():
        rate = min(rates[source], rates[target])
        share = link.bandwidth * 8 / rate
        print(
            f"  {source:>8} -> {target:<8} {link.bandwidth * 8 / 1e6:6.2f} Mbit/s, {share:.1%} of {rate / 1e6:g}; "
            f"{link.latency * 1e6:.0f} us one way"
        )


def show_hops(contestants: list[Contestant], links: dict[tuple[NodeId, NodeId], MeasuredLink]) -> None:
    """That the plans count with the measured links."""
    for each in contestants:
        for hop, seconds in uses_measured(each.plan, links):
            if abs(hop.latency - seconds) > 1e-9 + 1e-6 * seconds:
                raise AssertionError(f"{each.name}: {hop.source} -> {hop.target} is not the link that was measured")
            print(
                f"  {each.name}: {hop.source} -> {hop.target}, {hop.codec}, {format_bytes(hop.nbytes)}: "
                f"{format_seconds(hop.latency)}, as the measured link says"
            )


def show(objective: str, contestants: list[Contestant], scores: dict[str, Scores]) -> bool:
    """The figures; whether the chosen plan beat every other one."""
    latency = objective.startswith("latency")
    chosen = scores[CHOSEN]

    def text(value: float) -> str:
        return f"{value * 1e3:.1f} ms" if latency else f"{value:.1f}/s"

    print(f"\n{objective}: predicted beside measured (median and quartiles of {len(chosen.figures)} rounds)")
    won = True
    for each in contestants:
        score = scores[each.name]
        low, high = score.quartiles
        ratios = sorted(
            (other / own if latency else own / other) for own, other in zip(chosen.figures, score.figures, strict=True)
        )
        middle = ratios[len(ratios) // 2]
        won = won and (each.name == CHOSEN or middle > 1.0)
        print(
            f"  {each.name:>8}  {text(each.predicted):>9} | {text(score.median):>9} ({text(low)} to {text(high)})"
            + (
                f"  chosen is {middle:.2f} times better ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                if each.name != CHOSEN
                else ""
            )
        )
        print(
            f"            {each.described}; answers off by {score.deviation:.4f} at most, the same class in "
            f"{score.same_class} of {score.answers}"
        )
    print(f"  the chosen plan {'beats' if won else 'DOES NOT beat'} every other one")
    return won


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CutwaterError as error:
        sys.exit(f"{error.kind}: {error}")
