"""From the times of an engine's nodes to the times of the graph's ops: optimisers fuse and rename what they run."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cutwater.graph.graph import Graph

_SEPARATORS = "/_ :"


def attribute(graph: Graph, node_seconds: Mapping[str, float]) -> NDArray[np.float64]:
    """Seconds per op, float64 [ops], adding up to exactly what all nodes took together.

    A node belongs to the op, or to the maker of the tensor, whose name its own name is or begins with: a fused
    "/conv/Clip_output_0_nchwc" is what makes "/conv/Clip_output_0". A node without such a name (a change of layout)
    belongs to the op whose node ran before it. Ops that no node names were fused into a neighbour: each such group
    shares the group's time by FLOPs.

    Args:
        graph: The model's graph.
        node_seconds: Engine node -> seconds, in the order of execution.
    """
    seconds = np.zeros(len(graph.ops))
    named = np.zeros(len(graph.ops), bool)
    owners = dict(graph.producer) | {op.name: op.index for op in graph.ops}
    waiting, last = 0.0, -1
    for name, took in node_seconds.items():
        found = _owner(name, owners)
        if found >= 0:
            named[found] = True
            last = found
        if last < 0:
            waiting += took
            continue
        seconds[last] += took + waiting
        waiting = 0.0
    if waiting and len(graph.ops):
        seconds[0] += waiting
        named[0] = True
    return _shared(graph, seconds, named)


def _owner(name: str, owners: Mapping[str, int]) -> int:
    """Index of the op the node stands for; -1 where its name does not tell."""
    rest = name.removeprefix("fused ")
    while rest:
        if rest in owners:
            return owners[rest]
        rest = rest[: max(rest.rfind(separator) for separator in _SEPARATORS)] if _parts(rest) else ""
    return -1


def _parts(name: str) -> bool:
    return any(separator in name for separator in _SEPARATORS)


def _shared(graph: Graph, seconds: NDArray[np.float64], named: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Spread the time of each named op over the unnamed ones fused with it, by FLOPs."""
    home = np.where(named, np.arange(len(named)), -1)
    makers = [[graph.producer[name] for name in op.inputs if name in graph.producer] for op in graph.ops]
    # What has no weights was fused into the node before it (a sum into its Conv) ...
    for op in graph.ops:
        before = [maker for maker in makers[op.index] if named[maker]]
        if not named[op.index] and not op.weights and before:
            home[op.index] = max(before)
    # ... what has, into its only reader (a Conv into the node named after its activation) ...
    for op in reversed(graph.ops):
        readers = {reader for tensor in op.outputs for reader in graph.consumers[tensor]}
        if home[op.index] < 0 and len(readers) == 1:
            home[op.index] = home[readers.pop()]
    # ... and any other somewhere before it.
    for op in graph.ops:
        if home[op.index] < 0 and makers[op.index]:
            home[op.index] = home[max(makers[op.index])]
    flops = np.array([op.flops for op in graph.ops], np.float64)
    groups = np.where(home >= 0, home, np.arange(len(home)))
    total = np.bincount(groups, flops, len(groups))[groups]
    share = np.divide(flops, total, out=named.astype(np.float64), where=total > 0)
    return seconds[groups] * share
