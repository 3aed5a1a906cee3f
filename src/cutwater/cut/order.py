"""Who comes before whom: bit masks of predecessors, ancestors and descendants of every op."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from cutwater.graph.graph import Graph


def bits(mask: int) -> Iterator[int]:
    """Positions of the ones in ``mask``, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass(frozen=True)
class Order:
    """The partial order of a graph's ops; bit i of every mask is op i."""

    graph: Graph

    @cached_property
    def predecessors(self) -> tuple[int, ...]:
        """Per op, the ops it reads from."""
        producer = self.graph.producer
        return tuple(
            sum({1 << producer[tensor] for tensor in op.inputs if tensor in producer}) for op in self.graph.ops
        )

    @cached_property
    def successors(self) -> tuple[int, ...]:
        """Per op, the ops that read from it."""
        masks = [0] * len(self.graph.ops)
        for index, before in enumerate(self.predecessors):
            for earlier in bits(before):
                masks[earlier] |= 1 << index
        return tuple(masks)

    @cached_property
    def ancestors(self) -> tuple[int, ...]:
        """Per op, all ops that must run before it."""
        masks: list[int] = []
        for before in self.predecessors:
            mask = before
            for earlier in bits(before):
                mask |= masks[earlier]
            masks.append(mask)
        return tuple(masks)

    @cached_property
    def descendants(self) -> tuple[int, ...]:
        """Per op, all ops that must run after it."""
        masks = [0] * len(self.graph.ops)
        for index in reversed(range(len(masks))):
            for later in bits(self.successors[index]):
                masks[index] |= 1 << later | masks[later]
        return tuple(masks)

    def closure(self, ops: int) -> int:
        """The smallest down-set that holds ``ops``."""
        for index in bits(ops):
            ops |= self.ancestors[index]
        return ops
