"""A model of the zoo cut in two stages of equal time, streamed through two pinned workers or run bare."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
from interleave import Turn, cpu_seconds

from cutwater.cut.cut import Cut
from cutwater.cut.lattice import build_lattice, chain_cuts, find_cut
from cutwater.cut.split import extract, split
from cutwater.cut.stage import Stage
from cutwater.errors import CutwaterError
from cutwater.frameworks.base import Array
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.frameworks.open import open_graph
from cutwater.graph.graph import Graph
from cutwater.lab.activations import Activations
from cutwater.lab.timing import MeasureOptions
from cutwater.services.workers.local import LocalOptions, LocalPipeline
from cutwater.zoo.packages import default_cache
from cutwater.zoo.registry import MODELS, build

PINNED = ((0,), (1,))
"""The cores of the two stages."""
PEERS = Path(__file__).parent / "peers"
WARMUP, RUNS = 2, 9
"""Of each stage that is tried while the cut is looked for."""
DISTINCT = 8
"""Different requests, sent in turn."""
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Halves:
    """A model, the cut that balances it, and what it is fed."""

    graph: Graph
    model: Path
    cut: Cut
    stages: Sequence[Stage]
    requests: Sequence[Feeds]
    border: Feeds
    """What crosses the cut for the first request."""


def cut_in_halves(name: str, label: str | None = None) -> Halves:
    """The named model, cut where ``label`` says or where the slower of two stages, both measured, is fastest."""
    path = build(name, default_cache())
    graph = open_graph(path, MODELS[name].sizes)
    rng = np.random.default_rng(0)
    inputs = [graph.tensors[tensor] for tensor in graph.inputs]
    requests = [
        {tensor.name: rng.standard_normal(tensor.shape, dtype=np.float32) for tensor in inputs} for _ in range(DISTINCT)
    ]
    lattice = build_lattice(graph)
    chain = chain_cuts(lattice)
    cut = find_cut(lattice, label) if label else _balanced(graph, chain, requests[0])
    stages = split(graph, [chain[0], cut, chain[-1]])
    first = onnxruntime.InferenceSession(stages[0].onnx, providers=["CPUExecutionProvider"])
    border = dict(zip(cut.border, first.run(list(cut.border), requests[0]), strict=True))
    return Halves(graph, path, cut, stages, requests, border)


def _balanced(graph: Graph, chain: Sequence[Cut], feeds: Feeds) -> Cut:
    """Bisection along the chain: the first stage grows with the cut, the second shrinks; neighbours are tried too."""
    activations = Activations(graph, feeds, MeasureOptions())
    slower: dict[int, float] = {}

    def difference(index: int) -> float:
        first, second = (
            _busy_seconds(extract(graph, begin, end), activations.at(begin))
            for begin, end in ((chain[0], chain[index]), (chain[index], chain[-1]))
        )
        slower[index] = max(first, second)
        return first - second

    low, high = 0, len(chain) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if difference(middle) < 0:
            low = middle
        else:
            high = middle
    for index in range(max(1, low - 1), min(len(chain) - 1, high + 2)):
        if index not in slower:
            difference(index)
    return chain[min(slower, key=lambda index: slower[index])]


def _busy_seconds(stage: Stage, feeds: Feeds) -> float:
    """Processor time of one run, the median of several: unlike the clock's, it does not count what others took."""
    session = OnnxRuntime().load(stage.onnx)
    took = []
    for _ in range(WARMUP + RUNS):
        began = time.thread_time()
        session.run(feeds)
        took.append(time.thread_time() - began)
    session.close()
    return statistics.median(took[WARMUP:])


class Peer:
    """A process that computes for as many seconds as it is told to, and says how many answers that were."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def turn(self, seconds: float) -> Turn:
        """Let it compute."""
        assert self._process.stdin is not None and self._process.stdout is not None
        busy = cpu_seconds(self._process.pid)
        self._process.stdin.write(f"{seconds}\n".encode())
        count, took = (await self._process.stdout.readline()).split()
        return Turn(int(count) / float(took), (cpu_seconds(self._process.pid) - busy) / int(count))


@asynccontextmanager
async def peer(python: str, script: str, *arguments: object) -> AsyncIterator[Peer]:
    """Start peers/``script`` and end it again; raises RuntimeError if it does not get ready."""
    process = await asyncio.create_subprocess_exec(
        python,
        str(PEERS / script),
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        while (line := await process.stdout.readline()) != b"ready\n":
            if not line:
                raise RuntimeError(f"{script} ended before it was ready; see its message above")
        yield Peer(process)
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def bare(
    model: bytes | Path, feeds: Feeds, *, threads: int, spin: bool, cores: Sequence[int]
) -> AsyncIterator[Peer]:
    """A process that computes the model and does nothing else; see peers/bare.py."""
    with tempfile.TemporaryDirectory() as folder:
        file = model if isinstance(model, Path) else Path(folder, "model.onnx")
        if isinstance(model, bytes):
            file.write_bytes(model)
        save_feeds(Path(folder, "feeds.npz"), feeds)
        where = ",".join(map(str, cores))
        async with peer(sys.executable, "bare.py", file, f"{folder}/feeds.npz", threads, int(spin), where) as started:
            yield started


def save_feeds(path: Path, feeds: Feeds) -> None:
    """Write feeds where a peer reads them; their names are not always fit to be keywords."""
    np.savez(path, **{f"feed:{name}": value for name, value in feeds.items()})  # type: ignore[arg-type]


@asynccontextmanager
async def bare_stages(halves: Halves, *, spin: bool = False) -> AsyncIterator[list[Peer]]:
    """Both stages bare, one thread each, pinned like the workers of the pipeline."""
    async with AsyncExitStack() as stack:
        feeds = (halves.requests[0], halves.border)
        yield [
            await stack.enter_async_context(bare(stage.onnx, own, threads=1, spin=spin, cores=cores))
            for stage, own, cores in zip(halves.stages, feeds, PINNED, strict=True)
        ]


async def slower_stage(stages: Sequence[Peer], seconds: float) -> Turn:
    """The slower stage's rate while both compute, each for itself; the processor time is that of both."""
    turns = await asyncio.gather(*(stage.turn(seconds) for stage in stages))
    return Turn(min(turn.rate for turn in turns), sum(turn.cpu for turn in turns))


@asynccontextmanager
async def pipeline_of(halves: Halves, options: LocalOptions | None = None) -> AsyncIterator[LocalPipeline]:
    """Two workers, one thread each, pinned to a core each; the gateway runs where the system puts it."""
    async with LocalPipeline(halves.stages, options=options or LocalOptions(cpus=PINNED)) as pipeline:
        yield pipeline


async def stream(pipeline: LocalPipeline, requests: Sequence[Feeds], seconds: float, in_flight: int = 6) -> Turn:
    """A full pipeline: its first and last ``in_flight`` answers do not count. Raises what a request fails of."""
    processes = (os.getpid(), *(worker.pid for worker in pipeline.workers))
    busy, began = _cpu_seconds_of(processes), time.perf_counter()

    def endless() -> Iterator[Feeds]:
        for feeds in cycle(requests):
            if time.perf_counter() - began > seconds:
                return
            yield feeds

    moments: list[float] = []
    async for outcome in pipeline.stream(endless(), in_flight=in_flight):
        if isinstance(outcome, CutwaterError):
            raise outcome
        moments.append(time.perf_counter())
    full = moments[in_flight:-in_flight]
    rate = (len(full) - 1) / (full[-1] - full[0])
    return Turn(rate, (_cpu_seconds_of(processes) - busy) / len(moments))


def _cpu_seconds_of(pids: Iterable[int]) -> float:
    """Processor time of exactly these processes, in seconds: this one's other children are its peers."""
    return sum(times.user + times.system for times in (psutil.Process(pid).cpu_times() for pid in pids))
