"""What a hop between two workers of this machine costs: how long a frame is on its way, and the CPU of both ends.

Three stages that compute next to nothing are run as real workers at a small and at a large size, one request at a time
and in the computing thread, as longer stages are. What their processes spend per request, beyond computing, is the cost
of receiving a frame and sending one; a straight line through the two sizes gives the cost per frame and per byte.
"""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
import psutil
from onnx import TensorProto, helper

from cutwater.cut.lattice import build_lattice
from cutwater.cut.split import split
from cutwater.cut.stage import Stage
from cutwater.drivers.loop import run
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.profile.profile import FrameCost, LocalHop
from cutwater.services.local import LocalOptions, LocalPipeline
from cutwater.services.outcome import Outcome

SIZES = (4 * 1024, 1024 * 1024)
"""Bytes of the two frames."""
REQUESTS = (400, 150)
"""How many of each, one at a time."""


@dataclass(frozen=True)
class HopCosts:
    """What `measure_hops` found."""

    send: FrameCost
    receive: FrameCost
    local: LocalHop


def measure_hops() -> HopCosts:
    """Measure hops between workers of this machine. Raises CutwaterError when workers cannot be started."""
    small, large = (run(_pass_through(size, n)) for size, n in zip(SIZES, REQUESTS, strict=True))
    span = SIZES[1] - SIZES[0]
    per_byte = max(large[0] - small[0], 0.0) / span
    slope = max(large[1] - small[1], 1e-12) / span
    # A worker in the middle receives one frame and sends one; nothing tells the two apart, so each counts half.
    end = FrameCost(fixed=max(small[0] - per_byte * SIZES[0], 0.0) / 2, per_byte=per_byte / 2)
    return HopCosts(send=end, receive=end, local=LocalHop(max(small[1] - slope * SIZES[0], 0.0), 1 / slope))


async def _pass_through(nbytes: int, requests: int) -> tuple[float, float]:
    """Seconds of CPU per request and worker beyond computing, and seconds a frame is on its way."""
    feeds = {"x": np.zeros((1, nbytes // 4), np.float32)}
    async with LocalPipeline(_stages(nbytes // 4), options=LocalOptions(handoff=0.0)) as pipeline:
        processes = [psutil.Process(worker.pid) for worker in pipeline.workers]
        before = sum(_cpu(process) for process in processes)
        outcomes = [outcome async for outcome in pipeline.stream([feeds] * requests, in_flight=1)]
        spent = sum(_cpu(process) for process in processes) - before
    trails = [outcome.trail for outcome in outcomes if isinstance(outcome, Outcome)]
    computing = sum(mark.cpu for trail in trails for mark in trail)
    on_the_way = [after.received - before.sent for trail in trails for before, after in pairwise(trail)]
    return max(spent - computing, 0.0) / (requests * len(processes)), max(median(on_the_way), 0.0)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _stages(count: int) -> list[Stage]:
    """Three stages of one cheap op each over float32 [1, count]."""
    shape = [1, count]
    names = ("x", "a", "b", "y")
    graph = helper.make_graph(
        [helper.make_node("Neg", [names[k]], [names[k + 1]], name=f"neg_{k}") for k in range(3)],
        "pass-through",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    lattice = build_lattice(build_graph(model_from_bytes(data, "pass-through")), collapse=False)
    return split(lattice.graph, lattice.cuts)
