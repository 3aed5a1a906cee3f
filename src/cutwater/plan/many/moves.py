"""Moves: small changes of a placement, drawn by chance; each keeps the memory of every node."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cutwater.plan.many.baselines import sizes
from cutwater.plan.many.greedy import exchanged, ways_on, with_replica
from cutwater.plan.many.judge import Judge
from cutwater.plan.many.served import Group, Placement, Replica, fits

Move = Callable[[Judge, Placement, np.random.Generator], Placement | None]
"""The changed placement; None: this change cannot be made, or changes nothing."""


def add(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """One more replica of a model that misses requests, on any group; where there is no room others make it."""
    missed = judge.missed(placement)
    if not missed.sum():
        return None
    model = int(rng.choice(len(missed), p=missed / missed.sum()))
    at = int(rng.integers(len(placement.groups)))
    group = placement.groups[at]
    kept = [group.replicas[k] for k in rng.permutation(len(group.replicas))]
    while True:
        grown = with_replica(judge, exchanged(placement, {at: (replace(group, replicas=tuple(kept)),)}), model, at)
        if grown is not None or not kept:
            return grown
        kept.pop()


def drop(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """One replica less."""
    at = _some(placement, rng)
    if at is None:
        return None
    replicas = list(placement.groups[at].replicas)
    replicas.pop(int(rng.integers(len(replicas))))
    return exchanged(placement, {at: (replace(placement.groups[at], replicas=tuple(replicas)),)})


def shift(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """A replica moves to another group."""
    at = _some(placement, rng)
    to = int(rng.integers(len(placement.groups)))
    if at is None or to == at:
        return None
    replicas = list(placement.groups[at].replicas)
    model = replicas.pop(int(rng.integers(len(replicas)))).model
    less = exchanged(placement, {at: (replace(placement.groups[at], replicas=tuple(replicas)),)})
    return with_replica(judge, less, model, to)


def swap(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """Replicas of two groups change places."""
    a, b = _some(placement, rng), _some(placement, rng)
    if a is None or b is None or a == b:
        return None
    left, right = list(placement.groups[a].replicas), list(placement.groups[b].replicas)
    one, other = left.pop(int(rng.integers(len(left)))).model, right.pop(int(rng.integers(len(right)))).model
    changed = exchanged(
        placement,
        {
            a: (replace(placement.groups[a], replicas=tuple(left)),),
            b: (replace(placement.groups[b], replicas=tuple(right)),),
        },
    )
    half = with_replica(judge, changed, other, a)
    return with_replica(judge, half, one, b) if half is not None else None


def vary(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """A replica runs by another candidate, on the same nodes."""
    at = _some(placement, rng)
    if at is None:
        return None
    group = placement.groups[at]
    k = int(rng.integers(len(group.replicas)))
    old = group.replicas[k]
    others = [c for c in ways_on(judge, old.model, len(group.nodes)) if c != old.candidate]
    if not others:
        return None
    new = Replica(old.model, int(rng.choice(others)))
    changed = replace(group, replicas=(*group.replicas[:k], new, *group.replicas[k + 1 :]))
    return exchanged(placement, {at: (changed,)}) if fits(judge.served, judge.nodes, changed) else None


def merge(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """Two groups become one, which serves what both did as far as there is room."""
    if len(placement.groups) < 2:
        return None
    a, b = rng.choice(len(placement.groups), 2, replace=False).tolist()
    one, other = placement.groups[a], placement.groups[b]
    if len(one.nodes) + len(other.nodes) not in sizes(judge):
        return None
    models = rng.permutation(sorted(one.models | other.models)).tolist()
    return exchanged(placement, {a: (_served(judge, (*one.nodes, *other.nodes), models),), b: ()})


def split(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """A group becomes two, each of which serves what it did, as far as there is room, in different order."""
    at = int(rng.integers(len(placement.groups)))
    group = placement.groups[at]
    known = sizes(judge)
    cuts = [size for size in known if len(group.nodes) - size in known]
    if not cuts:
        return None
    cut = int(rng.choice(cuts))
    models = rng.permutation(sorted(group.models)).tolist()
    parts = (_served(judge, group.nodes[:cut], models), _served(judge, group.nodes[cut:], models[::-1]))
    return exchanged(placement, {at: parts})


def regroup(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """Two groups exchange a node of theirs, where these differ."""
    if len(placement.groups) < 2:
        return None
    a, b = rng.choice(len(placement.groups), 2, replace=False).tolist()
    one, other = list(placement.groups[a].nodes), list(placement.groups[b].nodes)
    i, j = int(rng.integers(len(one))), int(rng.integers(len(other)))
    if _same(judge, one[i], other[j]):
        return None
    one[i], other[j] = other[j], one[i]
    changed = [replace(placement.groups[k], nodes=tuple(nodes)) for k, nodes in ((a, one), (b, other))]
    if not all(fits(judge.served, judge.nodes, group) for group in changed):
        return None
    return exchanged(placement, {a: changed[:1], b: changed[1:]})


def turn(judge: Judge, placement: Placement, rng: np.random.Generator) -> Placement | None:
    """Two nodes of a group change places, where they differ: stages differ, too."""
    at = int(rng.integers(len(placement.groups)))
    nodes = list(placement.groups[at].nodes)
    i, j = int(rng.integers(len(nodes))), int(rng.integers(len(nodes)))
    if _same(judge, nodes[i], nodes[j]):
        return None
    nodes[i], nodes[j] = nodes[j], nodes[i]
    changed = replace(placement.groups[at], nodes=tuple(nodes))
    return exchanged(placement, {at: (changed,)}) if fits(judge.served, judge.nodes, changed) else None


MOVES: tuple[Move, ...] = (add, add, shift, swap, drop, vary, merge, split, regroup, turn)


def _same(judge: Judge, a: int, b: int) -> bool:
    """Whether it does not matter which of two nodes a group has."""
    one, other = judge.nodes[a], judge.nodes[b]
    return (one.speed, one.memory) == (other.speed, other.memory)


def _some(placement: Placement, rng: np.random.Generator) -> int | None:
    """A group that runs something."""
    used = [at for at, group in enumerate(placement.groups) if group.replicas]
    return int(rng.choice(used)) if used else None


def _served(judge: Judge, nodes: tuple[int, ...], models: list[int]) -> Group:
    """A group that serves these models, the first ones first, as far as there is room."""
    alone = Placement((Group(nodes),))
    for model in models:
        alone = with_replica(judge, alone, model, 0) or alone
    return alone.groups[0]
