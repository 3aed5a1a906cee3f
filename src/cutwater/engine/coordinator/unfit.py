"""Unfit: nodes on which a model's workers failed of late, and that its plans leave out for a while.

Once may be bad luck, so the first time that is short; where it happens again soon, it is twice as long each time. And
where every node that may run the model has failed, or what is left cannot, none is left out: somebody has to serve.
"""

from collections.abc import Collection, Iterable

from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.units import NodeId, Seconds


class Unfit:
    """Of one deployment."""

    __slots__ = ("_latest", "_options", "_until")

    def __init__(self, options: CoordinatorOptions) -> None:
        self._options = options
        self._until: dict[NodeId, Seconds] = {}
        self._latest: dict[NodeId, tuple[Seconds, Seconds]] = {}
        """How long it was left out the last time, and when that ended, or will end."""

    def __contains__(self, node: NodeId) -> bool:
        """Whether it has failed so lately."""
        return node in self._until

    def __bool__(self) -> bool:
        """Whether any node has."""
        return bool(self._until)

    def add(self, node: NodeId, now: Seconds) -> None:
        """Workers fail on it; of one that is left out already that is no news."""
        if node in self._until:
            return
        options = self._options
        length, ended = self._latest.get(node, (0.0, now))
        again = length and now - ended < options.unfit_memory
        length = min(2.0 * length, options.unfit_limit) if again else options.unfit_for
        self._until[node] = now + length
        self._latest[node] = length, now + length

    def among(self, nodes: Collection[NodeId]) -> frozenset[NodeId]:
        """Those of these nodes, all that may run the model, that are to be left out."""
        found = frozenset(node for node in nodes if node in self._until)
        return found if len(found) < len(nodes) else frozenset()

    def forgive(self, now: Seconds) -> list[NodeId]:
        """Those whose time is over; they are fit from now on."""
        over = [node for node, until in self._until.items() if until <= now]
        for node in over:
            del self._until[node]
        return over

    def pardon(self) -> None:
        """All are fit at once: without them nobody can serve."""
        self._until.clear()

    def ends(self) -> Iterable[Seconds]:
        """When somebody's time will be over."""
        return self._until.values()
