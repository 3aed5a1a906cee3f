"""Overload: what is still answered in time when more is asked than can be, on real workers and in the simulator.

Goodput is results that came by their deadline, per second, once the line has filled. Requests come at random (Poisson)
at one, two, five and ten times the capacity, which is measured first with clients that wait for their answers; the
factors take turns in every round, for each of the timeouts. Figures are the goodput over the best of the same round and
timeout. Target: 0.90 at ten times the capacity, and refusals that cost microseconds.

Beside it stands what does not depend on how busy the machine is otherwise: the share of the time in which the slowest
stage computed what came in time. The rest it was idle, or computed for nobody.

On real workers the clients are in the gateway's process and share its cores, and those of the stages: at ten times the
capacity a part of what is lost is what asking costs.

    python benchmarks/overload.py [--model resnet50] [--rounds 5] [--seconds 4] [--timeouts 0.5 2] [--only sim]
"""

import argparse
import gc
import statistics
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import takewhile
from random import Random
from typing import NamedTuple

import onnxruntime
import psutil
from halves import Halves, cut_in_halves, pipeline_of
from interleave import conditions, ratio

from cutwater.drivers.loop import run
from cutwater.drivers.sim.cluster import ClusterOptions, NodeOptions, SimCluster
from cutwater.drivers.sim.models import SimModel
from cutwater.drivers.sim.workload import poisson
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.vocabulary import Asked, Key, Launch, LinkId, Opened, Received, Rerouted, Route
from cutwater.lab.load.checked import Case, Load
from cutwater.lab.load.result import GOOD
from cutwater.services.workers.local import LocalPipeline
from cutwater.services.workers.outcome import Feeds, Outcome
from cutwater.units import NodeId, RequestId
from cutwater.wire.message import Answer, Hop

FACTORS = (1, 2, 5, 10)
FILLED = 1.0
"""Seconds until the line has filled."""
CLIENTS = 16
"""Who measure the capacity, each with one request at a time."""


class Turn(NamedTuple):
    """What came of the requests of one turn."""

    goodput: float
    """Per second."""
    shares: str
    """Of the requests, by how they ended."""
    refusal: float
    """Seconds until a refusal was there, at the median."""
    useful: float | None = None
    """Share of the time in which the slowest stage computed what came in time; None: not known."""


class End(NamedTuple):
    """What came of a request; in seconds since the turn began."""

    asked: float
    ended: float
    kind: str
    """Of the error; empty: a result in time."""


def summary(ends: Sequence[End], seconds: float, useful: float | None = None) -> Turn:
    """What counts is what ended after the first second."""
    counted = [end for end in ends if FILLED < end.ended <= seconds]
    counts = Counter(end.kind for end in counted)
    shares = ", ".join(f"{kind or 'answered'} {count / len(counted):.1%}" for kind, count in sorted(counts.items()))
    refusals = [end.ended - end.asked for end in counted if end.kind == "Refused"]
    refusal = statistics.median(refusals) if refusals else 0.0
    return Turn(counts[""] / (seconds - FILLED), shares, refusal, useful)


def simulated(seconds: float, timeout: float, factor: int, seed: int) -> Turn:
    """Three stages of 6 ms each, in virtual time."""
    cluster = SimCluster(
        [NodeOptions(node=NodeId(f"n{k}")) for k in range(3)],
        [SimModel(name="net", blocks=(3e-3,) * 6, memory=2**20)],
        options=ClusterOptions(coordinators=1),
    )
    assert cluster.run_until(lambda: cluster.leader is not None, 10.0)
    cluster.deploy(DeploySpec(model="net", stages=3, fallback=False))
    assert cluster.run_until(lambda: cluster.live("net"), 300.0)
    rate = factor / 6e-3
    arrivals = takewhile(lambda at: at < seconds, poisson(rate, Random(seed)))
    cluster.offer(((at, "net") for at in arrivals), timeout)
    cluster.world.settle(1e9)
    began = cluster.world.askings[0].asked
    ends = [End(each.asked - began, each.asked - began + each.latency, each.kind) for each in cluster.world.askings]
    return summary(ends, seconds)


class Real:
    """A model in two stages on real workers."""

    def __init__(self, halves: Halves, pipeline: LocalPipeline) -> None:
        session = onnxruntime.InferenceSession(halves.model, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        self._cases = [
            Case(dict(feeds), dict(zip(names, session.run(names, dict(feeds)), strict=True)))
            for feeds in halves.requests
        ]
        self._pipeline = pipeline
        self.capacity = 0.0

    async def measure(self, seconds: float) -> None:
        """What it answers to clients that wait."""
        self.capacity = await Load(self._pipeline.infer, self._cases).closed(CLIENTS, seconds)

    async def turn(self, seconds: float, timeout: float, factor: int, seed: int) -> Turn:  # noqa: ASYNC109
        """Requests at ``factor`` times the capacity."""
        computed: Counter[str] = Counter()

        async def ask(feeds: Feeds) -> Outcome:
            outcome = await self._pipeline.infer(feeds, timeout)
            if FILLED < load.now <= seconds:
                computed.update({mark.stage: mark.finished - mark.started for mark in outcome.trail})
            return outcome

        load = Load(ask, self._cases)
        await load.open(poisson(factor * self.capacity, Random(seed)), seconds)
        ends = [
            End(each.due, each.ended, "" if each.result in GOOD else each.kind or each.result) for each in load.attempts
        ]
        return summary(ends, seconds, max(computed.values(), default=0.0) / (seconds - FILLED))


async def real(halves: Halves, arguments: argparse.Namespace) -> None:
    """Print what real workers reach."""
    async with pipeline_of(halves) as pipeline:
        bed = Real(halves, pipeline)
        await bed.measure(arguments.seconds)
        print(f"{halves.graph.name} in two stages: {bed.capacity:.1f} a second to {CLIENTS} clients that wait")
        before = psutil.Process().memory_info().rss
        turns: dict[float, dict[int, list[Turn]]] = {t: {f: [] for f in FACTORS} for t in arguments.timeouts}
        for number in range(arguments.rounds):
            for timeout in arguments.timeouts:
                for factor in FACTORS:
                    turns[timeout][factor].append(await bed.turn(arguments.seconds, timeout, factor, number))
        show(turns, bed.capacity)
        grown = (psutil.Process().memory_info().rss - before) / 2**20
        print(f"  this process has grown by {grown:.1f} MiB, clients and the trace included")


def simulation(arguments: argparse.Namespace) -> None:
    """Print what simulated workers reach."""
    print("three simulated stages of 6 ms")
    turns = {
        timeout: {
            factor: [simulated(arguments.seconds, timeout, factor, seed) for seed in range(arguments.rounds)]
            for factor in FACTORS
        }
        for timeout in arguments.timeouts
    }
    show(turns, 1 / 6e-3)


def show(turns: dict[float, dict[int, list[Turn]]], capacity: float) -> None:
    """Ratios to the best of each round."""
    for timeout, of in turns.items():
        rounds = list(zip(*of.values(), strict=True))
        best = [max(turn.goodput for turn in round_) for round_ in rounds]
        peak = statistics.median(best) / capacity
        print(f"  timeout {timeout:g} s; the best factor reaches {peak:.3f} of the capacity")
        for factor, found in of.items():
            to_best = ratio([turn.goodput for turn in found], best)
            refusal = statistics.median(turn.refusal for turn in found)
            print(f"    {factor:2} x: {to_best} of the best; {found[-1].shares}; refused after {refusal * 1e3:.2f} ms")
            useful = [turn.useful for turn in found if turn.useful is not None]
            if useful:
                most = [max(turn.useful or 0.0 for turn in round_) for round_ in rounds]
                print(f"          {statistics.median(useful):.3f} useful, {ratio(useful, most)} of the best")


def machine(requests: int = 20_000) -> None:
    """Print what the gateway's machine takes to refuse a request, and to see one through, in microseconds."""
    for clients in (1, 100):
        gateway = Gateway(GatewayOptions(admission=Admission(window=16)))
        gateway.handle(Rerouted((Route((Hop("a", "plain"), Hop("b", "plain")), seconds=(0.01, 0.01)),)), 0.0)
        gateway.handle(Opened(LinkId(1), 10**9, "a"), 0.0)
        ids, flying, now = iter(range(1, 10**9)), deque[Key](), 0.0

        def ask(timeout: float, at: float, clients: int = clients) -> float:
            request = RequestId(next(ids))  # noqa: B023 - called in the same turn
            event = Asked(request, timeout, 0, f"client {request % clients}")
            return told(event, at)

        def told(event: Asked | Received, at: float) -> float:
            began = time.perf_counter()
            commands = gateway.handle(event, at)  # noqa: B023
            took = time.perf_counter() - began
            flying.extend(command.key for command in commands if type(command) is Launch)  # noqa: B023
            return took

        for _ in range(1000):
            ask(2.0, now)
        through = []
        gc.collect()
        for _ in range(requests // 10):
            now += 0.01
            key = flying.popleft()
            through.append(told(Received(LinkId(1), Answer(*key, "plain", (), ())), now) + ask(2.0, now))
        refused = gateway.snapshot().refused
        took = [ask(0.5, now) for _ in range(requests)]
        assert gateway.snapshot().refused - refused == requests
        print(
            f"the machine alone, {clients} clients, {gateway.snapshot().queued} waiting: refuses in "
            f"{statistics.median(took) * 1e6:.1f} us, sees a request through the line in "
            f"{statistics.median(through) * 1e6:.1f} us (medians)"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn; the first does not count")
    parser.add_argument("--timeouts", type=float, nargs="+", default=(0.5, 2.0))
    parser.add_argument("--only", choices=("machine", "sim", "real"))
    arguments = parser.parse_args()
    print(conditions(["cutwater", "onnxruntime", "numpy", "uvloop"]))
    if arguments.only in (None, "machine"):
        machine()
    if arguments.only in (None, "sim"):
        simulation(arguments)
    if arguments.only in (None, "real"):
        run(real(cut_in_halves(arguments.model), arguments))


if __name__ == "__main__":
    main()
