"""Judge: how good a placement is for a stream of requests; what was judged once is remembered.

Groups that share no model do not matter to each other, so a placement is judged lot by lot, and a search that changes
one lot pays for that lot alone.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from cutwater.plan.fleet import Node
from cutwater.plan.many.door import Door
from cutwater.plan.many.forecast import Kind, kind, lot_latencies
from cutwater.plan.many.served import Group, Placement, Served
from cutwater.plan.many.stream import Stream
from cutwater.plan.many.tracks import coupled, models_of
from cutwater.plan.problem import Floats


@dataclass(frozen=True, slots=True, order=True)
class Worth:
    """Of two placements the greater is better: first more answers in time, then sooner ones."""

    answered: int
    sooner: float
    """Minus the seconds that all answers took together."""


class Judge:
    """Of placements of the same models on the same nodes, for one stream."""

    def __init__(
        self, served: Sequence[Served], nodes: Sequence[Node], stream: Stream, door: Door, *, alike: bool = False
    ) -> None:
        """``alike``: all replicas of a model run by the same candidate; no other placement is to be made."""
        self.served, self.nodes, self.stream, self.door, self.alike = served, nodes, stream, door, alike
        self.sparing = False
        """Whether a model is run by what needs least memory on any node, rather than by what is fastest."""
        self._known: dict[tuple[Kind, ...], tuple[Floats, float]] = {}

    @property
    def lots(self) -> int:
        """How many have been judged."""
        return len(self._known)

    def part(self, models: Iterable[int]) -> "Judge":
        """Of placements of some of the models, as if nobody asked for the others; what is known is known to both."""
        part = self.stream.only(self.stream.of(models))
        judge = Judge(self.served, self.nodes, part, self.door, alike=self.alike)
        judge._known = self._known
        return judge

    def thrifty(self) -> "Judge":
        """The same, for placements in which each model needs as little memory as it can on any one node."""
        judge = copy(self)
        judge.sparing = True
        return judge

    def allows(self, placement: Placement) -> bool:
        """Whether the replicas of each model are as alike as they have to be."""
        if not self.alike:
            return True
        replicas = {replica for group in placement.groups for replica in group.replicas}
        return len({replica.model for replica in replicas}) == len(replicas)

    def worth(self, placement: Placement) -> Worth:
        """What all lots come to."""
        answered, seconds = self._tally(placement)
        return Worth(int(answered.sum()), -seconds)

    def missed(self, placement: Placement) -> Floats:
        """[M] requests of each model that get no answer in time."""
        return self.stream.counts - self._tally(placement)[0]

    def _tally(self, placement: Placement) -> tuple[Floats, float]:
        answered, seconds = np.zeros(len(self.served)), 0.0
        for groups in coupled(placement):
            each, took = self._lot(groups)
            answered += each
            seconds += took
        return answered, seconds

    def _lot(self, groups: list[Group]) -> tuple[Floats, float]:
        key = tuple(sorted(kind(group, self.nodes) for group in groups))
        found = self._known.get(key)
        if found is None:
            which = self.stream.only(self.stream.of(models_of(groups)))
            taken = lot_latencies(groups, self.served, self.nodes, which, self.door)
            made = np.isfinite(taken)
            answered = np.bincount(which.models[made], minlength=len(self.served)).astype(np.float64)
            found = self._known[key] = (answered, float(taken[made].sum()))
        return found
