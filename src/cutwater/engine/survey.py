"""Survey: which links are still to be measured, by one node at a time, so that none disturbs another."""

from collections.abc import Iterable

from cutwater.engine.cluster import MeasuredLink
from cutwater.engine.control import Measure
from cutwater.engine.members import Member, Members, Standing
from cutwater.engine.steering import CoordinatorOptions
from cutwater.units import NodeId, Seconds

Pair = tuple[NodeId, NodeId]


class Survey:
    """The pairs of nodes to measure, grouped by who measures."""

    def __init__(self, options: CoordinatorOptions) -> None:
        self._options = options
        self._todo: dict[NodeId, dict[NodeId, None]] = {}
        self._open: set[Pair] = set()
        """Asked for, and not answered yet."""
        self._until: Seconds | None = None

    @property
    def busy(self) -> bool:
        """Whether something is still to be measured."""
        return bool(self._todo or self._open)

    def joined(self, node: NodeId, members: Members, known: Iterable[Pair]) -> None:
        """A node is here: the links between it and its first peers, both ways, as far as they are not known."""
        here = members[node].announcement.host
        peers = (p for p, member in members.items() if p != node and _away(member, here))
        done = known if isinstance(known, (dict, set)) else set(known)
        for _, peer in zip(range(self._options.survey_peers), peers, strict=False):
            for source, target in ((node, peer), (peer, node)):
                if (source, target) not in done and (source, target) not in self._open:
                    self._todo.setdefault(source, {})[target] = None

    def gone(self, node: NodeId) -> None:
        """A node is not here any more: nobody waits for it."""
        self._todo.pop(node, None)
        for targets in self._todo.values():
            targets.pop(node, None)
        self._todo = {source: targets for source, targets in self._todo.items() if targets}
        self._open = {pair for pair in self._open if node not in pair}

    def measured(self, link: MeasuredLink) -> None:
        """A link is known now."""
        self._open.discard((link.source, link.target))

    def next(self, members: Members, now: Seconds) -> Measure | None:
        """What to measure next, if nothing is being measured."""
        if self._open and self._until is not None and now < self._until:
            return None
        self._open.clear()
        self._until = None
        if not self._todo:
            return None
        source = next(iter(self._todo))
        targets = self._todo.pop(source)
        self._open = {(source, target) for target in targets}
        self._until = now + self._options.survey_timeout
        return Measure(source, tuple((target, members[target].announcement.address) for target in targets))

    def wake_at(self) -> Seconds | None:
        """When the measurement under way is given up."""
        return self._until


def _away(member: Member, host: str) -> bool:
    return member.standing is Standing.ALIVE and member.announcement.host != host
