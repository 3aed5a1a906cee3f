"""buckets: models that take about equally long get nodes of their own, in groups of the size that is best for them.

A request for a quick model that waits behind one for a slow model waits long, for what it takes itself. So models are
put into buckets, each gets nodes in proportion to its work, and is placed by itself (Li et al., "AlpaServe", OSDI
2023, section 4.2, there with every way to share nodes out, which is affordable for a few buckets only).
"""

from collections.abc import Callable, Sequence

import numpy as np

from cutwater.plan.many.baselines import partition, sizes
from cutwater.plan.many.greedy import filled
from cutwater.plan.many.judge import Judge, Worth
from cutwater.plan.many.served import Placement

MOST = 4
"""Buckets that are tried."""


def buckets(judge: Judge, go_on: Callable[[], bool]) -> list[Placement]:
    """A placement for each number of buckets from 2 up, as far as there are models that differ."""
    found = []
    for count in range(2, MOST + 1):
        models = divided(judge, count)
        if len(models) > 1 and go_on():
            nodes = shared_out(judge, models)
            parts = [_placed(judge.part(m), n, go_on) for m, n in zip(models, nodes, strict=True) if n]
            found.append(Placement(tuple(group for part in parts for group in part.groups)))
    return found


def divided(judge: Judge, count: int) -> list[list[int]]:
    """Models by how long they take, in so many steps of the same ratio; steps in which there is nobody left out."""
    takes = np.array([min((sum(c.seconds) for c in m.candidates), default=1.0) for m in judge.served])
    heights = np.log(np.maximum(takes, 1e-9))
    span = float(np.ptp(heights)) or 1.0
    steps = np.minimum((count * (heights - heights.min()) / span).astype(np.intp), count - 1)
    asked = judge.stream.counts > 0
    lots = (np.flatnonzero((steps == step) & asked).tolist() for step in range(count))
    return [lot for lot in lots if lot]


def shared_out(judge: Judge, models: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Nodes for each bucket, in proportion to its work; the fastest ones go around."""
    takes = [min((sum(c.seconds) for c in m.candidates), default=0.0) for m in judge.served]
    work = np.array([sum(takes[m] * int(judge.stream.counts[m]) for m in bucket) for bucket in models])
    order = [at for at, node in enumerate(judge.nodes) if node.stages]
    order.sort(key=lambda at: -judge.nodes[at].speed)
    nodes: list[list[int]] = [[] for _ in models]
    power = np.zeros(len(models))
    for at in order:
        neediest = int(np.argmax(work / (power + judge.nodes[at].speed)))
        nodes[neediest].append(at)
        power[neediest] += judge.nodes[at].speed
    return [tuple(each) for each in nodes]


def _placed(judge: Judge, nodes: tuple[int, ...], go_on: Callable[[], bool]) -> Placement:
    """Models on some of the nodes, in groups of the size that is best."""
    best: tuple[Worth, Placement] | None = None
    for size in sizes(judge):
        if size <= len(nodes) and (best is None or go_on()):
            placement, worth = filled(judge, partition(judge, size, nodes), go_on, many=len(judge.served))
            if best is None or worth > best[0]:
                best = worth, placement
    return best[1] if best else Placement(())
