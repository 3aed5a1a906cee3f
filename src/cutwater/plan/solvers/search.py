"""Search: labels grown stage by stage, that keep all limits exactly; what `exact` and `anytime` find plans with.

Three couplings are kept exactly: the source may run a stage after the first (then the frames of the first hop count on
it: labels that keep this option carry that load, all others give the source up), so may a sink that is another node,
and media and crowded hosts are shared by all stages.
"""

from dataclasses import dataclass, replace

import numpy as np

from cutwater.plan.objective import waiting, waits
from cutwater.plan.problem import RAW, Bools, Choice, Floats, Ints
from cutwater.plan.solvers.labels import Labels, join
from cutwater.plan.solvers.sieve import Sieve
from cutwater.plan.solvers.terms import GIVEN_UP

CHUNK = 4_000_000
"""Elements of the largest temporary array."""
MANY = 5_000
"""Labels of one pair of units from which it pays to thin them before they join the others."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came back with."""

    choices: list[Choice]
    """Complete plans, cheapest first by the search's own arithmetic."""
    costs: list[float]
    truncated: bool
    """Whether promising labels were dropped: what was not found may exist."""


class Search:
    """One search: grow all labels that the sieve keeps.

    Args:
        sieve: What is kept, under which terms.
        busy_stage: [V, C, C] seconds a stage keeps each replica busy; infinite where it is not allowed.
        most_found: Plans of interest.
    """

    def __init__(self, sieve: Sieve, busy_stage: Floats, most_found: int = 64) -> None:
        self.sieve = sieve
        self.t = terms = sieve.terms
        self.busy_stage = busy_stage
        self.period = sieve.period
        self.most_found = most_found
        self.rate = terms.objective.rate
        self.timed = sieve.timed
        self.arrivals: list[Labels] = []
        self.exits: list[Labels] = []
        self.done: list[tuple[float, int, int, int]] = []
        out = np.where(np.isfinite(terms.lag), terms.out, np.inf).min(axis=2)
        self.least_out = out.min(axis=1)
        self.least_out[:, -1] = out[:, -1, -1]

    def wait(self, seconds: Floats) -> Floats:
        """Mean wait before a resource that is busy so many seconds per request; 0 where no rate is given."""
        return np.zeros_like(seconds) if self.rate is None else waits(self.rate, seconds)

    def run(self) -> Found:
        """Grow labels until none is left."""
        limits = self.t.problem.limits
        most = min(limits.max_stages or len(self.t.problem.nodes), int(self.t.have.sum()))
        arrived = self._begin()
        for stage in range(most):
            arrived = self.sieve.narrow(self.sieve.undominated(arrived, first=stage == 0), left=False)
            self.arrivals.append(arrived)
            left = self.sieve.narrow(self.sieve.undominated(self._leave(arrived), first=stage == 0), left=True)
            self.exits.append(left)
            if stage + 1 >= limits.min_stages:
                self._finish(left, stage)
            if stage + 1 == most or not len(left):
                break
            arrived = self._hop(left, stage)
            if not len(arrived):
                break
        self.done.sort()
        kept = self.done[: self.most_found]
        lost = self.sieve.truncated or (self.sieve.counts_cost and len(self.done) > len(kept))
        return Found([self._trace(*end[1:]) for end in kept], [end[0] for end in kept], lost)

    def _units_at(self, stage: int) -> list[int]:
        pin = self.t.problem.limits.pins.get(stage)
        return [u for u in range(self.t.units) if pin is None or int(self.t.node[u]) == pin]

    def _begin(self) -> Labels:
        t, inside = self.t, self.t.units
        parts = []
        for unit in self._units_at(0):
            rows = np.flatnonzero(np.isfinite(t.lag[inside, unit, :, 0]))
            at_home = int(t.kind[unit]) == t.source_kind
            used = int(t.count[unit] * t.stride[t.kind[unit]])
            lag, out = t.lag[inside, unit, rows, 0], t.out[inside, unit, rows, 0]
            ahead = t.ahead[inside, unit, rows, 0]
            back = t.back[inside, unit]
            fits = (out <= self.period) & (np.maximum(ahead, back) <= self.period)
            rows, lag, out, ahead = rows[fits], lag[fits], out[fits], ahead[fits]
            cost = lag + self._line_wait(unit, inside, ahead, back)
            none = np.full(len(rows), -1)
            loads = np.zeros((len(rows), len(t.shared) + 2))
            loads[:, :-2] = t.shared[:, inside, unit, rows, 0].T
            whole = np.zeros(len(rows), np.int64)
            entered = Labels(
                whole + used, whole + unit, whole, cost, t.into[inside, unit, rows, 0].copy(), loads, none, none, rows
            )
            if at_home or t.source_kind < 0 or not self.timed:
                parts.append(entered if at_home else replace(entered, cost=cost + self.wait(out)))
                continue
            keeps = loads.copy()
            keeps[:, -2] = out
            parts.append(
                replace(entered, used=whole + used + GIVEN_UP * t.stride[t.source_kind], cost=cost + self.wait(out))
            )
            parts.append(replace(entered, loads=keeps, first=rows))
        return self.sieve.within(join(parts, len(t.shared) + 2), left=False)

    def _line_wait(self, a: int, b: int, ahead: Floats, back: float) -> Floats:
        t = self.t
        pairs = (int(t.count[a]) if a < t.units else 1) * (int(t.count[b]) if b < t.units else 1)
        wait: Floats = pairs * (self.wait(ahead) + self.wait(np.asarray(back)))
        return wait

    def _leave(self, arrived: Labels) -> Labels:
        """Every way to end the stage that each label stands in."""
        t, parts = self.t, []
        cuts = self.busy_stage.shape[1]
        for unit in np.unique(arrived.unit).tolist():
            mine = np.flatnonzero(arrived.unit == unit)
            least_out = self.least_out[unit] if self.timed else np.zeros(cuts)
            prefix = t.compute(unit)
            for begin in range(0, len(mine), max(1, CHUNK // cuts)):
                some = mine[begin : begin + max(1, CHUNK // cuts)]
                busy = self.busy_stage[unit, arrived.cut[some]] + arrived.busy[some, None]
                fits = busy + least_out <= self.period if self.timed else np.isfinite(busy)
                cost = arrived.cost[some, None] + t.problem.overhead[t.node[unit]]
                cost = cost + (prefix[None, :] - prefix[arrived.cut[some]][:, None])
                fits &= self.sieve.promising(arrived, some, unit, cost)
                row, cut = np.nonzero(fits)
                from_ = some[row]
                loads = arrived.loads[from_]
                if len(t.shared):
                    worked = self.busy_stage[unit, arrived.cut[from_], cut]
                    loads = loads.copy()
                    loads[:, :-2] += worked[:, None] * t.host_share[:, unit]
                parts.append(
                    replace(
                        arrived.take(from_),
                        cut=cut,
                        cost=cost[row, cut],
                        busy=busy[row, cut],
                        loads=loads,
                        parent=from_,
                    )
                )
        return self.sieve.within(join(parts, len(t.shared) + 2), left=True)

    def _hop(self, left: Labels, stage: int) -> Labels:
        """Every hop to every unit that is still free."""
        t = self.t
        counts = t.counts(left.used)
        threads = np.where(counts <= t.have, counts, 0) @ t.host_threads
        parts = []
        for unit in np.unique(left.unit).tolist():
            mine = np.flatnonzero((left.unit == unit) & (left.cut < self.busy_stage.shape[1] - 1))
            for target in self._units_at(stage + 1):
                kind, number = int(t.kind[target]), int(t.count[target])
                room = counts[mine, kind] + number <= t.have[kind]
                room &= np.all(threads[mine] + number * t.host_threads[kind] <= t.host_limit, axis=1)
                some = mine[room]
                step = max(1, CHUNK // (4 * len(t.problem.codecs)))
                for begin in range(0, len(some), step):
                    parts.append(self._hop_between(left, some[begin : begin + step], unit, target))
        parts = [part for part in parts if len(part)]
        return join(parts, len(t.shared) + 2)

    def _hop_between(self, left: Labels, some: Ints, unit: int, target: int) -> Labels:
        t = self.t
        cut = left.cut[some]
        lag = t.lag[unit, target][:, cut].T
        out = t.out[unit, target][:, cut].T
        ahead = t.ahead[unit, target][:, cut].T
        busy = left.busy[some, None] + out
        keep = np.isfinite(lag)
        if self.timed:
            keep &= (busy <= self.period) & (ahead <= self.period)
            keep &= t.back[unit, target] <= self.period
        row, codec = np.nonzero(keep)
        from_ = some[row]
        cut = cut[row]
        entry = t.into[unit, target][codec, cut]
        loads = left.loads[from_].copy()
        loads[:, :-2] += t.shared[:, unit, target, codec, cut].T
        cost = left.cost[from_] + lag[row, codec]
        ended, ahead = busy[row, codec], ahead[row, codec]
        if self.timed:
            if int(t.kind[unit]) == t.sink_kind:
                loads[:, -1] = ended
            else:
                cost = cost + self._ended_wait(unit, ended)
            cost = cost + self._line_wait(unit, target, ahead, float(t.back[unit, target]))
        fits = np.ones(len(row), bool)
        if int(t.kind[target]) == t.source_kind:
            entry = entry + loads[:, -2]
            loads[:, -2] = 0.0
            direct = left.first[from_]
            if np.any(direct >= 0):
                extra, fits = self._same_line(unit, target, direct, ahead)
                cost = cost + extra
        arrived = Labels(
            left.used[from_] + int(t.count[target] * t.stride[t.kind[target]]),
            np.full(len(row), target), cut, cost, entry, loads, np.full(len(row), -1), from_, codec,
        )  # fmt: skip
        guarded = self.sieve.within(arrived if fits.all() else arrived.take(np.flatnonzero(fits)), left=False)
        return guarded if len(guarded) < MANY else self.sieve.undominated(guarded, first=False)

    def _ended_wait(self, unit: int, ended: Floats) -> Floats:
        wait: Floats = int(self.t.count[unit]) * self.wait(ended)
        return wait

    def _same_line(self, unit: int, source: int, first: Ints, ahead: Floats) -> tuple[Floats, Bools]:
        """Source -> first stage -> source: both hops use both directions of one link.

        Returns:
            What waiting grows beyond that of the hops taken apart, and whether the link can carry both.
        """
        t = self.t
        out_way = t.ahead[t.units, unit, first, 0]
        answer_first, answer_next = float(t.back[t.units, unit]), float(t.back[unit, source])
        home, away = ahead + answer_first, out_way + answer_next
        fits = (home <= self.period) & (away <= self.period)
        apart = self.wait(ahead) + self.wait(out_way) + self.wait(np.full(1, answer_first)) + self.wait(
            np.full(1, answer_next)
        )  # fmt: skip
        together = self.wait(home) + self.wait(away)
        with np.errstate(invalid="ignore"):
            extra = int(t.count[unit]) * np.where(fits, together - apart, 0.0)
        return extra, fits

    def _finish(self, left: Labels, stage: int) -> None:
        """Keep the labels that reached the output, with their hop to the sink."""
        t, inside = self.t, self.t.units
        for at in np.flatnonzero((left.cut == self.busy_stage.shape[1] - 1) & (left.first < 0)).tolist():
            unit = int(left.unit[at])
            if left.loads[at, -2] > 0:
                continue
            legal = np.flatnonzero(np.isfinite(t.lag[unit, inside, :, -1])).tolist()
            codecs = [RAW] if t.problem.returns else legal
            for codec in codecs:
                self._finish_one(left, stage, at, codec)

    def _finish_one(self, left: Labels, stage: int, at: int, codec: int) -> None:
        t, inside = self.t, self.t.units
        unit = int(left.unit[at])
        busy, cost = float(left.busy[at]), float(left.cost[at])
        if not t.problem.returns:
            way = (unit, inside, codec, -1)
            ahead, into = float(t.ahead[way]), float(t.into[way]) + float(left.loads[at, -1])
            busy, cost = busy + float(t.out[way]), cost + float(t.lag[way])
            loads = left.loads[at, :-2] + t.shared[:, unit, inside, codec, -1]
            if max(ahead, into, float(loads.max(initial=0.0))) > self.period:
                return
            if self.rate is not None:
                cost += int(t.count[unit]) * waiting(self.rate, ahead) + waiting(self.rate, into)
        if busy > self.period:
            return
        if self.rate is not None:
            cost += int(t.count[unit]) * waiting(self.rate, busy)
        self.done.append((cost, stage, at, codec))

    def _trace(self, stage: int, at: int, codec: int) -> Choice:
        """The choice that a finished label stands for."""
        t = self.t
        units: list[int] = []
        cuts: list[int] = []
        codecs = [codec]
        for level in range(stage, -1, -1):
            exit_ = self.exits[level]
            units.append(int(exit_.unit[at]))
            cuts.append(int(exit_.cut[at]))
            arrived = int(exit_.parent[at])
            codecs.append(int(self.arrivals[level].codec[arrived]))
            at = int(self.arrivals[level].parent[arrived])
        taken = [0] * len(t.have)
        nodes = []
        for unit in reversed(units):
            kind, count = int(t.kind[unit]), int(t.count[unit])
            nodes.append(t.problem.types[kind][taken[kind] : taken[kind] + count])
            taken[kind] += count
        return Choice(tuple(nodes), (0, *reversed(cuts)), tuple(reversed(codecs)))
