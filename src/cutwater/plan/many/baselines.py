"""Baselines: ways to place models that people use, by name; every search is to beat them all."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from cutwater.plan.many.greedy import filled, with_replica
from cutwater.plan.many.judge import Judge, Worth
from cutwater.plan.many.served import Group, Placement

Baseline = Callable[[Judge, Callable[[], bool]], Placement]
"""A judge, and a callable that says whether there is time left; empty groups are allowed in what comes out."""


def partition(judge: Judge, size: int, nodes: Iterable[int] | None = None) -> Placement:
    """Empty groups of so many nodes, the fastest together; what is left over makes a smaller one, if any model can.

    ``nodes``: only these; None: all.
    """
    order = [at for at in (range(len(judge.nodes)) if nodes is None else nodes) if judge.nodes[at].stages]
    order.sort(key=lambda at: -judge.nodes[at].speed)
    chunks = [tuple(order[at : at + size]) for at in range(0, len(order), size)]
    left = chunks.pop() if chunks and len(chunks[-1]) < size else ()
    known = sizes(judge)
    while left:
        part = max((s for s in known if s <= len(left)), default=0)
        if not part:
            break
        chunks.append(left[:part])
        left = left[part:]
    return Placement(tuple(Group(nodes) for nodes in chunks))


def sizes(judge: Judge) -> list[int]:
    """How many nodes a group can have so that at least one model can run on it, the smallest first."""
    runnable = sum(node.stages for node in judge.nodes)
    stages = {candidate.stages for model in judge.served for candidate in model.candidates}
    return sorted(count for count in stages if count <= runnable)


def one_per_node(judge: Judge, go_on: Callable[[], bool]) -> Placement:
    """Every node has one whole model; the models with most work per node come first, and have more of them."""
    placement = partition(judge, 1)
    work = np.array(
        [
            count * min((sum(c.seconds) for c in model.candidates if c.stages == 1), default=0.0)
            for model, count in zip(judge.served, judge.stream.counts, strict=True)
        ]
    )
    nodes = np.zeros(len(judge.served))
    for at in range(len(placement.groups)):
        due = np.where(nodes == 0, np.inf, work / np.maximum(nodes, 1))
        for model in np.lexsort((-work, -due)).tolist():
            grown = with_replica(judge, placement, model, at) if work[model] else None
            if grown is not None:
                placement = grown
                nodes[model] += 1
                break
    return placement


def replication(judge: Judge, go_on: Callable[[], bool]) -> Placement:
    """Whole models, as many on each node as its memory holds, chosen greedily."""
    return _filled(judge, 1, go_on)[0]


def fixed_pipelines(judge: Judge, go_on: Callable[[], bool]) -> Placement:
    """Pipelines as long as all models allow, chosen greedily."""
    common = [
        size for size in sizes(judge) if all(any(c.stages == size for c in model.candidates) for model in judge.served)
    ]
    return _filled(judge, max(common), go_on)[0] if common else Placement(())


def greedy(judge: Judge, go_on: Callable[[], bool]) -> Placement:
    """The best of greedy choices for groups of every size (Li et al., "AlpaServe", OSDI 2023, section 4.2)."""
    best: tuple[Worth, Placement] | None = None
    for size in sizes(judge):
        placement, worth = _filled(judge, size, go_on)
        if best is None or worth > best[0]:
            best = worth, placement
        if not go_on():
            break
    return best[1] if best else Placement(())


def _filled(judge: Judge, size: int, go_on: Callable[[], bool]) -> tuple[Placement, Worth]:
    return filled(judge, partition(judge, size), go_on, many=len(judge.served))


BASELINES: Mapping[str, Baseline] = {
    "one-per-node": one_per_node,
    "replication": replication,
    "fixed-pipelines": fixed_pipelines,
    "greedy": greedy,
}
