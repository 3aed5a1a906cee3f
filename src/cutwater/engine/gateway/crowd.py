"""Crowd: what other models have at the nodes of one model's ways, and what follows for its own requests.

A node computes in the order in which requests came, whichever model they are for. So what others have there is before
the next one like what is its own.
"""

from collections.abc import Sequence

from cutwater.engine.vocabulary import Load
from cutwater.units import NodeId, Seconds

Nodes = tuple[NodeId, ...]
"""Of one way."""


class Crowd:
    """What a machine was told of its neighbours last."""

    __slots__ = ("_then", "loads")

    def __init__(self) -> None:
        self.loads: dict[NodeId, Load] = {}
        self._then: dict[NodeId, Seconds] = {}
        """What had been done when `passed` was last asked."""

    @property
    def busy(self) -> bool:
        """Whether there is anything that others have."""
        return any(load.waiting or load.flying for load in self.loads.values())

    def delay(self, nodes: Nodes) -> Seconds:
        """What is before one more request along a way, at all its nodes together, as `Worker.delay` counts it."""
        loads = self.loads
        return sum(loads[node].flying + loads[node].waiting for node in nodes if node in loads)

    def beyond(self, own: Seconds, ways: Sequence[Nodes], *, launched: bool) -> Seconds:
        """How much longer than ``own`` it takes to work off what is the model's own.

        Every way takes requests as long as it is the one with the least before it, so all end at one level, like water
        that fills a vessel with an uneven bottom.

        Args:
            own: What it would take if nobody else were there, all ways together.
            ways: The nodes of each.
            launched: It is launched at once, so that what others have waiting comes after it.
        """
        loads = self.loads
        bottoms = sorted(
            max((loads[n].flying + (0.0 if launched else loads[n].waiting) for n in nodes if n in loads), default=0.0)
            for nodes in ways
        )
        left = own * len(ways)
        for filled, bottom in enumerate(bottoms, 1):
            left += bottom
            level = left / filled
            if filled == len(bottoms) or level <= bottoms[filled]:
                break
        return level - own

    def passed(self, ways: Sequence[Nodes]) -> Seconds:
        """What was done for others since this was last asked, at the node of each way that had most of it; the mean."""
        loads, then = self.loads, self._then
        done = {node: max(load.done - then.get(node, load.done), 0.0) for node, load in loads.items()}
        self._then = {node: load.done for node, load in loads.items()}
        if not ways:
            return 0.0
        return sum(max((done[node] for node in nodes if node in done), default=0.0) for nodes in ways) / len(ways)
