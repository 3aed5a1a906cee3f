"""Pipeline: how close two stages on two cores come to the slower stage alone, and what cutting gains on one machine.

Two questions, both about a model of the zoo cut in two stages of equal time, a worker with one thread on each core:

* efficiency: the pipeline's throughput over that of its slower stage, which a process with nothing but ONNX Runtime
  computes in a loop on the same core while the other core computes the other stage. Target: 0.95.
* gain: the pipeline's throughput over that of one process that runs the whole model with two threads, spinning
  allowed (ONNX Runtime's default) and not; the better of the two in each round. As a second peer two processes that
  each run the whole model with one thread: twice the weights, and no answer is ready sooner.

The gateway shares the cores with the stages. Candidates take turns in every round (see interleave.py).

    python benchmarks/pipeline.py [--models resnet50 ...] [--rounds 7] [--seconds 3] [--cut LABEL] [--json FILE]
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
from halves import PINNED, Halves, Peer, bare, bare_stages, cut_in_halves, pipeline_of, slower_stage, stream
from interleave import Rounds, Turn, conditions, interleave, ratio, undisturbed

from cutwater.drivers.loop import run
from cutwater.services.workers.local import LocalPipeline

MODELS = ("efficientnet-lite0", "resnet50", "yolov8n")
BOTH = (0, 1)


async def measure(halves: Halves, rounds: int, seconds: float) -> tuple[Rounds, dict[str, float]]:
    """All candidates in every round; and where a request's time goes in the pipeline."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pipeline = await enter(pipeline_of(halves))
        stages = await enter(bare_stages(halves))
        feeds = halves.requests[0]
        spinning, resting = [
            await enter(bare(halves.model, feeds, threads=2, spin=spin, cores=BOTH)) for spin in (True, False)
        ]
        copies = [await enter(bare(halves.model, feeds, threads=1, spin=False, cores=cores)) for cores in PINNED]
        candidates = {
            "pipeline": lambda: stream(pipeline, halves.requests, seconds),
            "slower stage": lambda: slower_stage(stages, seconds),
            "two threads, spinning": lambda: spinning.turn(seconds),
            "two threads": lambda: resting.turn(seconds),
            "two copies": lambda: all_together(copies, seconds),
        }
        found = await interleave(candidates, rounds)
        told = await undisturbed(lambda: budget(pipeline, halves, seconds))
        return found, told[-1][1]


async def all_together(processes: Sequence[Peer], seconds: float) -> Turn:
    """Several processes at once, each with its own requests."""
    turns = await asyncio.gather(*(process.turn(seconds) for process in processes))
    return Turn(sum(turn.rate for turn in turns), sum(turn.cpu for turn in turns) / len(turns))


async def budget(pipeline: LocalPipeline, halves: Halves, seconds: float) -> dict[str, float]:
    """A full pipeline, per answer in milliseconds: what its stages say they did, and the CPU of all its processes."""
    before = pipeline.snapshot()
    turn = await stream(pipeline, halves.requests, seconds)
    after = pipeline.snapshot()
    count = after.stages[0].requests - before.stages[0].requests
    told = {"per answer": 1e3 / turn.rate, "CPU of all": turn.cpu * 1e3}
    for k, (old, new) in enumerate(zip(before.stages, after.stages, strict=True), start=1):
        told[f"stage {k} computing"] = (new.busy - old.busy) / count * 1e3
        told[f"stage {k} hold"] = (new.hold - old.hold) / count * 1e3
        told[f"stage {k} wait"] = (new.wait - old.wait) / count * 1e3
    return told


def show(halves: Halves, found: Rounds, told: dict[str, float]) -> dict[str, Any]:
    """Print the ratios of one model; returns them."""
    share = halves.cut.flops_before / max(halves.graph.flops, 1)
    print(f"\n{halves.graph.name}, cut {halves.cut.label} ({share:.0%} of the FLOPs, {halves.cut.border_bytes} bytes)")
    rates = {name: [turn.rate for turn in turns] for name, turns in found.turns.items()}
    better = np.maximum(rates["two threads, spinning"], rates["two threads"]).tolist()
    ratios = {
        "efficiency: pipeline / slower stage": found.ratio("pipeline", "slower stage"),
        "gain: pipeline / one process of two threads": ratio(rates["pipeline"], better),
        "  spinning": found.ratio("pipeline", "two threads, spinning"),
        "  not spinning": found.ratio("pipeline", "two threads"),
        "pipeline / two whole copies": found.ratio("pipeline", "two copies"),
    }
    for name, value in ratios.items():
        print(f"  {name:45} {value}")
    print(f"  {found}")
    print("  milliseconds: " + ", ".join(f"{name} {value:.2f}" for name, value in told.items()))
    return {
        "model": halves.graph.name,
        "cut": halves.cut.label,
        "ratios": {name.strip(): vars(value) for name, value in ratios.items()},
        "rates": rates,
        "milliseconds": told,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each candidate in each round")
    parser.add_argument("--cut", help="cut here (a label, a layer, '40%%') instead of where the stages balance")
    parser.add_argument("--json", type=Path, help="write conditions and figures here")
    arguments = parser.parse_args()
    where = conditions(["cutwater", "onnxruntime", "numpy", "uvloop"])
    print(where)
    rows = []
    for name in arguments.models:
        halves = cut_in_halves(name, arguments.cut)
        rows.append(show(halves, *run(measure(halves, arguments.rounds, arguments.seconds))))
    if arguments.json:
        arguments.json.write_text(json.dumps({"conditions": where, "at": time.time(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
