"""Load generator: how punctual it is, and what a request costs it, at constant distances over HTTP and gRPC.

The server is Cutwater's own front on a backend that answers with what it was asked, in a process of its own; the
generator is held to one core, the server to another. CPU is that of the generator's process alone. A run is repeated;
told are the median over the runs and the worst one. On a machine that does other things meanwhile, lateness is that of
the operating system; ``--realtime`` takes it away.

    python benchmarks/load_generator.py [--rate 2000] [--seconds 10] [--runs 5] [--doors http grpc]
                                        [--realtime] [--json FILE]

Target: 2,000 requests/s from one core with a scheduling error (sent minus due) under 1 ms at p99.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from interleave import conditions

from cutwater.api.backend import Answered, Ask, ModelCard, Standing, Statistics
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.server import GrpcServer
from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.where import parse_where
from cutwater.drivers.loop import run
from cutwater.errors import CutwaterError, NotFound, Unsupported
from cutwater.graph.graph import Tensor
from cutwater.lab.load.conduct import LoadOptions, load_once
from cutwater.lab.load.figures import LoadReport, count_load
from cutwater.lab.load.target import Endpoint
from cutwater.lab.load.work import at_rate

MODEL = "echo"
ELEMENTS = 1024
WARMUP = 1.0


class Echo:
    """See `Backend`: answers with its input."""

    name = "gateway-1"
    ready = True

    def __init__(self) -> None:
        tensor = Tensor("x", "float32", (1, ELEMENTS), 4 * ELEMENTS, 0)
        self._card = ModelCard(name=MODEL, inputs=(tensor,), outputs=(tensor,), standing=Standing.READY)

    def models(self) -> Sequence[ModelCard]:
        """The one."""
        return [self._card]

    def model(self, name: str) -> ModelCard:
        """The one. Raises NotFound."""
        if name != MODEL:
            raise NotFound(f"there is only {MODEL!r}")
        return self._card

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        """Nobody is refused."""
        return None

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        """See `Backend.refused`."""

    async def infer(self, ask: Ask) -> Answered:
        """What was asked."""
        return Answered("1-1", ask.feeds, (), False)

    async def load(self, name: str, options: Mapping[str, Any]) -> None:
        """Raises Unsupported."""
        raise Unsupported("it is there")

    async def unload(self, name: str) -> None:
        """Raises Unsupported."""
        raise Unsupported("it stays")

    def statistics(self, name: str) -> Statistics:
        """None are kept."""
        return Statistics()


async def serve(door: str) -> None:
    """Until standard input ends."""
    where = parse_where("where", "127.0.0.1:0")
    server: HttpServer | GrpcServer
    if door == "http":
        server = HttpServer(make_app(Echo(), HttpOptions()), where, HttpOptions())
    else:
        server = GrpcServer(Echo(), where, GrpcOptions())
    address = (await server.start()).rpartition("/")[2]
    print(f"{door}://{address}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0.0)


@contextmanager
def serving(door: str, core: int | None) -> Iterator[str]:
    """A server in a process of its own; its address."""
    command = [sys.executable, __file__, "--serve", door]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


def once(url: str, rate: float, seconds: float) -> tuple[LoadReport, float]:
    """What was reported, and processor seconds per request."""
    work = at_rate([MODEL], rate, 0.0, seconds + WARMUP, 0)
    began = time.process_time()
    log = run(load_once(work, LoadOptions(endpoint=Endpoint(url))))
    return count_load(log, WARMUP), (time.process_time() - began) / len(log)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--doors", nargs="+", default=["http", "grpc"], choices=["http", "grpc"])
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--realtime", action="store_true", help="let nobody else have the generator's core (needs root)"
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        run(serve(asked.serve))
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    if asked.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
    found: dict[str, Any] = {"conditions": conditions(["uvloop", "grpcio", "numpy"])}
    print(found["conditions"])
    print(f"{asked.rate:g} requests/s for {asked.seconds:g} s, {asked.runs} runs, {4 * ELEMENTS} bytes each way")
    print(
        f"{'door':6}{'late p50':>12}{'late p99':>12}{'worst p99':>12}{'latest':>12}{'CPU/request':>14}{'answered':>12}"
    )
    for door in asked.doors:
        with serving(door, cores[1] if len(cores) > 1 else None) as url:
            runs = [once(url, asked.rate, asked.seconds) for _ in range(asked.runs)]
        late = [report.punctuality for report, _ in runs]
        p50, p99 = (statistics.median(getattr(each, name) for each in late) for name in ("p50", "p99"))
        worst, latest = max(each.p99 for each in late), max(each.worst for each in late)
        cpu = statistics.median(each for _, each in runs)
        answered = float(np.mean([report.together.answered / report.together.submitted for report, _ in runs]))
        found[door] = {
            "p50": p50, "p99": p99, "worst_p99": worst, "latest": latest, "cpu": cpu, "answered": answered,
            "p99s": [each.p99 for each in late],
        }  # fmt: skip
        times = "".join(f"{1e6 * each:>9.0f} us" for each in (p50, p99, worst, latest))
        print(f"{door:6}{times}{1e6 * cpu:>11.0f} us{answered:>12.2%}")
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
