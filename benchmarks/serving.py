"""Serving: what the same request costs through each door of a gateway, and in mosec and Ray Serve.

The model is y = x + x over 4 KB or 784 KB of float32. Here it is a deployed ONNX model of one stage in a worker of its
own, asked over a native link, over HTTP with binary tensors and over gRPC with raw contents. The peers add in numpy, in
one worker behind their own HTTP server, and are sent and send back nothing but the bytes; they neither name, check nor
admit anything. Everybody's clients are in this process and keep connections open. Candidates take turns in every round;
CPU is that of all processes of a server, without its clients.

    python benchmarks/serving.py [--peers-python FILE] [--rounds 5] [--seconds 2] [--json FILE]

Two tables a size: 8 requests under way (rate, CPU per request, its ratios), and one (how long it takes, and how much
longer than over the native link). Targets: CPU of HTTP and gRPC at 4 KB at most 1.5 times that of mosec, half of Ray's.
"""

import argparse
import asyncio
import ctypes
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import onnx
from cluster import Served, cluster
from interleave import Candidate, Rounds, Turn, conditions, cpu_seconds, interleave
from onnx import TensorProto, helper

from cutwater.api.grpc import inference_pb2
from cutwater.drivers.loop import run
from cutwater.services.gateway.client import NativeClient

SIZES = {"4 KB": 1024, "784 KB": 784 * 256}
"""Float32 elements."""
AT_ONCE = 8
BEGIN = 60.0
"""Seconds a peer may take until it serves."""
PR_SET_CHILD_SUBREAPER = 36
GRPC_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

Ask = Callable[[], Awaitable[Any]]


# Servers


def save_model(folder: Path, name: str, elements: int) -> Path:
    """y = x + x."""
    values = [helper.make_tensor_value_info(each, TensorProto.FLOAT, [1, elements]) for each in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], name, values[:1], values[1:])
    file = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def models(folder: Path) -> list[Served]:
    """One for each size, as files."""
    names = {f"twice-{elements}": elements for elements in SIZES.values()}
    return [Served(str(save_model(folder, name, elements)), name) for name, elements in names.items()]


@contextmanager
def peer(*command: str, port: int) -> Iterator[int]:
    """A server in a process of its own, once it answers; its process id."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            began = time.perf_counter()
            while not _answers(port):
                if process.poll() is not None or time.perf_counter() - began > BEGIN:
                    raise SystemExit(f"{' '.join(command)} does not serve; its exit code is {process.returncode}")
                time.sleep(0.1)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(("127.0.0.1", port)):
            return False
        body = np.zeros(1, np.float32).tobytes()
        probe.sendall(b"POST /inference HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n" + body)
        try:
            return probe.recv(100).startswith(b"HTTP/1.1 200")
        except TimeoutError:
            return False


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Clients


class Posting:
    """The same request again and again, over connections that stay open."""

    def __init__(self, port: int, path: str, body: bytes, expected: int, **headers: str) -> None:
        """``expected``: bytes that the answer ends with."""
        told = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body)), **headers}
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self._port = port
        self._request = f"{head}\r\n".encode() + body
        self._expected = expected
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self) -> None:
        """Once."""
        if not self._free:
            self._free.append(await asyncio.open_connection("127.0.0.1", self._port, limit=2**22))
        reader, writer = self._free.pop()
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        assert head.startswith(b"http/1.1 200") and length >= self._expected, head
        await reader.readexactly(length)
        self._free.append((reader, writer))


@asynccontextmanager
async def doors(processes: Mapping[str, Any], elements: int) -> AsyncIterator[dict[str, Ask]]:
    """What asks the gateway, by door."""
    model = f"twice-{elements}"
    x = np.ones((1, elements), np.float32)
    gateway = processes["gateway"]
    tensor = {"name": "x", "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
    head = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    length = {"Inference-Header-Content-Length": str(len(head))}
    port = int(gateway["http"].rpartition(":")[2])
    posting = Posting(port, f"/v2/models/{model}/infer", head + x.tobytes(), x.nbytes, **length)
    request = inference_pb2.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    message = request.SerializeToString()
    async with (
        NativeClient(gateway["socket"], model) as native,
        grpc.aio.insecure_channel(gateway["grpc"], options=GRPC_OPTIONS) as channel,
    ):
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        yield {"native": lambda: native.infer({"x": x}), "HTTP": posting.ask, "gRPC": lambda: call(message)}


def candidate(ask: Ask, pids: tuple[int, ...], at_once: int, seconds: float) -> Candidate:
    """Keep so many requests under way for a while."""

    async def turn() -> Turn:
        count, began, used = 0, time.perf_counter(), cpu_seconds(*pids)

        async def client() -> None:
            nonlocal count
            while time.perf_counter() - began < seconds:
                await ask()
                count += 1

        await asyncio.gather(*(client() for _ in range(at_once)))
        return Turn(count / (time.perf_counter() - began), (cpu_seconds(*pids) - used) / count)

    return turn


# Report


def tell(size: str, busy: Rounds, alone: Rounds) -> dict[str, Any]:
    """Print the figures of one size, and return them."""
    found: dict[str, Any] = {}
    print(f"\n{size}, {AT_ONCE} under way", flush=True)
    for name, turns in busy.turns.items():
        rate, cpu = statistics.median(turn.rate for turn in turns), statistics.median(turn.cpu for turn in turns)
        ratios = {other: str(busy.cpu_ratio(name, other)) for other in ("mosec", "Ray Serve") if other in busy.turns}
        found[name] = {"rate": rate, "cpu": cpu, "cpu over": ratios}
        over = "".join(f"; {ratio} of {other}'s" for other, ratio in ratios.items() if other != name)
        print(f"  {name:10} {rate:7.0f}/s  {cpu * 1e3:7.3f} ms CPU{over}")
    print(f"  {busy}\n{size}, one under way")
    for name, turns in alone.turns.items():
        latency = statistics.median(1 / turn.rate for turn in turns)
        native = alone.turns["native"]
        added = statistics.median(1 / turn.rate - 1 / base.rate for turn, base in zip(turns, native, strict=True))
        found[name] |= {"latency": latency, "added": added}
        print(f"  {name:10} {latency * 1e3:7.3f} ms, {added * 1e3:+.3f} ms over native")
    print(f"  {alone}")
    return found


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All sizes, all candidates."""
    found: dict[str, Any] = {}
    here = Path(__file__).parent / "peers"
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(cluster(folder, *models(folder)))
        own = (processes["gateway"]["pid"], processes["node-1"]["pid"])
        peers: dict[str, tuple[int, int]] = {}
        if options.peers_python:
            for name, words in (("mosec", ("--address", "127.0.0.1", "--port")), ("Ray Serve", ())):
                port, script = free_port(), here / f"{name.split()[0].lower()}_twice.py"
                pid = stack.enter_context(peer(options.peers_python, str(script), *words, str(port), port=port))
                peers[name] = pid, port
        for size, elements in SIZES.items():
            x = np.ones(elements, np.float32).tobytes()
            async with doors(processes, elements) as asks:
                who = {name: (ask, own) for name, ask in asks.items()}
                for name, (pid, port) in peers.items():
                    who[name] = Posting(port, "/inference", x, len(x)).ask, (pid,)
                rounds = []
                for at_once in (AT_ONCE, 1):
                    candidates = {
                        name: candidate(ask, pids, at_once, options.seconds) for name, (ask, pids) in who.items()
                    }
                    for warm in candidates.values():
                        await warm()
                    rounds.append(await interleave(candidates, options.rounds))
                found[size] = tell(size, *rounds)
    return found


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="an interpreter that has mosec and ray[serve]; without it, no peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--json", type=Path, help="where to store the figures")
    options = parser.parse_args()
    # Processes that the cluster leaves to themselves stay ours, so that they do not count as others.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    told = conditions(("uvicorn", "grpcio", "numpy", "onnxruntime", "uvloop"))
    print(told)
    with tempfile.TemporaryDirectory() as folder:
        found = run(measure(options, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps({"conditions": told, "figures": found}, indent=2))


if __name__ == "__main__":
    main()
