"""An idle coordinator with many nodes: the share of a core it takes while simulated nodes beat on a real nats-server.

    python benchmarks/coordinator.py [--nodes 50] [--seconds 30]

Each simulated node announces itself, renews its lease every second and beats when a real one that runs nothing does:
once a second, all of them at about the same moment. They share one connection. Before the coordinator is measured, all
have joined.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from itertools import count
from pathlib import Path

import psutil

from cutwater.drivers.live import clock
from cutwater.drivers.loop import run
from cutwater.engine.facts.nodes import LEASE, Announcement, Hardware, NodeBeat
from cutwater.fabric.base import Fabric, KeyValue
from cutwater.services.asking import ClusterStatus, GetStatus, ask_coordinator
from cutwater.services.cluster.cluster import LocalCluster
from cutwater.services.cluster.overview import reached
from cutwater.services.facts import LEASES, STATE, encode, node_beat, node_key
from cutwater.services.home import Home, Wishes
from cutwater.services.lease import RENEWAL, Holder
from cutwater.services.node.node import until_next_lull
from cutwater.settings.settings import ClusterSettings, Settings
from cutwater.units import NodeId

TARGET = 0.02
"""Of a core."""


class SimulatedNode:
    """A node as the fabric sees it."""

    def __init__(self, number: int) -> None:
        self.node = NodeId(f"simulated-{number}")
        self.announcement = Announcement(
            node=self.node,
            incarnation="1",
            host=self.node,
            hardware=Hardware(machine="simulated", cores=4, memory=2**32, speed=1.0),
            address="",
            version="0",
        )

    async def live(self, fabric: Fabric, state: KeyValue, leases: KeyValue, offset: float) -> None:
        """Until cancelled; ``offset`` (seconds) spreads when leases are renewed."""
        await state.put(node_key(self.node), encode(self.announcement))
        await asyncio.gather(self._beat(fabric), self._renew(leases, offset))

    async def _renew(self, leases: KeyValue, offset: float) -> None:
        lease = encode(Holder.here(self.node, "1"))
        await leases.put(node_key(self.node), lease)
        await asyncio.sleep(offset)
        while True:
            await leases.put(node_key(self.node), lease)
            await asyncio.sleep(RENEWAL)

    async def _beat(self, fabric: Fabric) -> None:
        for number in count():
            beat = NodeBeat(node=self.node, incarnation="1", cpu=0.1 + number % 7 / 100, memory=number)
            await fabric.publish(node_beat(self.node), encode(beat))
            await asyncio.sleep(until_next_lull(time.time()))


async def measure(nodes: int, seconds: float, folder: Path) -> None:
    settings = Settings(home=folder, cluster=ClusterSettings(nodes=0))
    home = Home(folder)
    cluster = LocalCluster(home)
    await cluster.bring_up(settings, Wishes())
    tasks: list[asyncio.Task[None]] = []
    try:
        async with reached(home, settings.fabric, "benchmark") as fabric:
            state, leases = await fabric.keys(STATE), await fabric.keys(LEASES, LEASE)
            for k in range(nodes):
                live = SimulatedNode(k).live(fabric, state, leases, RENEWAL * k / nodes)
                tasks.append(asyncio.create_task(live))
            await asyncio.sleep(10.0)  # the newcomers' links are asked for, and nobody answers
            status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
            alive = sum(each.alive for each in status.nodes)
            process = psutil.Process(home.alive()["coordinator-1"].pid)
            before, began = sum(process.cpu_times()[:2]), clock()
            await asyncio.sleep(seconds)
            share = (sum(process.cpu_times()[:2]) - before) / (clock() - began)
            status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
            still = sum(each.alive for each in status.nodes)
            kept = "yes" if share < TARGET and still == nodes else "no"
            print(f"coordinator with {alive} of {nodes} nodes alive ({still} afterwards), {seconds:g} s:")
            print(f"  {share:.2%} of a core, {process.memory_info().rss / 2**20:.0f} MiB; under {TARGET:.0%}: {kept}")
            print(f"  load average {os.getloadavg()[0]:.2f} on {len(os.sched_getaffinity(0))} cores")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await cluster.take_down(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as folder, contextlib.suppress(KeyboardInterrupt):
        run(measure(given.nodes, given.seconds, Path(folder)))


if __name__ == "__main__":
    main()
