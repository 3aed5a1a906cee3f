"""What a hop between two workers of this machine costs: how long a frame is on its way, and the CPU of both ends.

Three stages that compute next to nothing are run as real workers at a small and at a large size, one request at a time
and in the computing thread, as longer stages are; a straight line through the two sizes gives costs per frame and byte.

A request goes through them as six frames: there by three hops, and back by the same three.

    gateway ==> stage 1 ==> stage 2 ==> stage 3
            <==         <==         <==

The first two stages are an end of four of them each, the last one of two: what the workers spend beyond computing, all
together, is the cost of ten ends. The gateway has the other two, and theirs cost more: it packs requests and unpacks
answers. From the end of computing to the start of the next a request waits for two ends and for the way between them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec
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
from cutwater.services.speed import conditions
from cutwater.services.workers.local import LocalOptions, LocalPipeline
from cutwater.services.workers.outcome import Outcome
from cutwater.zoo.packages import write_atomically

SIZES = (4 * 1024, 1024 * 1024)
"""Bytes of the two frames."""
REQUESTS = (400, 150)
"""How many of each, one at a time."""
STAGES = 3
WORKERS_ENDS = 4 * STAGES - 2
"""Ends of frames at the workers, per request."""
GATEWAYS_ENDS = 2
FASTEST = 1e-11
"""Seconds per byte; where the way between two ends takes less, it is too short to be told from nothing."""


class HopCosts(msgspec.Struct, frozen=True):
    """What `measure_hops` found."""

    send: FrameCost
    receive: FrameCost
    entrance: FrameCost
    local: LocalHop


@dataclass(frozen=True)
class Passage:
    """What requests of one size cost on their way through, in seconds per request."""

    nbytes: int
    workers: float
    """CPU of all workers beyond computing."""
    gateway: float
    """CPU of the process that asks."""
    between: float
    """Median from the end of computing in one stage to its start in the next."""


def measure_hops() -> HopCosts:
    """Measure hops between workers of this machine. Raises CutwaterError when workers cannot be started."""
    small, large = (run(_pass_through(size, n)) for size, n in zip(SIZES, REQUESTS, strict=True))
    return hop_costs(small, large)


def known_hops(folder: Path) -> HopCosts:
    """The same from ``folder``'s ``hops.json``; measured where it is not known: it is the machine's, not a model's."""
    path, machine = folder / "hops.json", conditions()
    known = _read(path)
    if machine not in known:
        known = {**_read(path), machine: measure_hops()}
        write_atomically(path, msgspec.json.encode(known))
    return known[machine]


def _read(path: Path) -> dict[str, HopCosts]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, HopCosts])
    except (FileNotFoundError, msgspec.MsgspecError):  # what another version wrote is measured again
        return {}


def hop_costs(small: Passage, large: Passage) -> HopCosts:
    """The costs of one end and of one way, from those of whole requests of two sizes."""
    sizes = (small.nbytes, large.nbytes)
    # Nothing tells receiving from sending, so both count the same.
    fixed, per_byte = _line(sizes, (small.workers / WORKERS_ENDS, large.workers / WORKERS_ENDS))
    end = FrameCost(fixed=fixed, per_byte=per_byte)
    fixed, per_byte = _line(sizes, (small.gateway / GATEWAYS_ENDS, large.gateway / GATEWAYS_ENDS))
    ways = [each.between - 2 * (end.fixed + end.per_byte * each.nbytes) for each in (small, large)]
    latency, slope = _line(sizes, ways)
    return HopCosts(
        send=end,
        receive=end,
        entrance=FrameCost(fixed=fixed, per_byte=per_byte),
        local=LocalHop(latency, 1 / max(slope, FASTEST)),
    )


def _line(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Seconds at no bytes, and per byte; neither is negative."""
    slope = max(seconds[1] - seconds[0], 0.0) / (sizes[1] - sizes[0])
    return max(seconds[0] - slope * sizes[0], 0.0), slope


async def _pass_through(nbytes: int, requests: int) -> Passage:
    feeds = {"x": np.zeros((1, nbytes // 4), np.float32)}
    async with LocalPipeline(_stages(nbytes // 4), options=LocalOptions(handoff=0.0)) as pipeline:
        processes = [psutil.Process(worker.pid) for worker in pipeline.workers]
        before, gateway = sum(_cpu(process) for process in processes), time.process_time()
        outcomes = [outcome async for outcome in pipeline.stream([feeds] * requests, in_flight=1)]
        spent, gateway = sum(_cpu(process) for process in processes) - before, time.process_time() - gateway
    trails = [outcome.trail for outcome in outcomes if isinstance(outcome, Outcome)]
    computing = sum(mark.cpu + mark.decode + mark.encode for trail in trails for mark in trail)
    between = [
        after.started - after.decode - before.encode - before.finished
        for trail in trails
        for before, after in pairwise(trail)
    ]
    return Passage(nbytes, max(spent - computing, 0.0) / requests, gateway / requests, median(between))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _stages(count: int) -> list[Stage]:
    """Stages of one cheap op each over float32 [1, count]."""
    shape = [1, count]
    names = ("x", *(f"between_{k}" for k in range(1, STAGES)), "y")
    graph = helper.make_graph(
        [helper.make_node("Neg", [names[k]], [names[k + 1]], name=f"neg_{k}") for k in range(STAGES)],
        "pass-through",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    lattice = build_lattice(build_graph(model_from_bytes(data, "pass-through")), collapse=False)
    return split(lattice.graph, lattice.cuts)
