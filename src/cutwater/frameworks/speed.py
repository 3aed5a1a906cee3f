"""How fast a machine is: one small network, the same everywhere, run on one thread; the index is runs per second / 100.

The network has what classifiers and detectors spend their time on: a strided convolution, residual 3x3 convolutions,
depthwise and pointwise ones, and a matrix product at the end. Its weights come from a seed.
"""

import time
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from cutwater.frameworks.base import EngineOptions, Session
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.zoo.builder import GraphBuilder
from cutwater.zoo.seeded import BRANCH_GAIN, Seeded

SIZE = 56
"""Height and width of the reference network's input."""
WIDTH = 64
"""Channels of its blocks."""
_SEED = 100
_ROUNDS = 15
_RUNS = 6
_WARMUP = 5


def reference_network() -> bytes:
    """The ONNX file of the reference network: float32 ``pictures`` [1, 3, 56, 56] -> ``scores`` [1, 100]."""
    graph, weights = GraphBuilder("reference"), Seeded(_SEED)
    x = graph.input("pictures", [1, 3, SIZE, SIZE])
    x = graph.op("Relu", graph.conv(x, *weights.conv(WIDTH, 3, 3), stride=2))
    for _ in range(2):
        branch = graph.op("Relu", graph.conv(x, *weights.conv(WIDTH, WIDTH, 3)))
        x = graph.op("Add", x, graph.conv(branch, *weights.conv(WIDTH, WIDTH, 3, BRANCH_GAIN)))
    for _ in range(2):
        branch = graph.op("Relu", graph.conv(x, *weights.conv(2 * WIDTH, WIDTH, 1)))
        branch = graph.op("Relu", graph.conv(branch, *weights.conv(2 * WIDTH, 1, 3), groups=2 * WIDTH))
        x = graph.op("Add", x, graph.conv(branch, *weights.conv(WIDTH, 2 * WIDTH, 1, BRANCH_GAIN)))
    flat = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    return bytes(graph.finish(scores=graph.classify(flat, *weights.linear(100, WIDTH))).SerializeToString())


def measure_speed() -> float:
    """The speed index of this machine, measured now in well under a second. Raises BadModel, StageFailed."""
    session = OnnxRuntime().load(reference_network(), EngineOptions(threads=1))
    try:
        rounds = _rounds(session)
    finally:
        session.close()
    return 1 / (100 * median(rounds))


def _rounds(session: Session) -> list[float]:
    """Seconds of processor time per run, of each round: what others take of the core is not the machine's slowness."""
    feeds = {"pictures": np.linspace(-1, 1, 3 * SIZE * SIZE, dtype=np.float32).reshape(1, 3, SIZE, SIZE)}
    for _ in range(_WARMUP):
        session.run(feeds)
    seconds: list[float] = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        for _ in range(_RUNS):
            session.run(feeds)
        seconds.append((time.thread_time() - began) / _RUNS)
    return seconds


def speed_index(machine: str, cache: Path) -> float:
    """The speed index, from ``cache`` where it was measured before.

    Args:
        machine: What the number holds for: whatever changes when it has to be measured again.
        cache: Folder; the numbers are kept in its ``speed.json``.
    """
    path = cache / "speed.json"
    known = _read(path)
    if machine not in known:
        known[machine] = measure_speed()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several nodes of one machine may start at once: none may find half a file.
        fresh = path.with_suffix(f".{time.monotonic_ns():x}")
        fresh.write_bytes(msgspec.json.encode(known))
        fresh.replace(path)
    return known[machine]


def _read(path: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {}  # nothing measured yet, or a file that is no good: measured again
