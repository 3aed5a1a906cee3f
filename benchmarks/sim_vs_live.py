"""Simulated against live: one plan, the same moments of asking, throughput and latencies of both, and their ratios.

A model of the zoo is planned for workers on this machine, whose stages are measured as planning does. In each round
requests come to the live pipeline in a seeded Poisson stream; when they were really asked is written down, and the
simulator is given the same plan, the profile it was made with, and those moments. Nothing is fitted to a model.

    python benchmarks/sim_vs_live.py [--model efficientnet-lite0] [--stages 2] [--load 0.5] [--rounds 5] [--seconds 20]
"""

import argparse
import asyncio
from itertools import takewhile
from random import Random

from interleave import conditions, ratio, undisturbed

from cutwater.cut.lattice import build_lattice
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
from cutwater.plan.objective import Objective
from cutwater.plan.plan import Plan
from cutwater.profile.profile import Profile
from cutwater.services.workers.local import Feeds, LocalPipeline
from cutwater.services.workers.stages import plan_stages
from cutwater.units import RequestId, format_seconds
from cutwater.zoo.packages import default_cache
from cutwater.zoo.registry import MODELS, build

TIMEOUT = 60.0


async def live(pipeline: LocalPipeline, feeds: Feeds, moments: list[float]) -> list[Asking]:
    """Ask at these moments; returns every request with when it was really asked."""
    began = clock()
    askings: list[Asking] = []

    async def ask(asking: Asking) -> None:
        try:
            await pipeline.infer(feeds, TIMEOUT)
        except CutwaterError as error:
            asking.kind = error.kind
        asking.ended = clock() - began

    tasks = []
    for number, moment in enumerate(moments):
        await asyncio.sleep(max(moment - (clock() - began), 0.0))
        askings.append(Asking(RequestId(number), pipeline.stages[0].enter.value, clock() - began, TIMEOUT))
        tasks.append(asyncio.create_task(ask(askings[-1])))
    await asyncio.gather(*tasks)
    return askings


def simulated(plan: Plan, profile: Profile, stages: int, moments: list[float], seed: int) -> Figures:
    """The same plan at the same moments, in virtual time."""
    options = PipelineOptions(world=WorldOptions(seed=seed), timeout=TIMEOUT)
    pipeline = SimPipeline(plan, fleet=fleet_here(profile, stages), profile=profile, options=options)
    pipeline.offer(moments)
    pipeline.world.settle(1e9)
    return pipeline.world.figures()


async def compare(arguments: argparse.Namespace, plan: Plan, profile: Profile, feeds: Feeds, lattice) -> None:
    """Interleaved rounds."""
    rate = arguments.load * plan.score.throughput
    pairs: list[tuple[Figures, Figures]] = []
    async with LocalPipeline(plan_stages(lattice, plan), plan.codecs) as pipeline:
        for number in range(arguments.rounds):
            moments = list(takewhile(lambda at: at < arguments.seconds, poisson(rate, Random(number))))
            tries = await undisturbed(lambda moments=moments: live(pipeline, feeds, moments))
            others, askings = min(tries, key=lambda each: each[0])
            real = figures(askings)
            asked = [asking.asked for asking in askings]
            pairs.append((simulated(plan, profile, arguments.stages, asked, number), real))
            _show(number, others, *pairs[-1])
    print(f"simulated over live, {len(pairs)} rounds of {arguments.seconds:g} s at {rate:.1f} requests/s:")
    for name, limit in (("throughput", 5), ("p50", 5), ("p99", 10)):
        found = ratio([getattr(sim, name) for sim, _ in pairs], [getattr(real, name) for _, real in pairs])
        print(f"  {name:10} {found}  (asked for: within {limit} %)")


def _show(number: int, others: float, sim: Figures, real: Figures) -> None:
    told = ", ".join(
        f"{name} {format_seconds(getattr(sim, name))} / {format_seconds(getattr(real, name))}"
        for name in ("p50", "p90", "p99")
    )
    print(f"round {number}: throughput {sim.throughput:.2f} / {real.throughput:.2f}, {told} ({others:.0%} others)")


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
