"""Enumerating down-sets of blocks: all of them, or a good subset, and which directly covers which."""

from collections.abc import Sequence

from cutwater.cut.order import bits
from cutwater.cut.walk import State, Walker


def all_downsets(walker: Walker, limit: int) -> tuple[list[State], list[list[int]]] | None:
    """All down-sets, smallest first, with the indices of those directly below each; None if there are too many.

    Every down-set is its predecessors' union with one ready block, so covers come with the enumeration.
    """
    states = [walker.first()]
    covers: list[list[int]] = [[]]
    known = {0: 0}
    for index, state in enumerate(states):
        for number in bits(state.ready):
            blocks = state.blocks | 1 << number
            seen = known.get(blocks)
            if seen is not None:
                covers[seen].append(index)
                continue
            if len(states) >= limit:
                return None
            known[blocks] = len(states)
            states.append(walker.step(state, number))
            covers.append([index])
    return states, covers


def beam(walker: Walker, limit: int) -> list[State]:
    """About ``limit`` down-sets with small borders, every one reachable block by block from the empty one."""
    width = max(limit // max(len(walker.blocks), 1), 2)
    layer = [walker.first()]
    kept = list(layer)
    prefix = 0
    for number in range(len(walker.blocks)):
        prefix |= 1 << number
        grown: dict[int, State] = {}
        for state in layer:
            for ready in bits(state.ready):
                if state.blocks | 1 << ready not in grown:
                    grown[state.blocks | 1 << ready] = walker.step(state, ready)
        ranked = sorted(grown.values(), key=lambda state: (state.blocks != prefix, state.nbytes, state.blocks))
        layer = ranked[:width]
        kept.extend(layer)
    return kept


def direct_covers(masks: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The Hasse diagram of a family of sets sorted by size: pairs with nothing of the family between them."""
    below: list[int] = []
    covers = []
    for index, mask in enumerate(masks):
        reached = 0
        direct = []
        for other in reversed(range(index)):
            if not reached >> other & 1 and masks[other] & ~mask == 0:
                direct.append(other)
                reached |= below[other] | 1 << other
        below.append(reached)
        covers.append(tuple(reversed(direct)))
    return tuple(covers)
