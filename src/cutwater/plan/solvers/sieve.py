"""Sieve: which labels of a search are worth keeping.

Of two labels with the same nodes, unit and cut, one that is nowhere better is dropped (Desrochers, label setting for
constrained shortest paths, 1988); so is one whose completion bound (`relax`) is beyond what is already known. Where
more labels remain than the search may hold, the least promising go and the result is no longer a proof.
"""

from dataclasses import dataclass

import numpy as np

from cutwater.plan.objective import INFEASIBLE
from cutwater.plan.problem import Bools, Floats, Ints
from cutwater.plan.solvers.dominance import undominated
from cutwater.plan.solvers.labels import Labels
from cutwater.plan.solvers.relax import Outlook
from cutwater.plan.solvers.terms import Terms


@dataclass(frozen=True, slots=True)
class Guard:
    """Drops labels of which ``measure + outlook - prices of free nodes`` exceeds ``limit``."""

    outlook: Outlook
    measure: str
    """"cost", "load" or "nothing": what the label has used up so far."""
    limit: float
    load: int = 0
    """Which shared load."""


class Sieve:
    """Keeps what can still become the plan that is searched for.

    Args:
        terms: What stages and hops cost.
        period: No resource may be busy longer per request; infinite: no limit.
        counts_cost: Whether cost is worth keeping small; else any plan within ``period`` will do.
        guards: Completion bounds; the first one ranks labels when there are too many.
        width: Most labels per stage.
    """

    def __init__(self, terms: Terms, *, period: float, counts_cost: bool, guards: list[Guard], width: int) -> None:
        self.terms = terms
        self.period = period
        self.timed = period < INFEASIBLE
        self.counts_cost = counts_cost
        self.guards = guards
        self.width = width
        self.truncated = False
        """Whether promising labels were dropped."""

    def within(self, labels: Labels, *, left: bool) -> Labels:
        """The labels that pass the guards and whose shared loads fit."""
        if not len(labels):
            return labels
        keep = np.all(labels.loads <= self.period, axis=1)
        for guard in self.guards:
            keep &= self._outlook_of(labels, guard, left=left) <= guard.limit
        return labels if keep.all() else labels.take(np.flatnonzero(keep))

    def _outlook_of(self, labels: Labels, guard: Guard, *, left: bool) -> Floats:
        table = guard.outlook.left if left else guard.outlook.arrived
        ahead: Floats = table[labels.unit, labels.cut] - self._free_price(labels.used, guard.outlook.price)
        if guard.measure == "cost":
            ahead = ahead + labels.cost
        elif guard.measure == "load":
            ahead = ahead + labels.loads[:, guard.load]
        return ahead

    def promising(self, arrived: Labels, some: Ints, unit: int, cost: Floats) -> Bools:
        """[len(some), C] whether a stage may end at each cut, by the guards on cost or nothing."""
        keep = np.ones(cost.shape, bool)
        for guard in self.guards:
            if guard.measure != "load":
                free = self._free_price(arrived.used[some], guard.outlook.price)
                base = cost if guard.measure == "cost" else 0.0
                keep &= base + guard.outlook.left[unit][None, :] - free[:, None] <= guard.limit
        return keep

    def undominated(self, labels: Labels, *, first: bool) -> Labels:
        """Without labels that another one with the same nodes, unit and cut is nowhere worse than."""
        if len(labels) < 2:
            return labels
        key = (labels.used * self.terms.units + labels.unit) * len(self.terms.problem.cuts) + labels.cut
        if first and np.any(labels.first >= 0):
            key = key * (len(self.terms.problem.codecs) + 1) + labels.first + 1
        columns = []
        if self.counts_cost:
            columns.append(labels.cost)
        if self.timed:
            columns.append(labels.busy)
            columns += [column for column in labels.loads.T if np.any(column)]
        return labels.take(np.sort(undominated(key, columns)))

    def narrow(self, labels: Labels, *, left: bool) -> Labels:
        """At most ``width`` labels, the most promising ones."""
        if len(labels) <= self.width:
            return labels
        self.truncated = True
        rank = self._outlook_of(labels, self.guards[0], left=left)
        return labels.take(np.sort(np.argpartition(rank, self.width)[: self.width]))

    def _free_price(self, used: Ints, price: Floats) -> Floats:
        if not np.any(price):
            return np.zeros(len(used))
        free: Floats = np.maximum(self.terms.have - self.terms.counts(used), 0) @ price
        return free
