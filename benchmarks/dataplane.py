"""Data plane: what a chain of three pass-through stages costs per request, here and in grpc.aio with raw bytes.

Both chains run on this machine as three processes behind Unix sockets (or loopback TCP), with the client in this
process. Cutwater's stages run an ONNX Identity in ONNX Runtime; gRPC's hand the bytes on and compute nothing. Everyone
runs on uvloop. Cutwater is also measured without shared memory, as it is between machines. The chains take turns in
every round. CPU is that of all four processes, from /proc.

    python benchmarks/dataplane.py [--rounds 5] [--seconds 2] [--tcp] [--json FILE]
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from onnx import TensorProto, helper

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.stage import Stage
from cutwater.drivers.loop import run
from cutwater.drivers.shared import MEMORY
from cutwater.graph.graph import Tensor
from cutwater.services.workers.local import LocalOptions, LocalPipeline

SIZES = {"4 KB": 4096, "784 KB": 784 * 1024}
STAGES = 3
AT_ONCE = 8
"""Requests under way in the throughput part of a round."""
GRPC_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
METHOD = "/bench.Stage/"

Ask = Callable[[], Awaitable[Any]]


def pass_through(k: int, nbytes: int) -> Stage:
    """The ``k``-th stage of a chain that hands ``nbytes`` of float32 on."""
    shape = (1, nbytes // 4)
    names = (f"t{k}", f"t{k + 1}")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", shape[1]]) for name in names]
    graph = helper.make_graph([helper.make_node("Identity", names[:1], names[1:])], "pass", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    tensors = [Tensor(name, "float32", shape, nbytes, 0) for name in names]
    cuts = [Cut(k + i, (name,), nbytes, 0, 0, name) for i, name in enumerate(names)]
    data = model.SerializeToString()
    return Stage(*cuts, Form.RAW, Form.RAW, (tensors[0],), (tensors[1],), data, 0, 0, batchable=True, hash=str(k))


@asynccontextmanager
async def cutwater_chain(nbytes: int, *, tcp: bool, memory: int = MEMORY) -> AsyncIterator[tuple[Ask, list[int]]]:
    """What asks the chain once, and the process ids of its stages."""
    stages = [pass_through(k, nbytes) for k in range(STAGES)]
    feeds = {"t0": np.ones((1, nbytes // 4), np.float32)}
    options = LocalOptions(tcp=tcp, shared_memory=memory, trace_limit=1000)
    async with LocalPipeline(stages, options=options) as pipeline:

        async def ask() -> None:
            outcome = await pipeline.infer(feeds)
            assert outcome.outputs[f"t{STAGES}"].nbytes == nbytes

        yield ask, [worker.pid for worker in pipeline.workers]


# gRPC


async def grpc_stage(address: str, following: str) -> None:
    """Serve one stage of the gRPC chain until stdin closes; ``following`` is empty for the last one."""
    channel = grpc.aio.insecure_channel(following, options=GRPC_OPTIONS) if following else None
    unary_next = channel.unary_unary(METHOD + "Unary") if channel else None
    stream_next = channel.stream_stream(METHOD + "Stream") if channel else None

    async def unary(request: bytes, context: Any) -> bytes:
        return await unary_next(request) if unary_next else request

    async def stream_last(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def stream_on(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        call = stream_next()

        async def forward() -> None:
            async for request in requests:
                await call.write(request)
            await call.done_writing()

        task = asyncio.create_task(forward())
        async for answer in call:
            yield answer
        await task

    server = grpc.aio.server(options=GRPC_OPTIONS)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream_on if following else stream_last),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Stage", handlers),))
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)
    if channel:
        await channel.close()


@asynccontextmanager
async def grpc_chain(nbytes: int, *, tcp: bool, stream: bool) -> AsyncIterator[tuple[Ask, list[int]]]:
    """What asks the chain once, and the process ids of its stages."""
    with tempfile.TemporaryDirectory() as folder:
        addresses = [f"127.0.0.1:{free_port()}" if tcp else f"unix:{folder}/{k}.sock" for k in range(STAGES)]
        workers = []
        for address, following in zip(addresses, [*addresses[1:], ""], strict=True):
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                __file__,
                "--grpc-stage",
                address,
                following,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            workers.append(worker)
            await worker.stdout.readline()
        channel = grpc.aio.insecure_channel(addresses[0], options=GRPC_OPTIONS)
        payload = bytes(nbytes)
        try:
            if stream:
                async with streaming(channel, payload) as ask:
                    yield ask, [worker.pid for worker in workers]
            else:
                call = channel.unary_unary(METHOD + "Unary")

                async def ask_once() -> None:
                    assert len(await call(payload)) == nbytes

                yield ask_once, [worker.pid for worker in workers]
        finally:
            await channel.close()
            for worker in workers:
                worker.stdin.close()
                await worker.wait()


@asynccontextmanager
async def streaming(channel: Any, payload: bytes) -> AsyncIterator[Ask]:
    """Asking over one stream, whose answers come in the order of the requests."""
    call = channel.stream_stream(METHOD + "Stream")()
    waiting: deque[asyncio.Future[None]] = deque()
    lock = asyncio.Lock()

    async def read() -> None:
        async for answer in call:
            assert len(answer) == len(payload)
            waiting.popleft().set_result(None)

    async def ask() -> None:
        answered = asyncio.get_running_loop().create_future()
        async with lock:
            waiting.append(answered)
            await call.write(payload)
        await answered

    reader = asyncio.create_task(read())
    yield ask
    await call.done_writing()
    await reader


def free_port() -> int:
    """A port nobody listens at right now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# Measuring


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of every thread of these processes, in seconds (nanosecond resolution)."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total * 1e-9


async def measure(ask: Ask, pids: list[int], seconds: float, at_once: int) -> dict[str, float]:
    """CPU-milliseconds per request, latency quantiles in milliseconds and requests per second."""
    for _ in range(20):
        await ask()
    latencies: list[float] = []
    everyone = [os.getpid(), *pids]
    began, busy = time.perf_counter(), cpu_seconds(everyone)

    async def client() -> None:
        while (asked := time.perf_counter()) - began < seconds:
            await ask()
            latencies.append(time.perf_counter() - asked)

    await asyncio.gather(*(client() for _ in range(at_once)))
    elapsed, busy = time.perf_counter() - began, cpu_seconds(everyone) - busy
    latencies.sort()
    count = len(latencies)
    return {
        "cpu_ms": busy / count * 1e3,
        "p50_ms": latencies[count // 2] * 1e3,
        "p99_ms": latencies[count * 99 // 100] * 1e3,
        "per_second": count / elapsed,
    }


CHAINS: dict[str, Callable[..., Any]] = {
    "cutwater": cutwater_chain,
    "not shared": lambda nbytes, tcp: cutwater_chain(nbytes, tcp=tcp, memory=0),
    "grpc unary": lambda nbytes, tcp: grpc_chain(nbytes, tcp=tcp, stream=False),
    "grpc stream": lambda nbytes, tcp: grpc_chain(nbytes, tcp=tcp, stream=True),
}


async def compare(rounds: int, seconds: float, tcp: bool, sizes: dict[str, int]) -> list[dict[str, Any]]:
    """Every chain at every size, one after the other in each round; one row per size, chain and concurrency."""
    rows: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    for name, nbytes in sizes.items():
        for _ in range(rounds):
            for chain, start in CHAINS.items():
                async with start(nbytes, tcp=tcp) as (ask, pids):
                    for at_once in (1, AT_ONCE):
                        rows.setdefault((name, at_once, chain), []).append(await measure(ask, pids, seconds, at_once))
    return [
        {
            "size": name,
            "at_once": at_once,
            "chain": chain,
            **{key: statistics.median(row[key] for row in found) for key in found[0]},
            "cpu_spread": spread([row["cpu_ms"] for row in found]),
        }
        for (name, at_once, chain), found in rows.items()
    ]


def spread(values: list[float]) -> float:
    """Distance between the quartiles over the median."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)


def show(rows: list[dict[str, Any]]) -> None:
    """A table, and for each size and concurrency how many times gRPC's better chain costs."""
    print(
        f"{'size':8} {'at once':>7}  {'chain':12} {'CPU ms':>8} {'spread':>7} {'p50 ms':>8} {'p99 ms':>8} {'per s':>8}"
    )
    for row in rows:
        print(
            f"{row['size']:8} {row['at_once']:7}  {row['chain']:12} {row['cpu_ms']:8.3f} {row['cpu_spread']:7.1%} "
            f"{row['p50_ms']:8.3f} {row['p99_ms']:8.3f} {row['per_second']:8.0f}"
        )
    for row in rows:
        if row["chain"] == "cutwater":
            same = [r for r in rows if r["size"] == row["size"] and r["at_once"] == row["at_once"]]
            share = row["cpu_ms"] / min(other["cpu_ms"] for other in same if other["chain"].startswith("grpc"))
            print(f"{row['size']}, {row['at_once']} at once: {share:.2f} of the CPU of grpc.aio's better chain")


def conditions(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the numbers hold for."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("grpcio", "uvloop", "onnxruntime", "numpy")},
        "transport": "loopback TCP" if arguments.tcp else "Unix sockets",
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load before": os.getloadavg()[0],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--tcp", action="store_true", help="loopback TCP instead of Unix sockets")
    parser.add_argument("--size", choices=SIZES, help="only this size")
    parser.add_argument("--json", type=Path, help="write conditions and rows here")
    parser.add_argument("--grpc-stage", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grpc_stage:
        run(grpc_stage(*arguments.grpc_stage))
        return
    where = conditions(arguments)
    print(", ".join(f"{key}: {value}" for key, value in where.items()))
    sizes = {arguments.size: SIZES[arguments.size]} if arguments.size else SIZES
    rows = run(compare(arguments.rounds, arguments.seconds, arguments.tcp, sizes))
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"conditions": where, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
