"""Scaling: does a deployment that follows its demand answer in time, and how much more does it take than it had to?

Simulated, with the real coordinator, gateways and keepers; seeded, so that a run can be repeated to the bit. Nodes of
one core hold one stage each; a chain of as many nodes as asked for does 10 requests a second; the timeout is 1 s, ten
times what a stage takes. Requests come independently of each other unless said otherwise.

* steps: from 20 % of what the fleet can do to 90 % and back, against an oracle: in each phase it has the fewest
  chains with which the phase alone reaches the target, found by trying, and brings them up exactly so long before they
  are needed as that takes. Both pay for workers from when they begin to load until they have ended.
* headroom: a demand that rises and falls like a day in 10 minutes, for several shares kept free and holds: what
  attainment costs.
* swing: a demand that rises and falls like a day in 20 minutes, against as many chains as the peak needs.
* uneven: a demand that stands still, with a CV of 8: how often the number of chains changes.
* mix: two models that share the fleet 80/20, and then 20/80.

    python benchmarks/scaling.py [--only steps] [--seeds 3] [--phase 300] [--stages 2]
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf
from statistics import mean

import numpy as np

from cutwater.drivers.sim.cluster import ClusterOptions, NodeOptions, SimCluster
from cutwater.drivers.sim.models import SimModel
from cutwater.drivers.sim.outcomes import Asking
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploySpec, Scaling
from cutwater.units import NodeId, Seconds
from cutwater.workload.arrivals import Arrivals, Diurnal, Gamma, Poisson, Step, Steps, Times
from cutwater.workload.draw import draw

CHAINS = 10
"""As many as the fleet has room for."""
EACH = 10.0
"""Requests per second that one does."""
ALONE: Seconds = 0.1
"""What a request takes."""
TIMEOUT: Seconds = 1.0
TARGET = 0.99
WARM: Seconds = 90.0
"""Before anything counts: the demand of the beginning has become known."""
LOW, HIGH = 0.2, 0.9


@dataclass
class Found:
    """What came of a run, from when it counts."""

    askings: list[Asking]
    chains: list[tuple[Seconds, int]] = field(default_factory=list)
    """How many there were from then on, whether they serve or not yet, or not any more."""
    notes: list[tuple[Seconds, str, str]] = field(default_factory=list)
    seconds: Seconds = 0.0

    @property
    def attainment(self) -> float:
        """Answered in time, of all that was asked."""
        return mean(not asking.kind for asking in self.askings) if self.askings else 1.0

    @property
    def chain_seconds(self) -> float:
        """All of them, over the whole run."""
        ends = [*(at for at, _ in self.chains[1:]), self.seconds]
        return sum((end - begin) * count for (begin, count), end in zip(self.chains, ends, strict=True))

    @property
    def changes(self) -> list[tuple[Seconds, str]]:
        """When another number was wanted."""
        return [(at, text) for at, kind, text in self.notes if kind.startswith("scaled")]

    def within(self, begin: Seconds, end: Seconds, model: str = "") -> list[Asking]:
        """Those that were asked then."""
        return [each for each in self.askings if begin <= each.asked < end and model in ("", each.model)]


def run(
    arrivals: Mapping[str, Times],
    seconds: Seconds,
    *,
    scaling: Scaling | None = None,
    chains: int = 1,
    options: CoordinatorOptions = CoordinatorOptions(),  # noqa: B008
    timeout: Seconds = TIMEOUT,
    stages: int = 1,
    warm: Seconds = WARM,
) -> Found:
    """Have requests come for ``warm + seconds``; with as many chains as ``scaling`` allows, or exactly ``chains``."""
    nodes = [NodeOptions(node=NodeId(f"n{k:02}"), cores=1, memory=60 * 2**20) for k in range(CHAINS * stages)]
    models = [SimModel(name=name, blocks=(ALONE,) * stages, memory=50 * 2**20) for name in arrivals]
    cluster = SimCluster(nodes, models, options=ClusterOptions(coordinators=1, steering=options))
    for name in arrivals:
        spec = DeploySpec(model=name, timeout=timeout, fallback=False, scaling=scaling, chains=chains, stages=stages)
        cluster.deploy(spec)
    assert cluster.run_until(lambda: all(cluster.live(name) for name in arrivals), 120.0)
    begin = cluster.world.clock.now
    merged = sorted((float(at), name) for name, times in arrivals.items() for at in times)
    cluster.offer(merged, timeout)
    counts: list[tuple[Seconds, int]] = []
    while cluster.world.clock.now < begin + warm + seconds:
        cluster.world.run(cluster.world.clock.now + 0.1)
        count = sum(len(agent.children) for agent in cluster.agents.values()) // stages
        if cluster.world.clock.now >= begin + warm and (not counts or counts[-1][1] != count):
            counts.append((cluster.world.clock.now - begin - warm, count))
    cluster.world.settle(cluster.world.clock.now + 60.0)
    assert cluster.world.figures().lost == 0
    askings = [asking for asking in cluster.world.askings if asking.asked >= begin + warm]
    for asking in askings:
        asking.asked, asking.ended = asking.asked - begin - warm, (asking.ended or inf) - begin - warm
    notes = [(at - begin - warm, n.kind, f"{n.about} {n.text}") for c in cluster.coordinators for at, n in c.notes]
    return Found(askings, counts, [note for note in notes if note[0] >= 0.0], seconds)


def drawn(arrivals: Arrivals, seconds: Seconds, seed: int) -> Times:
    """The times of one model."""
    return draw(arrivals, seconds, np.random.default_rng(seed))


def up_to(most: int) -> Scaling:
    """From one chain."""
    return Scaling(least=1, most=most, target=TARGET)


@cache
def needed(share: float, stages: int) -> int:
    """The fewest chains that reach the target while that share of the fleet's capacity is asked."""
    times = drawn(Poisson(rate=share * CHAINS * EACH), 300.0, 0)
    return next(
        n
        for n in range(1, CHAINS + 1)
        if n == CHAINS
        or run({"m": times}, 270.0, chains=n, stages=stages, warm=30.0, timeout=TIMEOUT).attainment >= TARGET
    )


@cache
def bring_up(stages: int) -> Seconds:
    """How long one more chain takes, from the decision until it serves."""
    nodes = [NodeOptions(node=NodeId(f"n{k:02}"), cores=1, memory=60 * 2**20) for k in range(stages)]
    model = SimModel(name="m", blocks=(ALONE,) * stages, memory=50 * 2**20)
    cluster = SimCluster(nodes, [model], options=ClusterOptions(coordinators=1))
    assert cluster.run_until(lambda: cluster.leader is not None, 10.0)
    cluster.world.run(cluster.world.clock.now + 5.0)
    asked = cluster.world.clock.now
    cluster.deploy(DeploySpec(model="m", fallback=False, stages=stages))
    assert cluster.run_until(lambda: cluster.live("m"), 60.0)
    return cluster.world.clock.now - asked


def steps(phase: Seconds, seed: int, stages: int, options: CoordinatorOptions) -> tuple[Found, float]:
    """From low to high and back; with the chain-seconds of the oracle."""
    low, high = LOW * CHAINS * EACH, HIGH * CHAINS * EACH
    course = Steps(steps=(Step(0.0, low), Step(WARM + phase, high), Step(WARM + 2 * phase, low)))
    times = drawn(course, WARM + 3 * phase, seed)
    found = run({"m": times}, 3 * phase, scaling=up_to(CHAINS), options=options, stages=stages)
    few, many = needed(LOW, stages), needed(HIGH, stages)
    return found, phase * (2 * few + many) + bring_up(stages) * (many - few)


def tell_steps(args: argparse.Namespace) -> None:
    """The steps, for several lengths of the phases."""
    print(
        f"oracle: {needed(LOW, args.stages)} chains at {LOW:.0%}, {needed(HIGH, args.stages)} at {HIGH:.0%}, ", end=""
    )
    print(f"up {bring_up(args.stages):.2f} s before they are needed")
    print("phase  seed  attainment  low    high   low    chain-seconds over the oracle's  changes")
    for phase in (args.phase / 2, args.phase, 2 * args.phase):
        for seed in range(args.seeds):
            found, oracle = steps(phase, seed, args.stages, CoordinatorOptions())
            parts = [mean(not a.kind for a in found.within(k * phase, (k + 1) * phase)) for k in range(3)]
            shown = "  ".join(f"{part:.3f}" for part in parts)
            ratio = found.chain_seconds / oracle
            print(f"{phase:5.0f}  {seed:4}  {found.attainment:.4f}      {shown}  {ratio:.3f}", end="")
            print(f"                            {len(found.changes)}")


def tell_headroom(args: argparse.Namespace) -> None:
    """What attainment costs, where the demand is another one at every moment."""
    average, swing, period = (LOW + HIGH) / 2, (HIGH - LOW) / (HIGH + LOW), 600.0
    print("CV  headroom  hold  attainment  chain-seconds over what the rate alone takes  changes")
    for cv in (1.0, 4.0):
        for share, hold in ((0.0, 60.0), (0.05, 60.0), (0.15, 60.0), (0.3, 60.0), (0.15, 20.0), (0.15, 180.0)):
            runs = []
            for seed in range(args.seeds):
                course = Diurnal(rate=average * CHAINS * EACH, swing=swing, period=period, cv=cv)
                times = drawn(course, WARM + period, seed)
                options = CoordinatorOptions(scale_headroom=share, scale_hold=hold)
                runs.append(run({"m": times}, period, scaling=up_to(CHAINS), options=options, stages=args.stages))
            least = mean(len(found.askings) for found in runs) / EACH
            print(f"{cv:2.0f}  {share:8.0%}  {hold:4.0f}  {mean(found.attainment for found in runs):.4f}", end="")
            print(f"      {mean(found.chain_seconds for found in runs) / least:.3f}", end="")
            print(f"                                         {mean(len(found.changes) for found in runs):.1f}")


def tell_swing(args: argparse.Namespace) -> None:
    """A demand like a day's."""
    average, swing = (LOW + HIGH) / 2, (HIGH - LOW) / (HIGH + LOW)
    period = 1200.0
    peak = needed(HIGH, args.stages)
    print(f"seed  attainment  chain-seconds over those of {peak} chains all the time  changes")
    for seed in range(args.seeds):
        times = drawn(Diurnal(rate=average * CHAINS * EACH, swing=swing, period=period), WARM + 2 * period, seed)
        found = run({"m": times}, 2 * period, scaling=up_to(CHAINS), stages=args.stages)
        ratio = found.chain_seconds / (2 * period * peak)
        print(f"{seed:4}  {found.attainment:.4f}      {ratio:.3f}", end="")
        print(f"                                            {len(found.changes)}")


def tell_uneven(args: argparse.Namespace) -> None:
    """A demand that stands still and comes in clumps."""
    seconds, settled = 2400.0, 600.0
    print("CV  timeout  seed  attainment  with all chains  chains  changes a minute after 10 minutes")
    for cv, timeout in ((1.0, 1.0), (8.0, 1.0), (8.0, 5.0), (8.0, 10.0)):
        for seed in range(args.seeds):
            times = drawn(Gamma(rate=0.3 * CHAINS * EACH, cv=cv), seconds, seed)
            found = run({"m": times}, seconds, scaling=up_to(CHAINS), timeout=timeout, stages=args.stages, warm=0.0)
            all_ = run({"m": times}, seconds, chains=CHAINS, timeout=timeout, stages=args.stages, warm=0.0)
            often = sum(at >= settled for at, _ in found.changes) / (seconds - settled) * 60.0
            print(f"{cv:2.0f}  {timeout:7.0f}  {seed:4}  {found.attainment:.4f}      {all_.attainment:.4f}", end="")
            print(f"           {found.chain_seconds / seconds:6.2f}  {often:.2f}")


def tell_mix(args: argparse.Namespace) -> None:
    """Two models that change places."""
    phase, total = 2 * args.phase, 0.75 * CHAINS * EACH
    print(
        "seed  attainment  a high  b low   a low   b high  in time over the 2 s up to 2, 4, 6, ... s after the change"
    )
    for seed in range(args.seeds):
        share = {"a": (0.8, 0.2), "b": (0.2, 0.8)}
        times: dict[str, Times] = {}
        for k, (name, (first, second)) in enumerate(share.items()):
            course = Steps(steps=(Step(0.0, total * first), Step(WARM + phase, total * second)))
            times[name] = drawn(course, WARM + 2 * phase, 2 * seed + k)
        found = run(times, 2 * phase, scaling=up_to(CHAINS), stages=args.stages)
        cells = [found.within(k * phase, (k + 1) * phase, name) for k in range(2) for name in "ab"]
        after = [found.within(phase + s, phase + s + 2.0) for s in range(0, 20, 2)]
        print(f"{seed:4}  {found.attainment:.4f}      ", end="")
        print("  ".join(f"{mean(not a.kind for a in cell):.4f}" for cell in cells), end="  ")
        print(" ".join(f"{mean(not a.kind for a in cell):.2f}" for cell in after))


TELLERS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "steps": tell_steps,
    "headroom": tell_headroom,
    "swing": tell_swing,
    "uneven": tell_uneven,
    "mix": tell_mix,
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=TELLERS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--phase", type=float, default=300.0, help="seconds between two steps")
    parser.add_argument("--stages", type=int, default=1, help="nodes of a chain")
    args = parser.parse_args()
    for name in args.only or TELLERS:
        print(f"\n{name}")
        TELLERS[name](args)


if __name__ == "__main__":
    main()
