"""Simulated against live: one plan, the same moments of asking, throughput and latencies of both, and their ratios.

A model of the zoo is planned for workers on this machine, whose stages are measured as planning does. In each round
requests come to the live pipeline in a seeded Poisson stream; when they were really asked is written down, and the
simulator is given the same plan and those moments, twice. "planned" knows the profile the plan was made with. "seen"
knows besides what stages computed and hops took in a run of other moments right before: at half load a stage of a few
milliseconds finds its caches cold after every pause, which the profile's runs, one right after the other, do not.
Neither knows anything of the run it is held against.

    python benchmarks/sim_vs_live.py [--model efficientnet-lite0] [--stages 2] [--load 0.5] [--rounds 5] [--seconds 20]
"""

import argparse
import asyncio
from dataclasses import dataclass
from itertools import pairwise, takewhile
from random import Random
from statistics import median

import msgspec
import numpy as np
from interleave import conditions, ratio, undisturbed

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.drivers.live import clock
from cutwater.drivers.loop import run
from cutwater.drivers.sim.outcomes import Asking, Figures, figures
from cutwater.drivers.sim.pipeline import PipelineOptions, SimPipeline
from cutwater.drivers.sim.workload import poisson
from cutwater.drivers.sim.world import WorldOptions
from cutwater.errors import CutwaterError
from cutwater.frameworks.open import open_graph
from cutwater.lab.inputs import good_feeds, open_inputs
from cutwater.lab.planning import LocalTask, fleet_here, plan_locally
from cutwater.lab.rest import cold, fit_rest
from cutwater.lab.timing import sample
from cutwater.plan.objective import Objective
from cutwater.plan.plan import Plan
from cutwater.profile.profile import Profile, Rest, Sample
from cutwater.services.workers.local import Feeds, LocalPipeline
from cutwater.services.workers.stages import plan_stages
from cutwater.units import RequestId, format_seconds
from cutwater.wire.message import Mark
from cutwater.zoo.packages import default_cache
from cutwater.zoo.registry import MODELS, build

TIMEOUT = 60.0
HARDLY = 0.1
"""That share of the requests waits hardly for others."""


@dataclass(frozen=True)
class Seen:
    """What a live run says of its costs, in seconds."""

    computing: list[tuple[Sample, Rest]]
    """Of each stage, without a pause before, and what pauses add."""
    beside: float
    """What a request takes beside computing, and beside waiting for others; the median."""


async def live(pipeline: LocalPipeline, feeds: Feeds, moments: list[float]) -> tuple[list[Asking], Seen]:
    """Ask at these moments; returns every request with when it was really asked, and what it cost."""
    began = clock()
    askings: list[Asking] = []
    trails: list[tuple[float, float, tuple[Mark, ...]]] = []

    async def ask(asking: Asking) -> None:
        asked = clock()
        try:
            trails.append((asked, 0.0, (await pipeline.infer(feeds, TIMEOUT)).trail))
            trails[-1] = (asked, clock(), trails[-1][2])
        except CutwaterError as error:
            asking.kind = error.kind
        asking.ended = clock() - began

    tasks = []
    for number, moment in enumerate(moments):
        await asyncio.sleep(max(moment - (clock() - began), 0.0))
        askings.append(Asking(RequestId(number), pipeline.stages[0].enter.value, clock() - began, TIMEOUT))
        tasks.append(asyncio.create_task(ask(askings[-1])))
    await asyncio.gather(*tasks)
    return askings, seen(trails)


def seen(trails: list[tuple[float, float, tuple[Mark, ...]]]) -> Seen:
    """When each request was asked and answered, and its trail, made into costs. Such waiting as nearly every request
    has, for threads to wake and tensors to be unpacked, is on its way."""
    stages = list(zip(*(trail for _, _, trail in trails), strict=True))
    waits = [[mark.started - mark.received for mark in marks] for marks in stages]
    usual = sum(float(np.quantile(each, HARDLY)) for each in waits)
    beside = [
        ended - asked - sum(mark.finished - mark.started for mark in trail) - sum(mine)
        for (asked, ended, trail), mine in zip(trails, zip(*waits, strict=True), strict=True)
    ]
    return Seen([_computing(marks) for marks in stages], median(beside) + usual)


def _computing(marks: tuple[Mark, ...]) -> tuple[Sample, Rest]:
    marks = tuple(sorted(marks, key=lambda mark: mark.started))
    gaps = np.array([mark.started - before.finished for before, mark in pairwise(marks)])
    took = np.array([mark.finished - mark.started for mark in marks[1:]])
    rest = fit_rest(gaps, took)[1]
    return sample(list(took - cold(rest, gaps))), rest


def as_seen(plan: Plan, profile: Profile, costs: Seen) -> tuple[Plan, Profile]:
    """The plan and its profile with these costs in place of those that were planned with."""
    replace = msgspec.structs.replace
    known = {(stage.begin, stage.end): stage for stage in profile.stages}
    scores = []
    for stage, score, (each, rest) in zip(plan.stages, plan.score.stages, costs.computing, strict=True):
        span = stage.begin.before, stage.end.before
        known[span] = replace(known[span], seconds=each, rest=rest)
        scores.append(replace(score, compute=each.median, decode=0.0, encode=0.0))
    assert profile.local is not None
    charged, frames = 0.0, 2 * len(scores)
    for number, hop in enumerate(plan.score.hops[: len(scores)]):
        for size in (hop.nbytes, hop.back_bytes):
            for end in (profile.entrance if number == 0 and profile.entrance else profile.send, profile.receive):
                charged += end.fixed + end.per_byte * size
    local = replace(profile.local, latency=max(costs.beside - charged, 0.0) / frames)
    # What others on the machine cost a stage is in what it was seen to compute.
    profile = replace(profile, stages=tuple(known.values()), local=local, contention=1.0)
    return replace(plan, score=replace(plan.score, stages=tuple(scores))), profile


def simulated(plan: Plan, profile: Profile, stages: int, moments: list[float], seed: int) -> Figures:
    """The same plan at the same moments, in virtual time."""
    options = PipelineOptions(world=WorldOptions(seed=seed), timeout=TIMEOUT)
    pipeline = SimPipeline(plan, fleet=fleet_here(profile, stages), profile=profile, options=options)
    pipeline.offer(moments)
    pipeline.world.settle(1e9)
    return pipeline.world.figures()


async def compare(arguments: argparse.Namespace, plan: Plan, profile: Profile, feeds: Feeds, lattice: Lattice) -> None:
    """Interleaved rounds."""
    rate = arguments.load * plan.score.throughput
    found: dict[str, list[Figures]] = {"live": [], "planned": [], "seen": []}

    def moments(seed: int) -> list[float]:
        return list(takewhile(lambda at: at < arguments.seconds, poisson(rate, Random(seed))))

    async with LocalPipeline(plan_stages(lattice, plan), plan.codecs) as pipeline:
        for number in range(arguments.rounds):
            _, costs = await live(pipeline, feeds, moments(1000 + number))
            tries = await undisturbed(lambda number=number: live(pipeline, feeds, moments(number)))
            others, (askings, _) = min(tries, key=lambda each: each[0])
            asked = [asking.asked for asking in askings]
            found["live"].append(figures(askings))
            for name, (its_plan, its_profile) in (
                ("planned", (plan, profile)),
                ("seen", as_seen(plan, profile, costs)),
            ):
                found[name].append(simulated(its_plan, its_profile, arguments.stages, asked, number))
            _show(number, others, {name: each[-1] for name, each in found.items()})
    print(f"{arguments.rounds} rounds of {arguments.seconds:g} s at {rate:.1f} requests/s:")
    for name in ("planned", "seen"):
        print(f"  simulated from what was {name}, over live")
        for figure, limit in (("throughput", 5), ("p50", 5), ("p99", 10)):
            both = ([getattr(each, figure) for each in found[which]] for which in (name, "live"))
            print(f"    {figure:10} {ratio(*both)}  (asked for: within {limit} %)")


def _show(number: int, others: float, found: dict[str, Figures]) -> None:
    print(f"round {number} ({others:.0%} others)")
    for name, each in found.items():
        told = ", ".join(f"{which} {format_seconds(getattr(each, which))}" for which in ("p50", "p90", "p99"))
        print(f"  {name:8} {each.throughput:.2f}/s, {told}")


def main() -> None:
    """Plan, run both, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--load", type=float, default=0.5, help="share of the predicted throughput")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round")
    arguments = parser.parse_args()
    print(conditions(["cutwater", "onnxruntime", "numpy", "uvloop"]))
    graph = open_graph(build(arguments.model, default_cache()), MODELS[arguments.model].sizes)
    lattice = build_lattice(graph)
    requests = good_feeds(open_inputs(["synthetic:3"], [graph.tensors[name] for name in graph.inputs]), 3)
    task = LocalTask(lattice, requests, arguments.stages, objective=Objective("throughput"))
    plan, profile = plan_locally(task, default_cache() / "profiles")
    cuts = ", ".join(stage.end.label for stage in plan.stages[:-1])
    computing = ", ".join(format_seconds(stage.compute) for stage in plan.score.stages)
    print(f"{graph.name} cut {cuts}; stages compute {computing}; contention {profile.contention:.2f}")
    run(compare(arguments, plan, profile, requests[0], lattice))


if __name__ == "__main__":
    main()
