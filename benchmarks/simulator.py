"""How fast the simulator is: requests per second through three stages; a thousand nodes under ten thousand a second.

Both run the real machines of gateways, stages, keepers and the coordinator, every frame's cost at both ends included.
``python benchmarks/simulator.py [--quick]``; each figure is of one core.
"""

import argparse
import gc
import resource
import time
from collections.abc import Iterator
from itertools import takewhile
from random import Random

from cutwater.drivers.sim.cluster import ClusterOptions, NodeOptions, SimCluster
from cutwater.drivers.sim.models import SimModel
from cutwater.drivers.sim.outcomes import Figures
from cutwater.drivers.sim.workload import poisson
from cutwater.drivers.sim.world import WorldOptions
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.units import NodeId

MB = 2**20


def three_stages(requests: int) -> tuple[Figures, float, float]:
    """One model over three nodes at four fifths of what they can do: figures, seconds by the clock and of processor."""
    cluster = SimCluster(
        [NodeOptions(node=NodeId(f"n{k}")) for k in range(3)],
        [SimModel(name="net", blocks=(3e-3,) * 6, memory=MB)],
        options=ClusterOptions(coordinators=1),
    )
    _deploy(cluster)
    rate = 0.8 / 6e-3
    cluster.offer(((at, "net") for at in takewhile(lambda at: at < requests / rate, poisson(rate, Random(1)))), 30.0)
    return _timed(cluster)


def thousand_nodes(nodes: int, models: int, rate: float, seconds: float) -> tuple[Figures, float, float]:
    """Many models over many nodes, four gateways, two coordinators."""
    cluster = SimCluster(
        [NodeOptions(node=NodeId(f"n{k:04}")) for k in range(nodes)],
        [SimModel(name=f"net-{k:03}", blocks=(4e-3,) * 6, memory=MB) for k in range(models)],
        gateways=[NodeId(f"n{k:04}") for k in range(4)],
        options=ClusterOptions(world=WorldOptions(seed=1), planning=1e-3),
    )
    for number, gateway in enumerate(cluster.gateways.values()):
        gateway.process.host.cores = 16 + number  # a gateway's machine is not one of the small ones
    _deploy(cluster)
    cluster.offer(_spread(rate, seconds, models, Random(2)), 30.0)
    return _timed(cluster)


def _spread(rate: float, seconds: float, models: int, rng: Random) -> Iterator[tuple[float, str]]:
    for at in takewhile(lambda at: at < seconds, poisson(rate, rng)):
        yield at, f"net-{rng.randrange(models):03}"


def _deploy(cluster: SimCluster) -> None:
    assert cluster.run_until(lambda: cluster.leader is not None, 10.0)
    for name in cluster.models:
        cluster.deploy(DeploySpec(model=name, stages=3, fallback=False))
    assert cluster.run_until(lambda: all(map(cluster.live, cluster.models)), 300.0), "not everything was deployed"


def _timed(cluster: SimCluster) -> tuple[Figures, float, float]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)  # what a run leaves behind has hardly any cycles
    began, worked = time.perf_counter(), time.process_time()
    cluster.world.settle(1e9)
    return cluster.world.figures(), time.perf_counter() - began, time.process_time() - worked


def main() -> None:
    """Print both figures, with their conditions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="A tenth of everything, to see that it runs.")
    share = 10 if parser.parse_args().quick else 1
    best = 0.0
    for _ in range(3):
        figures, wall, cpu = three_stages(30_000 // share)
        best = max(best, figures.asked / wall)
        print(
            f"three stages: {figures.asked} requests in {wall:.2f} s ({cpu:.2f} s of processor): "
            f"{figures.asked / wall:,.0f} a second, {figures.asked / cpu:,.0f} per second of processor"
        )
    print(f"three stages, best of three: {best:,.0f} simulated requests per second")
    began = time.perf_counter()
    figures, wall, cpu = thousand_nodes(1000 // share, 300 // share, 10_000 / share, 60.0)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"{1000 // share} nodes, {300 // share} deployments, {10_000 // share} requests/s for 60 virtual seconds: "
        f"{wall:.1f} s ({cpu:.1f} s of processor), {time.perf_counter() - began:.1f} s with the roll-out, "
        f"{memory:.2f} GiB; {figures}"
    )


if __name__ == "__main__":
    main()
