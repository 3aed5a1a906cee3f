"""Many models on few machines: how fast placements are judged, and what pipelines over all machines are worth.

Four parts, all in predicted time and from seeds, so attainments, rates and CVs are the same on every machine:

speed      Requests a second through groups of nodes, on one core, over that of taking them one by one.
           Target: 1,000,000 where at least 90 % are answered in time.
two        Two models on two nodes, 50 ms each, nobody refused: mean latency of one model per node over that of both
           models in pipelines over both nodes. At 60 % of the capacity theory says 1.27 (Poisson) and 1.95 (Gamma gaps
           with a coefficient of variation of 3); at 75 % the queues are longer, and so is the difference.
eight      Eight models on four nodes with memory for two whole models each, SLO five times the latency alone: the
           highest rate, and the highest coefficient of variation, at which 99 % are answered in time, over those of
           replication; and the nodes that the same work needs. Target: 1.8, 3, and at most 0.6. The last row is no
           placement: all four nodes as one machine four times as fast with memory for everything, which none can beat.
large      Fifty models that differ by a factor of twenty on 64 nodes, and 200 on 500: seconds of processor time of each
           method, and what it attains. Target: 600 s for the first, and no baseline better.

    python benchmarks/many_models.py [--only speed two eight large] [--requests 200000] [--overhead 0.0] [--skew 0.0]

``--overhead`` is what each stage of a pipeline costs beyond its share, in parts of the whole model's latency; with
``--skew`` the k-th of the eight models has 1 / k to this power of the requests, instead of as many as the others.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from interleave import conditions

from cutwater.plan.fleet import Fleet, Node
from cutwater.plan.many.choose import ANYTIME, plan_many
from cutwater.plan.many.door import ENGINE, PRECISE, Door
from cutwater.plan.many.forecast import forecast, latencies
from cutwater.plan.many.replicas import replicated
from cutwater.plan.many.served import Candidate, Group, Placement, Replica, Served
from cutwater.plan.many.stream import merged
from cutwater.plan.many.tracks import tracks
from cutwater.plan.problem import Floats
from cutwater.plan.solvers.base import Effort
from cutwater.units import NodeId

WHOLE = 0.05
"""Seconds of a model on one node."""
HOP = 0.0002


def candidate(stages: int, overhead: float = 0.0) -> Candidate:
    """The model in so many equal stages, weights of size 1."""
    each = WHOLE / stages + (overhead * WHOLE if stages > 1 else 0.0)
    edges = [k / stages for k in range(stages + 1)]
    return Candidate(
        seconds=(each,) * stages,
        hops=(HOP,) * stages + (HOP * stages,),
        spans=tuple(pairwise(edges)),
        memory=(0.0,) * stages,
    )


def models(count: int, stages: Sequence[int], slo: float, overhead: float = 0.0) -> list[Served]:
    return [
        Served(name=f"model-{k}", slo=slo, candidates=tuple(candidate(s, overhead) for s in stages))
        for k in range(count)
    ]


def fleet(count: int, memory: int | None = None) -> Fleet:
    nodes = tuple(Node(name=NodeId(f"node-{k}"), memory=memory) for k in range(count))
    return Fleet(nodes=nodes, source=nodes[0].name)


def gamma(rates: Sequence[float], cv: float, seconds: float, seed: int) -> list[Floats]:
    """Per model arrivals with Gamma gaps."""
    rng = np.random.default_rng(seed)
    arrivals = []
    for rate in rates:
        count = int(rate * seconds * 1.5 + 10 * cv * (rate * seconds) ** 0.5 + 100)
        times = np.cumsum(rng.gamma(1 / cv**2, cv**2 / rate, count))
        arrivals.append(times[times < seconds])
    return arrivals


def shared(stages: int, count: int) -> Placement:
    """All models in pipelines over all nodes."""
    return Placement((Group(tuple(range(stages)), tuple(Replica(m, 0) for m in range(count))),))


def speed(requests: int) -> None:
    print("\nspeed: stages, models, CV, share of the capacity: attainment, requests/s, times one by one")
    for stages, count, cv, load in (
        (1, 1, 1, 0.9), (2, 1, 1, 0.8), (2, 8, 2, 0.6), (4, 8, 1, 0.8), (4, 8, 4, 0.4), (8, 8, 4, 0.6), (8, 8, 8, 0.25),
    ):  # fmt: skip
        served, nodes = models(count, (stages,), 5 * WHOLE), fleet(stages).nodes
        rate = load * stages / WHOLE
        stream = merged(gamma([rate / count] * count, cv, requests / rate, 1))
        placement = shared(stages, count)
        taken: list[Floats] = []
        whole = _fastest(lambda: taken.append(latencies(placement, served, nodes, stream)))  # noqa: B023
        way = tracks(placement.groups, served, nodes, ENGINE)
        part = stream.only(np.arange(min(len(stream.times), 50_000)))
        single = _fastest(lambda: replicated(way, part.times, part.models))  # noqa: B023
        pace = len(stream.times) / whole
        print(
            f"  {stages} {count} {cv} {load:.2f}: {np.isfinite(taken[0]).mean():7.2%} {pace / 1e6:6.2f} M/s"
            f"  {pace * single / len(part.times):5.1f}x"
        )
    served, nodes = models(4, (2,), 5 * WHOLE), fleet(4).nodes
    every = tuple(Replica(m, 0) for m in range(4))
    stream = merged(gamma([12.0] * 4, 2, requests / 48.0, 1))
    placement = Placement((Group((0, 1), every), Group((2, 3), every)))
    seconds = _fastest(lambda: latencies(placement, served, nodes, stream))
    print(f"  replicas of 4 models on 2 groups of 2 nodes: {len(stream.times) / seconds / 1e6:.2f} M/s")


def _fastest(what: Callable[[], object], rounds: int = 3) -> float:
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        what()
        best = min(best, time.process_time() - began)
    return best


def two(requests: int, overhead: float) -> None:
    print("\ntwo models on two nodes: mean latency of one per node, of pipelines, and how many times shorter that is")
    served = models(2, (1, 2), 1e6, overhead)
    nodes = fleet(2).nodes
    apart = Placement((Group((0,), (Replica(0, 0),)), Group((1,), (Replica(1, 0),))))
    together = Placement((Group((0, 1), (Replica(0, 1), Replica(1, 1))),))
    for load in (0.6, 0.75):
        for name, cv, shares in (("Poisson", 1.0, (1, 1)), ("Gamma CV 3", 3.0, (1, 1)), ("20/80", 1.0, (0.4, 1.6))):
            rates = [load / WHOLE * share for share in shares]
            stream = merged(gamma(rates, cv, requests / sum(rates), 2))
            one, both = (1e3 * forecast(p, served, nodes, stream, PRECISE)[-1].mean for p in (apart, together))
            full = "" if max(rates) * WHOLE < 1 else "  (overloaded)"
            print(f"  {load:.0%} {name:10} {one:8.1f} {both:7.1f} ms {one / both:6.2f}{full}")


AIM = 0.99
BOUND = "one machine"
METHODS = ("one-per-node", "replication", "fixed-pipelines", "greedy", ANYTIME, BOUND)


@dataclass(frozen=True)
class Eight:
    """Eight models."""

    requests: int
    door: Door
    overhead: float
    skew: float

    def attained(self, method: str, nodes: int, rate: float, cv: float) -> float:
        shares = np.arange(1.0, 9.0) ** -self.skew
        arrivals = gamma((rate * shares / shares.sum()).tolist(), cv, self.requests / rate, 3)
        if method == BOUND:
            served = [replace(each, candidates=(_no_hops(each.candidates[0]),)) for each in models(8, (1,), 5 * WHOLE)]
            machine = [Node(name=NodeId("all"), speed=float(nodes))]
            every = Placement((Group((0,), tuple(Replica(m, 0) for m in range(8))),))
            return forecast(every, served, machine, merged(arrivals), self.door)[-1].attainment
        served = models(8, [s for s in (1, 2, 4, 8) if s <= nodes], 5 * WHOLE, self.overhead)
        effort = Effort(rng=np.random.default_rng(0), steps=100)
        return plan_many(served, fleet(nodes, 2), arrivals, method=method, effort=effort, door=self.door).attainment

    def reaches(self, method: str, nodes: int, rate: float, cv: float) -> bool:
        return self.attained(method, nodes, rate, cv) >= AIM


def _no_hops(candidate: Candidate) -> Candidate:
    return replace(candidate, hops=(0.0,) * len(candidate.hops))


def highest(reaches: Callable[[float], bool], low: float, high: float) -> float:
    """Where it stops to reach the aim, to 1 %; 0 where the lowest does not."""
    if not reaches(low):
        return 0.0
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return low


def eight(requests: int, overhead: float, skew: float) -> None:
    cvs, rates = (1.0, 2.0, 3.0), (8.0, 16.0, 24.0)
    for what, door in (("the engine's door", ENGINE), ("a door that knows all queues", PRECISE)):
        print(f"\neight models on four nodes, {what}: highest rate/s at each CV, highest CV at each rate, {AIM:.0%}")
        print(f"  {'':16}" + "".join(f"  CV {cv:.0f}  " for cv in cvs) + "".join(f"  {r:.0f}/s   " for r in rates))
        case = Eight(requests, door, overhead, skew)
        rows = {}
        for method in METHODS:
            rows[method] = [highest(partial(_at_rate, case, method, cv=cv), 0.5, 80.0) for cv in cvs]
            rows[method] += [highest(partial(_at_cv, case, method, rate), 0.5, 16.0) for rate in rates]
        for method, figures in rows.items():
            over = [f"({a / b:.1f}x)" if b else "" for a, b in zip(figures, rows["replication"], strict=True)]
            print(f"  {method:16}" + "".join(f"{a:6.2f}{x:7}" for a, x in zip(figures, over, strict=True)), flush=True)
    print("\n  nodes that 24 requests/s at CV 3 need")
    case = Eight(requests, ENGINE, overhead, skew)
    for method in ("replication", "greedy"):
        enough = (n for n in range(1, 33) if case.reaches(method, n, 24.0, 3.0))
        print(f"  {method:16}{next(enough, None)}", flush=True)


def _at_rate(case: Eight, method: str, rate: float, *, cv: float) -> bool:
    return case.reaches(method, 4, rate, cv)


def _at_cv(case: Eight, method: str, rate: float, cv: float) -> bool:
    return case.reaches(method, 4, rate, cv)


@dataclass(frozen=True)
class Large:
    """Models that take 10 to 200 ms, with weights in proportion, on nodes with memory for two and a half usual ones."""

    models: int
    nodes: int
    requests: int
    cv: float = 3.0
    load: float = 0.6
    """Of what the nodes could do if nothing were cut."""
    overhead: float = 0.03
    """Of a cut, each time the stages double."""

    def made(self, seed: int) -> tuple[list[Served], Fleet, list[Floats]]:
        rng = np.random.default_rng(seed)
        seconds = np.exp(rng.uniform(np.log(0.01), np.log(0.2), self.models))
        weights = 1e6 * seconds / seconds.mean()
        served = [
            Served(
                name=f"model-{k}",
                slo=5 * whole,
                candidates=tuple(self.pipeline(whole, size, s, rng) for s in (1, 2, 4, 8)),
            )
            for k, (whole, size) in enumerate(zip(seconds.tolist(), weights.tolist(), strict=True))
        ]
        nodes = tuple(Node(name=NodeId(f"node-{k}"), memory=2_500_000) for k in range(self.nodes))
        shares = rng.permutation(np.arange(1.0, self.models + 1) ** -0.5)
        rates = self.load * self.nodes * shares / shares.sum() / seconds
        arrivals = gamma(rates.tolist(), self.cv, self.requests / float(rates.sum()), seed + 1)
        return served, Fleet(nodes=nodes, source=nodes[0].name), arrivals

    def pipeline(self, whole: float, weight: float, stages: int, rng: np.random.Generator) -> Candidate:
        uneven = rng.uniform(0.9, 1.1, stages)
        each = whole / stages * (1 + self.overhead * np.log2(stages)) * uneven / uneven.mean()
        edges = [weight * k / stages for k in range(stages + 1)]
        return Candidate(
            seconds=tuple(each.tolist()),
            hops=(HOP,) * stages + (HOP * stages,),
            spans=tuple(pairwise(edges)),
            memory=(2e4,) * stages,
        )


def large(case: Large, steps: int, seconds: float) -> None:
    print(f"\n{case.models} models on {case.nodes} nodes, {case.requests:,} requests: attainment, processor time")
    served, nodes, arrivals = case.made(4)
    began = time.process_time()
    passed: dict[str, float] = {}

    def told(what: str, share: float) -> None:
        passed.setdefault(what.partition(" ")[0], time.process_time() - began)

    effort = Effort(rng=np.random.default_rng(0), steps=steps, go_on=lambda: time.process_time() - began < seconds)
    placed = plan_many(served, nodes, arrivals, effort=effort, told=told)
    took = time.process_time() - began
    starts = [*passed.values(), took]
    for k, what in enumerate(passed):
        share = f"{placed.baselines[what].attainment:8.2%}" if what in placed.baselines else f"{'':8}"
        print(f"  {what:16} {share} {starts[k + 1] - starts[k]:8.1f} s")
    sizes = Counter(len(group.nodes) for group in placed.placement.groups if group.replicas)
    print(
        f"  {ANYTIME:16} {placed.attainment:8.2%} {took:8.1f} s in all, groups {dict(sorted(sizes.items()))}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["speed", "two", "eight", "large"])
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--overhead", type=float, default=0.0)
    parser.add_argument("--skew", type=float, default=0.0)
    options = parser.parse_args()
    print(conditions(["numpy"]))
    if "speed" in options.only:
        speed(options.requests)
    if "two" in options.only:
        two(options.requests, options.overhead)
    if "eight" in options.only:
        eight(options.requests // 4, options.overhead, options.skew)
    if "large" in options.only:
        large(Large(50, 64, 100_000), steps=1000, seconds=300.0)
        large(Large(200, 500, 200_000), steps=300, seconds=600.0)


if __name__ == "__main__":
    main()
