"""Survey: which links are to be measured, for the first time or again, one at a time, so that none disturbs another."""

from collections.abc import Collection, Iterable
from heapq import heappop, heappush

from cutwater.engine.backoff import BackOff
from cutwater.engine.control import Measure
from cutwater.engine.coordinator.members import Member, Members, Standing
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.units import NodeId, Seconds

Pair = tuple[NodeId, NodeId]

_GOLDEN = 0.6180339887498949
"""The golden ratio's fraction: its multiples, without their whole parts, are spread evenly however many there are."""
_PUT_OFF = 0.1
"""Of the usual time: how much later a link is looked at again whose nodes were too busy to measure it."""


class Survey:
    """The pairs of nodes to measure.

    Links that nobody knows come first, grouped by who measures: first plans wait for them. The others are measured
    again when their time has come, one by one with a pause after each, and never where a node has its hands full.
    """

    def __init__(self, options: CoordinatorOptions) -> None:
        self._options = options
        self._retries = BackOff(first=options.survey_retry, limit=options.survey_again)
        self._todo: dict[NodeId, dict[NodeId, None]] = {}
        self._open: set[Pair] = set()
        """Asked for, and not answered yet."""
        self._first = False
        """Whether those that are open are measured for the first time."""
        self._until: Seconds | None = None
        self._again: list[tuple[Seconds, Pair]] = []
        """When to measure which link again."""
        self._waits: dict[Pair, Seconds] = {}
        """Pairs in ``_again`` or open -> how long the last pause after a failure was; 0: there was none."""
        self._count = 0
        self._rest_until: Seconds = 0.0

    @property
    def busy(self) -> bool:
        """Whether something is still to be measured for the first time."""
        return bool(self._todo or (self._open and self._first))

    def joined(self, node: NodeId, members: Members, known: Collection[Pair], now: Seconds) -> None:
        """A node is here: the links between it and its first peers, both ways; those that are known can wait."""
        here = members[node].announcement.host
        peers = (p for p, member in members.items() if p != node and _away(member, here))
        for _, peer in zip(range(self._options.survey_peers), peers, strict=False):
            for pair in ((node, peer), (peer, node)):
                if pair in self._open or pair in self._waits:
                    continue
                if pair in known:
                    self._schedule(pair, now, 0.0)
                else:
                    self._todo.setdefault(pair[0], {})[pair[1]] = None

    def gone(self, node: NodeId) -> None:
        """A node is not here any more: nobody waits for it."""
        self._todo.pop(node, None)
        for targets in self._todo.values():
            targets.pop(node, None)
        self._todo = {source: targets for source, targets in self._todo.items() if targets}
        for pair in [pair for pair in self._open if node in pair]:
            self._open.discard(pair)
            self._waits.pop(pair, None)

    def measured(self, link: MeasuredLink, now: Seconds) -> None:
        """A link is known now."""
        self._answered((link.source, link.target), now, 0.0)

    def failed(self, pair: Pair, now: Seconds) -> None:
        """A link could not be measured: tried again later, and ever later."""
        self._answered(pair, now, self._retries.after(self._waits.get(pair, 0.0)))

    def next(self, members: Members, now: Seconds) -> Measure | None:
        """What to measure next, if nothing is being measured."""
        if self._open and self._until is not None and now < self._until:
            return None
        for pair in sorted(self._open):
            self.failed(pair, now)
        self._until = None
        while self._todo:
            source = next(iter(self._todo))
            targets = [target for target in self._todo.pop(source) if (source, target) not in self._waits]
            if targets:
                return self._ask(source, targets, members, now, first=True)
        if now < self._rest_until:
            return None
        due = self._due(members, now)
        return None if due is None else self._ask(due[0], due[1:], members, now, first=False)

    def wake_at(self) -> Seconds | None:
        """When the measurement under way is given up, or the next one may be due."""
        if self._open:
            return self._until
        return max(self._again[0][0], self._rest_until) if self._again else None

    def _answered(self, pair: Pair, now: Seconds, wait: Seconds) -> None:
        """Measure it again; the pause says whether it has failed."""
        was_open = pair in self._open
        self._open.discard(pair)
        if was_open and not self._open:
            self._rest_until = now + self._options.survey_rest
        if was_open or pair not in self._waits:
            self._schedule(pair, now, wait)

    def _schedule(self, pair: Pair, now: Seconds, wait: Seconds) -> None:
        """After the pause, or where there is none after about ``survey_again``, each pair at a moment of its own."""
        self._count += 1
        again = self._options.survey_again * (0.75 + 0.5 * (self._count * _GOLDEN % 1.0))
        self._waits[pair] = wait
        heappush(self._again, (now + (wait or again), pair))

    def _due(self, members: Members, now: Seconds) -> Pair | None:
        """The next pair whose time has come, whose nodes live apart and have time for it."""
        while self._again and self._again[0][0] <= now:
            pair = heappop(self._again)[1]
            source, target = (members.get(node) for node in pair)
            if source is None or target is None or not _apart(source, target):
                del self._waits[pair]  # one that comes back has it scheduled again
            elif any(self._full(member) for member in (source, target)):
                heappush(self._again, (now + _PUT_OFF * self._options.survey_again, pair))
            else:
                return pair
        return None

    def _ask(self, source: NodeId, targets: Iterable[NodeId], members: Members, now: Seconds, first: bool) -> Measure:
        self._open = {(source, target) for target in targets}
        self._first = first
        self._until = now + self._options.survey_timeout
        return Measure(source, tuple((target, members[target].announcement.address) for target in targets))

    def _full(self, member: Member) -> bool:
        return member.beat is not None and member.beat.cpu > self._options.survey_load


def _away(member: Member, host: str) -> bool:
    return member.standing is Standing.ALIVE and member.announcement.host != host


def _apart(source: Member, target: Member) -> bool:
    return source.standing is Standing.ALIVE and _away(target, source.announcement.host)
