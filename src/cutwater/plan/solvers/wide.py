"""wide: tens of thousands of cuts, where no matrix of pairs of cuts can be held.

A stage's compute is ``P[j] - P[i]``, so the best beginning i of a stage that ends at j is a running minimum over all
cuts before j, and that follows the lattice's covers: ``G[j] = min over covers c of min(G[c], E[c])``. One pass over the
covers per set of used nodes gives the least latency; with ``E`` the seconds the node is busy already, less ``P``, the
same pass decides whether all nodes can keep within a period. Memory, shared media and hosts, and the source's own
frames are left out of this pass: it is a bound. Plans are then sought with all limits among a few hundred cuts.
"""

from dataclasses import replace
from itertools import product

import numpy as np

from cutwater.errors import NoPlan
from cutwater.plan.objective import INFEASIBLE, Objective
from cutwater.plan.problem import Bools, Choice, Floats, Ints, Problem, within
from cutwater.plan.score import check
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.plan.solvers.exact import TIE, Hunt, exact
from cutwater.plan.solvers.terms import Terms, make_terms

MOST_GROUPS = 40_000_000
"""Largest product of (set of used nodes, unit) pairs and cuts that is searched."""

Used = tuple[int, ...]
"""How many nodes of each kind are used."""
Table = dict[tuple[Used, int], Floats]
"""(used nodes, current unit) -> [C] what counts when the unit's stage begins at a cut, less its compute up to there."""


def wide(problem: Problem, objective: Objective, effort: Effort) -> Solution:
    """A good choice and a proven bound for lattices too large for `exact`."""
    if not problem.types:
        return Solution(None, INFEASIBLE, INFEASIBLE, "wide")
    hunt = Hunt(problem, objective, effort)
    hints: set[int] = set()
    bound = 0.0
    sweep = Sweep(make_terms(problem, objective, np.zeros(len(problem.hosts), np.int64)))
    if sweep.groups * len(problem.cuts) <= MOST_GROUPS:
        bound = _period(hunt, sweep, hints) if objective.aim == "throughput" else _latency(hunt, sweep, hints)
    if hunt.value > bound * (1 + TIE) and effort.go_on():
        chosen = promising_cuts(problem, hints, 250)
        inner = exact(restricted(problem, chosen), objective, effort)
        if inner.choice is not None:
            _offer(hunt, replace(inner.choice, cuts=tuple(chosen[cut] for cut in inner.choice.cuts)))
    return Solution(hunt.choice, hunt.value, min(bound, hunt.value), "wide")


def _offer(hunt: Hunt, choice: Choice) -> float:
    if not within(hunt.problem.limits, choice):
        return INFEASIBLE
    try:
        check(hunt.problem, choice)
    except NoPlan:
        return INFEASIBLE
    return hunt.offer(choice)


def _latency(hunt: Hunt, sweep: "Sweep", hints: set[int]) -> float:
    value, choice = sweep.run(INFEASIBLE)
    if choice is not None:
        hints.update(choice.cuts)
        _offer(hunt, choice)
    return value


def _period(hunt: Hunt, sweep: "Sweep", hints: set[int]) -> float:
    """The least period for which the sweep finds a choice, to within a thousandth; a bound."""
    high = float((sweep.t.problem.prefix[sweep.t.node, -1] + sweep.t.problem.overhead[sweep.t.node]).max()) * 100.0
    low = 0.0
    while low == 0.0 or high > low * 1.001:
        middle = high / 4.0 if low == 0.0 else float(np.sqrt(low * high))
        _, choice = sweep.run(middle)
        if choice is None:
            low = middle
        else:
            high = middle
            hints.update(choice.cuts)
            _offer(hunt, choice)
            if hunt.objective.latency_bound is None and hunt.value < high:
                high = max(hunt.value, low)
    if hunt.value <= high and sweep.run(hunt.value * (1 - TIE))[1] is None:
        return hunt.value
    return low


class Sweep:
    """Passes over all cuts, for every set of used nodes."""

    def __init__(self, terms: Terms) -> None:
        self.t = terms
        self.levels = _levels(terms.problem.covers)
        digits = [range(int(n) + 1) for n in terms.have]
        self.sets = sorted(product(*digits), key=sum) if np.prod(terms.have + 1.0) < 1e6 else []
        self.groups = len(self.sets) * terms.units or MOST_GROUPS

    def run(self, period: float) -> tuple[float, Choice | None]:
        """The least latency where ``period`` is infinite; else whether all nodes and links keep within it."""
        t, units = self.t, self.t.units
        timed = period < INFEASIBLE
        scale = (t.factor if timed else np.ones(units)) / (t.count if timed else 1)
        work = np.stack([t.compute(u) * scale[u] for u in range(units)], axis=1)
        fixed = t.problem.overhead[t.node] * scale
        before: Table = {}
        best: tuple[float, tuple[Used, int, int] | None] = (INFEASIBLE, None)
        for used in self.sets:
            mine = [u for u in range(units) if (used, u) in before or self._begins(used, u)]
            if not mine:
                continue
            for u in mine:
                self._begin(before, used, u, work, period)
            entry = np.stack([before[used, u] for u in mine], axis=1)
            left = self._running_least(entry) + work[:, mine] + fixed[mine]
            for column, u in enumerate(mine):
                best = min(best, self._end(used, u, float(left[-1, column]), period), key=lambda end: end[0])
                self._spread(before, used, u, left[:, column], work, period)
        value, end = best
        return value, None if end is None else self._trace(before, end, work, fixed, period)

    def _begins(self, used: Used, unit: int) -> bool:
        return sum(used) == int(self.t.count[unit]) == used[int(self.t.kind[unit])]

    def _begin(self, before: Table, used: Used, u: int, work: Floats, period: float) -> None:
        entry = before.setdefault((used, u), np.full(len(work), np.inf))
        if self._begins(used, u):
            entry[0] = min(
                entry[0], float(self._hop(self.t.units, u, np.zeros(1), np.zeros(1, np.int64), period)[0][0])
            )

    def _hop(self, a: int, b: int, left: Floats, cuts: Ints | slice, period: float) -> tuple[Floats, Ints]:
        """([c] what counts on arrival, [c] by which codec) after a hop at each of ``cuts``; infinite: not allowed."""
        t = self.t
        lag = t.lag[a, b][:, cuts]
        if period == INFEASIBLE:
            arrived = left + lag
        else:
            fits = np.isfinite(lag) & (left + t.out[a, b][:, cuts] <= period) & (t.ahead[a, b][:, cuts] <= period)
            fits &= bool(t.back[a, b] <= period)
            arrived = np.where(fits, t.into[a, b][:, cuts], np.inf)
        codec = arrived.argmin(axis=0)
        return arrived.min(axis=0), codec

    def _spread(
        self,
        before: Table,
        used: Used,
        u: int,
        left: Floats,
        work: Floats,
        period: float,
    ) -> None:
        t = self.t
        for v in range(t.units):
            kind = int(t.kind[v])
            if used[kind] + t.count[v] <= t.have[kind]:
                then = (*used[:kind], used[kind] + int(t.count[v]), *used[kind + 1 :])
                arrived = self._hop(u, v, left, slice(None), period)[0] - work[:, v]
                arrived[-1] = np.inf
                entry = before.get((then, v))
                before[then, v] = arrived if entry is None else np.minimum(entry, arrived)

    def _end(self, used: Used, u: int, left: float, period: float) -> tuple[float, tuple[Used, int, int] | None]:
        if self.t.problem.returns:
            return (left, (used, u, 0)) if left <= period and left < INFEASIBLE else (INFEASIBLE, None)
        last = np.array([self.t.problem.last])
        arrived, codec = self._hop(u, self.t.units, np.array([left]), last, period)
        fits = arrived[0] <= period and arrived[0] < INFEASIBLE
        return (float(arrived[0]), (used, u, int(codec[0]))) if fits else (INFEASIBLE, None)

    def _running_least(self, entry: Floats) -> Floats:
        """[C, g] -> [C, g]: the least entry among all cuts strictly before each cut."""
        least = np.full_like(entry, np.inf)
        if self.t.problem.chain:
            least[1:] = np.minimum.accumulate(entry[:-1], axis=0)
            return least
        upto = entry.copy()
        for cuts, covers, starts in self.levels:
            least[cuts] = np.minimum.reduceat(upto[covers], starts, axis=0)
            upto[cuts] = np.minimum(least[cuts], upto[cuts])
        return least

    def _trace(
        self,
        before: Table,
        end: tuple[Used, int, int],
        work: Floats,
        fixed: Floats,
        period: float,
    ) -> Choice:
        """The choice behind the best end, found again backwards from the values alone."""
        t, p = self.t, self.t.problem
        used, u, codec = end
        units, cuts, codecs = [u], [p.last], [codec]
        while True:
            entry = np.where(_below(p, cuts[-1]), before[used, u], np.inf)
            cut = int(entry.argmin())
            cuts.append(cut)
            kind = int(t.kind[u])
            earlier = (*used[:kind], used[kind] - int(t.count[u]), *used[kind + 1 :])
            if cut == 0:
                codecs.append(int(self._hop(t.units, u, np.zeros(1), np.zeros(1, np.int64), period)[1][0]))
                break
            at = np.array([cut])
            ways = []
            for v in range(t.units):
                if (earlier, v) in before:
                    inside = np.where(_below(p, cut), before[earlier, v], np.inf).min()
                    left = np.array([inside + work[cut, v] + fixed[v]])
                    arrived, by = self._hop(v, u, left, at, period)
                    ways.append((float(arrived[0]), v, int(by[0])))
            _, v, by_codec = min(ways)
            codecs.append(by_codec)
            units.append(v)
            used, u = earlier, v
        taken = [0] * len(t.have)
        nodes = []
        for unit in reversed(units):
            kind, count = int(t.kind[unit]), int(t.count[unit])
            nodes.append(p.types[kind][taken[kind] : taken[kind] + count])
            taken[kind] += count
        return Choice(tuple(nodes), tuple(reversed(cuts)), tuple(reversed(codecs)))


def _below(problem: Problem, cut: int) -> Bools:
    below: Bools = ~np.any(problem.masks & ~problem.masks[cut], axis=1)
    below[cut] = False
    return below


def _levels(covers: tuple[tuple[int, ...], ...]) -> list[tuple[Ints, Ints, Ints]]:
    """Cuts by their distance from the input: (cuts, all their covers in a row, where each one's covers start)."""
    depth = [0] * len(covers)
    for cut, before in enumerate(covers):
        depth[cut] = 1 + max((depth[b] for b in before), default=-1)
    levels: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for cut, level in enumerate(depth):
        levels[level].append(cut)
    return [
        (
            np.array(cuts),
            np.array([b for cut in cuts for b in covers[cut]]),
            np.cumsum([0, *(len(covers[cut]) for cut in cuts[:-1])]),
        )
        for cuts in levels[1:]
    ]


def promising_cuts(problem: Problem, hints: set[int], most: int) -> list[int]:
    """The hinted cuts and, per step of work done, the cut with the narrowest border; in topological order."""
    done = problem.prefix.mean(axis=0)
    step = np.minimum((done / done[-1] * most).astype(int), most - 1)
    order = np.lexsort((problem.border, step))
    firsts = order[np.concatenate([[True], step[order][1:] != step[order][:-1]])]
    return sorted({0, problem.last, *hints, *firsts.tolist()})


def restricted(problem: Problem, cuts: list[int]) -> Problem:
    """The same problem with some of its cuts only; input and output must be among them."""
    fewer = replace(
        problem,
        cuts=tuple(problem.cuts[cut] for cut in cuts),
        masks=problem.masks[cuts],
        covers=((),) * len(cuts),
        complete=False,
        prefix=problem.prefix[:, cuts],
        flops=problem.flops[cuts],
        weight=problem.weight[cuts],
        border=problem.border[cuts],
        size=problem.size[:, cuts],
        encode=problem.encode[:, :, cuts],
        decode=problem.decode[:, :, cuts],
        allowed=problem.allowed[:, cuts],
    )
    order = fewer.order.astype(np.float32)
    direct = (order > 0) & ~((order @ order) > 0)
    covers = tuple(tuple(np.flatnonzero(direct[:, cut]).tolist()) for cut in range(len(cuts)))
    return replace(fewer, covers=covers)
