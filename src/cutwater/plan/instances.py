"""Seeded planning problems, small and large, to test and time planners with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cutwater.plan.plan import CutRef
from cutwater.plan.problem import Floats, Ints, Limits, Problem, pack_masks
from cutwater.units import NodeId


def chain_masks(ops: int) -> list[int]:
    """The cuts of a chain of ``ops`` ops."""
    return [(1 << k) - 1 for k in range(ops + 1)]


def branch_masks(lengths: Sequence[int]) -> list[int]:
    """The cuts of parallel chains between one op at the start and one at the end: ``prod(length + 1) + 2`` of them."""
    count = sum(lengths) + 2
    parts = [0]
    first = 1
    for length in lengths:
        parts = [part | (((1 << k) - 1) << first) for part in parts for k in range(length + 1)]
        first += length
    return sorted([0, *(part | 1 for part in parts), (1 << count) - 1], key=lambda mask: (mask.bit_count(), mask))


def covers_of(masks: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Direct predecessors of each of all down-sets: those that lack one op."""
    at = {mask: k for k, mask in enumerate(masks)}
    covers = []
    for mask in masks:
        bits = [1 << b for b in range(mask.bit_length()) if mask >> b & 1]
        covers.append(tuple(sorted(at[mask ^ bit] for bit in bits if mask ^ bit in at)))
    return tuple(covers)


def random_problem(
    rng: np.random.Generator,
    *,
    nodes: int,
    masks: Sequence[int],
    codecs: int = 2,
    alike: float = 0.3,
    memory: bool = False,
    shared: bool = False,
    sink: bool = False,
    limits: Limits | None = None,
) -> Problem:
    """A problem with different nodes and links.

    Args:
        rng: Where the numbers come from.
        nodes: How many nodes.
        masks: The cuts, as bit masks of ops in topological order.
        codecs: How many codecs, "raw" included.
        alike: Chance of a node to be a copy of the one before it.
        memory: Whether some nodes have too little memory for the whole model.
        shared: Whether links share media and nodes share hosts.
        sink: Whether the output is wanted at another node than the source.
        limits: Of the plan's form.
    """
    count = len(masks)
    ops = masks[-1].bit_length()
    kind: Ints = np.cumsum(rng.random(nodes) >= alike).astype(np.int64)
    work = rng.uniform(0.2, 2.0, ops) * 1e-2
    speeds = np.exp(rng.normal(0, 0.7, nodes + 1))[kind]
    taste = np.exp(rng.normal(0, 0.2, (nodes + 1, ops)))[kind]
    member = np.array([[mask >> b & 1 for b in range(ops)] for mask in masks], float)
    border = member @ rng.uniform(-1, 1, ops) * 2e5
    border = np.abs(border) + rng.uniform(1e4, 3e5, count)
    border[-1] = 4e3
    ratio = np.concatenate([[1.0], rng.uniform(0.1, 0.8, codecs - 1)])[:, None]
    ways = _ways(rng, kind, shared)
    hosts = shared and nodes > 2
    source = int(rng.integers(nodes))
    weights = member @ rng.uniform(0, 1, ops) * 1e7
    limit = np.where(rng.random(nodes + 1) < 0.6, rng.uniform(0.3, 1.0, nodes + 1) * weights[-1] + 6e6, np.inf)[kind]
    return Problem(
        model="random",
        model_hash="0" * 64,
        nodes=tuple(NodeId(f"n{k}") for k in range(nodes)),
        cuts=tuple(CutRef(before=f"{mask:x}", label=f"cut {k}") for k, mask in enumerate(masks)),
        covers=covers_of(masks),
        masks=pack_masks(masks),
        prefix=(member @ (work * taste / speeds[:, None]).T).T,
        flops=member @ work * 1e11,
        weight=weights,
        border=border,
        memory=limit if memory else np.full(nodes, np.inf),
        source=source,
        sink=(source + 1) % nodes if sink else source,
        limits=limits or Limits(max_replicas=None),
        **ways,
        **_codecs(rng, border, ratio, speeds),
        **_workers(speeds, shared=hosts),
        **_hosts(kind, shared=hosts),
    )


def _codecs(rng: np.random.Generator, border: Floats, ratio: Floats, speeds: Floats) -> dict[str, Any]:
    """Codecs that shrink borders by about ``ratio`` [K, 1]; the first is raw, and any but that may be forbidden."""
    shape = len(ratio), len(border)
    return {
        "codecs": ("raw", *(f"codec-{k}" for k in range(1, len(ratio)))),
        "size": border * ratio * rng.uniform(0.9, 1.0, shape),
        "encode": border * (ratio < 1) * 2e-9 / speeds[:, None, None],
        "decode": border * (ratio < 1) * 1e-9 / speeds[:, None, None],
        "allowed": (rng.random(shape) < 0.8) | (np.arange(len(ratio)) == 0)[:, None],
    }


def _workers(speeds: Floats, *, shared: bool) -> dict[str, Any]:
    nodes = len(speeds)
    return {
        "overhead": 2e-4 / speeds,
        "contention": np.full(nodes, 1.2) if shared else np.ones(nodes),
        "threads": np.ones(nodes, np.int64),
        "runs": np.ones(nodes, bool),
        "base_memory": np.full(nodes, 1e6),
    }


def _hosts(kind: Ints, *, shared: bool) -> dict[str, Any]:
    """One machine with two cores under the first half of the nodes, where hosts are ``shared``; else none."""
    return {
        "hosts": ("box",) if shared else (),
        "host": np.where(kind <= kind[len(kind) // 2], 0, -1) if shared else np.full(len(kind), -1),
        "host_cores": np.array([2]) if shared else np.zeros(0, np.int64),
    }


def _ways(rng: np.random.Generator, kind: Ints, shared: bool) -> dict[str, Any]:
    nodes = len(kind)
    apart = ~np.eye(nodes, dtype=bool)
    between = np.ix_(kind, kind)
    size = nodes + 1
    bandwidth = np.exp(rng.uniform(np.log(2e6), np.log(3e8), (size, size)))[between]
    medium = np.where(rng.random((size, size)) < 0.5, 0, -1)[between] if shared else np.full((nodes, nodes), -1)
    bandwidth = np.where(medium >= 0, np.minimum(bandwidth, 2e7), bandwidth)
    latency = rng.uniform(1e-4, 4e-3, (size, size))[between]
    latency = np.where((rng.random((size, size)) < 0.05)[between], np.inf, latency)
    return {
        "latency": np.where(apart, latency, 0.0),
        "bandwidth": np.where(apart, bandwidth, np.inf),
        "medium": np.where(apart, medium, -1),
        "send_fixed": np.where(apart, 2e-5, 0.0),
        "send_per_byte": np.where(apart, 3e-10, 0.0),
        "receive_fixed": np.where(apart, 3e-5, 0.0),
        "receive_per_byte": np.where(apart, 4e-10, 0.0),
        "media": ("radio",) if shared else (),
        "media_bandwidth": np.array([2e7]) if shared else np.zeros(0),
    }
