"""Lattice: the legal cuts of a Graph in their partial order, and finding the one somebody means."""

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

from cutwater.cut import blocks as block_rules
from cutwater.cut.blocks import Block
from cutwater.cut.cut import Cut
from cutwater.cut.downsets import all_downsets, beam, direct_covers
from cutwater.cut.order import Order
from cutwater.cut.walk import Labels, Walker
from cutwater.errors import BadCut
from cutwater.graph.graph import Graph

SUBSET = 3000
"""How many cuts a lattice that is too large is reduced to."""
NEAR = 0.025
"""Share of the FLOPs on both sides of a wanted share within which the cheapest cut is taken."""


@dataclass(frozen=True)
class Lattice:
    """Cuts and which of them directly follows which.

    ``cuts`` are sorted by the number of ops before them (ties by mask): first "input", last "output". For any two cuts
    i <= j there is a path from j down to i over ``covers``.
    """

    graph: Graph
    cuts: tuple[Cut, ...]
    covers: tuple[tuple[int, ...], ...]
    """Per cut, the indices of the cuts directly below it."""
    complete: bool
    """Whether these are all down-sets of the blocks; otherwise a subset chosen for small borders."""
    blocks: tuple[Block, ...] = field(repr=False)
    """Between which the cuts fall."""

    @cached_property
    def position(self) -> dict[int, int]:
        """``Cut.before`` -> index in ``cuts``."""
        return {cut.before: index for index, cut in enumerate(self.cuts)}


def build_lattice(graph: Graph, limit: int = 50_000, collapse: bool = True) -> Lattice:
    """All cuts of a graph, or, where there are more than ``limit``, a good subset of at most `SUBSET`.

    The subset is found by a beam search: from the empty down-set one block is added at a time; of all down-sets with
    the same number of blocks those with the smallest borders are kept, and always the prefix of the topological order.

    Args:
        graph: The graph.
        limit: Most cuts to enumerate before falling back to the subset.
        collapse: False makes every op a block of its own, so that every legal cut is among the cuts.
    """
    blocks = block_rules.collapse(graph) if collapse else block_rules.single_ops(graph)
    walker = Walker(graph, blocks)
    found = all_downsets(walker, limit)
    if found is not None:
        states, covers = found
        order = sorted(range(len(states)), key=lambda i: (states[i].ops.bit_count(), states[i].ops))
        rank = {old: new for new, old in enumerate(order)}
        return Lattice(
            graph=graph,
            cuts=tuple(walker.cut(states[old]) for old in order),
            covers=tuple(tuple(sorted(rank[below] for below in covers[old])) for old in order),
            complete=True,
            blocks=blocks,
        )
    states = sorted(beam(walker, min(limit, SUBSET)), key=lambda state: (state.ops.bit_count(), state.ops))
    cuts = tuple(walker.cut(state) for state in states)
    return Lattice(graph, cuts, direct_covers([cut.before for cut in cuts]), False, blocks)


def chain_cuts(lattice: Lattice) -> tuple[Cut, ...]:
    """A maximal chain from input to output: of all, the one with the least border bytes per op passed on the way."""
    cuts = lattice.cuts
    sizes = [cut.before.bit_count() for cut in cuts]
    cost: list[float] = [0.0] * len(cuts)
    came_from = [-1] * len(cuts)
    for index, below in enumerate(lattice.covers):
        if below:
            cost[index], came_from[index] = min(
                (cost[other] + cuts[index].border_bytes * (sizes[index] - sizes[other]), other) for other in below
            )
    chain = [len(cuts) - 1]
    while came_from[chain[-1]] >= 0:
        chain.append(came_from[chain[-1]])
    return tuple(cuts[index] for index in reversed(chain))


def best_cut_per_tenth(lattice: Lattice) -> tuple[Cut | None, ...]:
    """For each tenth of the FLOPs the cut with the smallest border (bytes, then tensors); None where there is none.

    The cuts before and after everything are left out: they part nothing.
    """
    total = max(lattice.graph.flops, 1)
    best: list[Cut | None] = [None] * 10
    for cut in lattice.cuts[1:-1]:
        tenth = min(10 * cut.flops_before // total, 9)
        held = best[tenth]
        if held is None or (cut.border_bytes, cut.width) < (held.border_bytes, held.width):
            best[tenth] = cut
    return tuple(best)


def find_cut(lattice: Lattice, text: str) -> Cut:
    """The cut someone means.

    Args:
        lattice: Where to look.
        text: A label ("input", "output", "after blocks.5"), the name of a layer, op or tensor with or without "after",
            an index into ``lattice.cuts`` ("12"), or a share of the FLOPs ("40%": the cheapest cut near it).

    Raises:
        BadCut: nothing is called that; the message names what comes closest.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):
        return _by_index(lattice, int(text))
    if text.endswith("%"):
        return _by_share(lattice, text)
    for cut in lattice.cuts:
        if cut.label == text:
            return cut
    return _by_name(lattice, text.removeprefix("after ").strip())


def _by_index(lattice: Lattice, index: int) -> Cut:
    if index >= len(lattice.cuts):
        raise BadCut(f"there is no cut {index}: {lattice.graph.name} has cuts 0 to {len(lattice.cuts) - 1}")
    return lattice.cuts[index]


def _by_share(lattice: Lattice, text: str) -> Cut:
    try:
        share = float(text[:-1]) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BadCut(f"{text!r} is not a share of the FLOPs; write it like '40%', from 0% to 100%")
    total = max(lattice.graph.flops, 1)
    distance = {index: abs(cut.flops_before / total - share) for index, cut in enumerate(lattice.cuts)}
    near = [index for index, gap in distance.items() if gap <= NEAR]
    if not near:
        nearest = min(distance.values())
        near = [index for index, gap in distance.items() if gap <= nearest]
    return lattice.cuts[min(near, key=lambda index: (lattice.cuts[index].border_bytes, distance[index]))]


def _by_name(lattice: Lattice, name: str) -> Cut:
    graph = lattice.graph
    scopes = Labels(graph).scopes
    ops = {op.name: 1 << op.index for op in graph.ops}
    tensors = {tensor: 1 << index for tensor, index in graph.producer.items()}
    for masks in (scopes, ops, tensors):
        if name in masks:
            needed = Order(graph).closure(masks[name])
            return next(cut for cut in lattice.cuts if needed & ~cut.before == 0)
    known = list(dict.fromkeys([*scopes, *ops, *tensors]))
    close = get_close_matches(name, known, 3, 0.4)
    hint = (
        f"did you mean {' or '.join(repr(word) for word in close)}?" if close else f"there is for example {known[0]!r}"
    )
    raise BadCut(f"{graph.name} has no layer, op or tensor {name!r}; {hint}")
