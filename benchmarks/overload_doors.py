"""Overload at the doors: what a gateway answers in time when far more comes than it can, by HTTP, gRPC and as pictures.

A deployed classifier in two stages on two nodes; the load is a process of its own and sends at random times (Poisson),
whatever became of the requests before. Its latencies count from when each request was due. The capacity is measured
first, at each door, with clients that wait; then one, two, five and ten times as much is sent, in turns, and each is
told that it has half a second. Of what was due in the counted part of a turn:

goodput    Answers within that, per second, over the best factor of the same round. Target: 0.90 at ten times.
refusals   How long they took, from when the request was sent. Target: 10 ms at the 99th percentile.
memory     The gateway's, at most, over what it was after the capacity had been measured.

Everything runs on the same cores, so what receiving and refusing requests takes is not there for the stages. The share
of the cores that the gateway took says how much that was.

    python benchmarks/overload_doors.py [--model resnet50] [--doors http grpc picture] [--rounds 5] [--seconds 5]
"""

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from cluster import Served, cluster
from interleave import conditions, cpu_seconds, ratio

from cutwater.client.transport import Prepared
from cutwater.drivers.loop import run
from cutwater.errors import CutwaterError
from cutwater.lab.load.log import Log
from cutwater.lab.load.payloads import PayloadOptions
from cutwater.lab.load.result import Result
from cutwater.lab.load.sender import Sender, SendOptions
from cutwater.lab.load.target import Endpoint, Target
from cutwater.lab.load.work import at_rate, drawn

FACTORS = (1, 2, 5, 10)
CLIENTS = 16
"""Who measure the capacity, each with one request at a time."""
FILLED = 1.0
"""Seconds until the line has filled; what was due before does not count."""
TIMEOUT = 0.5
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "coffee.jpg"


class Turn(NamedTuple):
    """What came of the requests of one turn."""

    goodput: float
    """Per second."""
    shares: dict[str, float]
    """Of the requests, by how they ended."""
    refusals: list[float]
    """How long each took, in seconds."""
    memory: int
    """Of the gateway, at most, in bytes."""
    cores: float
    """That the gateway took."""


class Door(NamedTuple):
    """Where a load goes, and what it carries."""

    model: str
    url: str
    inputs: dict[str, Path]

    async def capacity(self, seconds: float) -> float:
        """Answers per second to clients that wait."""
        async with Target(Endpoint(self.url)) as target:
            requests = await self.requests(target, 30.0)
            count, until = 0, time.monotonic() + seconds

            async def client(number: int) -> None:
                nonlocal count
                while time.monotonic() < until:
                    await requests[number % len(requests)]()
                    count += 1

            await asyncio.gather(*map(client, range(CLIENTS)))
            return count / seconds

    async def requests(self, target: Target, timeout: float) -> Sequence[Prepared]:  # noqa: ASYNC109
        """Encoded."""
        return (await target.prepared([self.model], PayloadOptions(self.inputs), timeout))[self.model]

    async def load(self, rate: float, seconds: float, seed: int) -> Log:
        """What comes of that many requests per second."""
        async with Target(Endpoint(self.url)) as target:
            log = Log(drawn(at_rate([self.model], rate, 1.0, seconds, seed)), slos={self.model: TIMEOUT})
            prepared = {self.model: await self.requests(target, TIMEOUT)}
            return await Sender(log, prepared, SendOptions(timeout=TIMEOUT + 30.0)).run()


def sent(pipe: Any, door: Door, rate: float, seconds: float, seed: int) -> None:
    """In a process of its own: send, and say how the requests of the counted part ended."""
    log = run(door.load(rate, seconds, seed))
    counted = [each for each in log if each.due >= FILLED]
    late = [each for each in counted if each.result is Result.ANSWERED and each.latency > TIMEOUT]
    shares = {result.value: sum(each.result is result for each in counted) / len(counted) for result in Result}
    shares["late"] = len(late) / len(counted)
    good = sum(each.result is Result.ANSWERED for each in counted) - len(late)
    refusals = [each.ended - each.sent for each in counted if each.result is Result.REFUSED]
    pipe.send((good / (seconds - FILLED), shares, refusals))
    pipe.close()


def turn(door: Door, gateway: psutil.Process, rate: float, seconds: float, seed: int) -> Turn:
    """One load, and what the gateway took meanwhile."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=sent, args=(sending, door, rate, seconds, seed))
    most, began, used = 0, time.monotonic(), cpu_seconds(gateway.pid)
    process.start()
    sending.close()
    while not receiving.poll(0.05):
        most = max(most, gateway.memory_info().rss)
    goodput, shares, refusals = receiving.recv()
    cores = (cpu_seconds(gateway.pid) - used) / (time.monotonic() - began)
    process.join()
    return Turn(goodput, shares, refusals, most, cores)


def show(name: str, capacity: float, before: int, turns: dict[int, list[Turn]]) -> None:
    """Ratios to the best of each round."""
    best = [max(each.goodput for each in round_) for round_ in zip(*turns.values(), strict=True)]
    print(f"\n{name}: {capacity:.1f} a second to {CLIENTS} clients that wait; the best factor reaches", end=" ")
    print(f"{statistics.median(best) / capacity:.3f} of that")
    for factor, found in turns.items():
        to_best = ratio([each.goodput for each in found], best)
        ends = {end: statistics.median(each.shares[end] for each in found) for end in found[0].shares}
        shares = ", ".join(f"{end} {share:.1%}" for end, share in ends.items() if share)
        refusals = [took for each in found for took in each.refusals]
        grown = (max(each.memory for each in found) - before) / 2**20
        cores = statistics.median(each.cores for each in found)
        print(f"  {factor:2} x: goodput {to_best} of the best; {shares}")
        print(f"        gateway {cores:.2f} cores, {grown:+.0f} MiB at most", end="")
        if refusals:
            p50, p99 = np.quantile(refusals, (0.5, 0.99))
            print(f"; refused after {p50 * 1e3:.1f} ms (p50), {p99 * 1e3:.1f} ms (p99)", end="")
        print(flush=True)


def measure(options: argparse.Namespace, processes: dict[str, Any]) -> None:
    """All doors, one after the other."""
    gateway = psutil.Process(processes["gateway"]["pid"])
    http, grpc = (processes["gateway"][door] for door in ("http", "grpc"))
    doors = {
        "http": Door(options.model, http, {}),
        "grpc": Door(options.model, f"grpc://{grpc}", {}),
        "picture": Door(options.model, http, {"": PICTURE}),
    }
    for name in options.doors:
        door = doors[name]
        capacity = run(door.capacity(options.seconds))
        before = gateway.memory_info().rss
        turns: dict[int, list[Turn]] = {factor: [] for factor in FACTORS}
        for number in range(options.rounds):
            for factor in FACTORS:
                turns[factor].append(turn(door, gateway, factor * capacity, options.seconds, number))
        show(name, capacity, before, turns)


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--doors", nargs="+", choices=("http", "grpc", "picture"), default=["http", "grpc", "picture"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help=f"of each turn; the first {FILLED:g} do not count")
    options = parser.parse_args()
    print(conditions(("uvicorn", "grpcio", "numpy", "onnxruntime", "uvloop")))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = stack.enter_context(cluster(folder, Served(options.model, options.model, 2), nodes=2))
        try:
            measure(options, processes)
        except CutwaterError as error:
            raise SystemExit(f"{error.kind}: {error}") from error
    print(f"load after {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
