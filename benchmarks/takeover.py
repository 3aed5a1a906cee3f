"""A warm spare takes over: from when the gateway knows that a worker is lost to the first answer over its spare.

    python benchmarks/takeover.py [--rounds 10] [--rate 10] [--model efficientnet-lite0]

A cluster of four nodes on this machine runs two stages with a warm spare each. While requests come in, a random worker
that is no spare is killed with SIGKILL; the gateway's own trace says when it learnt of the loss (routes without that
worker, a link that closed, or a failure that names it), when it sent the next request over a spare, and when that was
answered: at ten requests a second up to a tenth of a second goes by until one comes.
"""

import argparse
import asyncio
import os
import signal
import tempfile
from itertools import count
from pathlib import Path
from random import Random
from statistics import median

import msgspec

from cutwater.drivers.live import clock
from cutwater.drivers.loop import run
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.nodes import BEAT
from cutwater.engine.trace import Step, from_lines
from cutwater.engine.vocabulary import Launch, Lost, Received, Rerouted, WorkerGone
from cutwater.lab.adding import Addition, prepare
from cutwater.lab.drills.pids import signal_to
from cutwater.lab.drills.scene import Scene, scene
from cutwater.lab.drills.watch import Member
from cutwater.services.cluster.cluster import GATEWAY, LocalCluster
from cutwater.services.home import Home
from cutwater.settings.settings import ClusterSettings, GatewaySettings, Settings
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Address, Answer, Failure
from cutwater.zoo.packages import default_cache

TARGET: Seconds = 0.25
CALM: Seconds = 3.0
"""Between two losses, after all workers are back."""


class Kill(msgspec.Struct, frozen=True):
    """A worker that was killed."""

    at: Seconds
    addresses: frozenset[Address]
    """Where it listened."""


class Takeover(msgspec.Struct, frozen=True):
    """One loss; seconds."""

    detected: Seconds
    """From the kill to the gateway's knowing."""
    answered: Seconds
    """From then to the first answer over a spare."""


def takeover(steps: list[Step], kill: Kill) -> Takeover | None:
    """What a gateway's trace says of a loss; None if no spare has answered."""
    detected: Seconds | None = None
    launched: set[RequestId] = set()
    for step in steps:
        if step.now < kill.at:
            continue
        match step.event:
            case Received(message=Answer(request=request)) if request in launched and detected is not None:
                return Takeover(detected - kill.at, step.now - detected)
            case event if detected is None and tells(event, kill):
                detected = step.now
        launched |= {each.key.request for each in step.commands if isinstance(each, Launch) and each.route.spare}
    return None


def tells(event: object, kill: Kill) -> bool:
    """Whether a gateway knows from an event that the killed worker is gone."""
    match event:
        case Received(message=Failure(suspect=suspect)):
            return bool(suspect)
        case Rerouted(routes=routes):
            return not any(hop.address in kill.addresses for route in routes for hop in route.hops)
        case _:
            return isinstance(event, Lost | WorkerGone)


async def lose_workers(stage: Scene, rounds: int, rate: float, rng: Random) -> list[Kill]:
    """Kill a worker, again and again."""
    load = asyncio.create_task(stage.load.open((k / rate for k in count()), float("inf")))
    kills: list[Kill] = []
    try:
        for _ in range(rounds):
            await stage.watch.until(lambda: "all" if len(serving(stage)) == len(stages(stage)) else "", 60.0)
            await asyncio.sleep(CALM + rng.random())
            victim = rng.choice(serving(stage))
            assert victim.state.pid is not None
            kills.append(Kill(clock(), frozenset(victim.state.addresses)))
            signal_to(victim.state.pid, signal.SIGKILL)
            gone = victim.state.pid
            await stage.watch.until(lambda: "gone" if gone not in pids(stage) else "", 10.0)  # noqa: B023
        await asyncio.sleep(CALM + BEAT)
    finally:
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
    return kills


def serving(stage: Scene) -> list[Member]:
    """Workers that are no spares: the first of each stage, as they are numbered."""
    return [member for member in stage.watch.serving() if member.state.worker.endswith(".0")]


def stages(stage: Scene) -> set[str]:
    return {
        member.state.worker.rsplit(".", 1)[0] for member in stage.watch.members() if member.epoch == stage.watch.epoch
    }


def pids(stage: Scene) -> set[int | None]:
    return {member.state.pid for member in stage.watch.serving()}


async def measure(rounds: int, rate: float, model: str, folder: Path) -> None:
    added = prepare(Addition(source=model), default_cache())
    settings = Settings(home=folder, cluster=ClusterSettings(nodes=4), gateway=GatewaySettings(trace=folder / "trace"))
    spec = DeploySpec(model=added.record.name, stages=2, spares=1)
    home = Home(folder)
    async with scene(home, settings, LocalCluster(home), added, spec, lambda what: None) as stage:
        kills = await lose_workers(stage, rounds, rate, Random(0))
    with (folder / "trace" / f"{GATEWAY}.{spec.model}.jsonl").open("rb") as lines:
        steps = list(from_lines(lines))
    print_result([takeover(steps, kill) for kill in kills])


def print_result(found: list[Takeover | None]) -> None:
    there = [each for each in found if each is not None]
    print(f"{len(there)} of {len(found)} losses were taken over by a spare")
    for name in ("detected", "answered") if there else ():
        values = [1e3 * getattr(each, name) for each in there]
        print(f"  {name}: median {median(values):.1f} ms, max {max(values):.1f} ms")
    kept = len(there) == len(found) and all(each.answered <= TARGET for each in there)
    print(f"  first answer over the spare within {TARGET * 1e3:.0f} ms of the detection: {'yes' if kept else 'no'}")
    print(f"  load average {os.getloadavg()[0]:.2f} on {len(os.sched_getaffinity(0))} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second")
    parser.add_argument("--model", default="efficientnet-lite0")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        run(measure(given.rounds, given.rate, given.model, Path(folder)))


if __name__ == "__main__":
    main()
