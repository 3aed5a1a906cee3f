"""exact: the best plan with a proof, on chains and DAGs, for every objective.

A search over labels (`labels`) is repeated with more and more of them. Each pass asks only for plans better than the
best one known, so a pass that finds nothing and dropped nothing is the proof. For throughput the period is halved in
on first: can all stages be had within T seconds per request?
"""

import numpy as np

from cutwater.plan.objective import INFEASIBLE, Objective, waits
from cutwater.plan.problem import Choice, Floats, Problem
from cutwater.plan.score import tally
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.plan.solvers.labels import Found, Guard, Search
from cutwater.plan.solvers.relax import Outlook, priced_outlook
from cutwater.plan.solvers.terms import Terms, host_assumptions, make_terms

TIE = 1e-9
"""Plans closer than this, relatively, count as equally good."""
WIDTHS = (200, 2_000, 20_000)
"""Labels per stage of the passes before the last one."""


class Hunt:
    """The best choice so far, and the passes that improve it."""

    def __init__(self, problem: Problem, objective: Objective, effort: Effort) -> None:
        self.problem, self.objective, self.effort = problem, objective, effort
        self.choice: Choice | None = None
        self.value = INFEASIBLE
        self.latency = INFEASIBLE
        self.passes: list[tuple[float, int, bool, bool]] = []

    def offer(self, choice: Choice) -> float:
        """Keep the choice if it is better; of equally good ones the one with less latency. Returns its value."""
        total = tally(self.problem, choice)
        value = self.objective.value(self.problem, total)
        if value < INFEASIBLE and (value, total.latency) < (self.value * (1 - TIE), 0.0):
            self.choice, self.value, self.latency = choice, value, total.latency
        elif value <= self.value * (1 + TIE) and value < INFEASIBLE and total.latency < self.latency:
            self.choice, self.value, self.latency = choice, min(value, self.value), total.latency
        return value

    def offer_all(self, found: Found) -> bool:
        """Whether any of them is better than what was known."""
        before = self.value
        for choice, cost in zip(found.choices, found.costs, strict=True):
            if self.objective.aim == "latency" and cost >= self.value:
                break
            self.offer(choice)
        return self.value < before


def exact(problem: Problem, objective: Objective, effort: Effort) -> Solution:
    """The best choice, proven to be so unless the effort's labels run out."""
    hunt = Hunt(problem, objective, effort)
    bounds = [] if problem.types else [INFEASIBLE]
    for limit in host_assumptions(problem) if problem.types else ():
        terms = make_terms(problem, objective, limit)
        aim = Period(hunt, terms) if objective.aim == "throughput" else Latency(hunt, terms)
        bounds.append(aim.solve())
    return Solution(hunt.choice, hunt.value, min(hunt.value, *bounds), "exact")


class Aim:
    """What the two aims share: the matrices of one set of terms."""

    def __init__(self, hunt: Hunt, terms: Terms) -> None:
        self.hunt, self.t = hunt, terms
        p = terms.problem
        allowed = np.broadcast_to(p.order, (terms.units, *p.order.shape)).copy()
        for unit in range(terms.units):
            fits = terms.memory_allows(unit)
            if fits is not None:
                allowed[unit] &= fits
        prefix = p.prefix[terms.node]
        alone = prefix[:, None, :] - prefix[:, :, None] + p.overhead[terms.node][:, None, None]
        self.alone: Floats = np.where(allowed, alone, np.inf)
        self.busy: Floats = self.alone * (terms.factor / terms.count)[:, None, None]
        legal = np.isfinite(terms.lag)
        self.least_out = np.where(legal, terms.out, np.inf).min(axis=2)
        self.least_into = np.where(legal, terms.into, np.inf).min(axis=2)
        self.widths = (*(w for w in WIDTHS if w < hunt.effort.labels), hunt.effort.labels)

    def outlook(self, price: Floats, period: float, *, costs: bool, rounds: int, enough: float) -> Outlook:
        """Bounds on completing within ``period``, on cost or on mere possibility."""
        t = self.t
        legal = np.isfinite(t.lag) & (t.ahead <= period) & (t.back <= period)[:, :, None, None]
        cost = t.lag if costs else np.zeros_like(t.lag)
        if costs and t.objective.rate is not None:
            cost = cost + self._line_wait()
        hop = np.where(legal, cost, np.inf).min(axis=2)
        if period < INFEASIBLE:
            into = self.least_into[:, :-1].min(axis=0)
            out = self.least_out[:-1].min(axis=1)
            load = self.busy + into[:, :, None] + out[:, None, :]
            load[:, :, -1] = (self.busy + into[:, :, None])[:, :, -1] + self.least_out[:-1, -1, -1][:, None]
            stage = np.where(load <= period, self.alone if costs else 0.0, np.inf)
            if costs and t.objective.rate is not None:
                stage = stage + t.count[:, None, None] * waits(t.objective.rate, load)
        else:
            stage = self.alone
        return priced_outlook(t, stage, hop, price, rounds=rounds, enough=enough)

    def _line_wait(self) -> Floats:
        t = self.t
        counts = np.concatenate([t.count, [1]])
        pairs = (counts[:, None] * counts[None, :])[:, :, None, None]
        rate = t.objective.rate or 0.0
        wait: Floats = pairs * (waits(rate, t.ahead) + waits(rate, t.back)[:, :, None, None])
        return wait

    def search(self, period: float, guards: list[Guard], width: int, *, counts_cost: bool) -> Found:
        """One pass."""
        most = 64 if self.hunt.objective.aim == "throughput" else 100_000
        found = Search(
            self.t, self.busy, period=period, counts_cost=counts_cost, guards=guards, width=width, most_found=most
        ).run()
        self.hunt.passes.append((period, width, bool(found.choices), found.truncated))
        return found


class Latency(Aim):
    """Latency, alone or at a given rate."""

    def solve(self) -> float:
        """Improve the hunt's choice; a bound for every choice under these terms."""
        rate = self.t.objective.rate
        period = INFEASIBLE if rate is None else (1.0 - 1e-12) / rate
        price = np.zeros(len(self.t.have))
        outlook = self.outlook(price, period, costs=True, rounds=25, enough=INFEASIBLE)
        for width in self.widths:
            limit = self.hunt.value * (1 - TIE)
            if outlook.root > limit or outlook.root == INFEASIBLE:
                return outlook.root
            guards = [Guard(outlook, "cost", limit)]
            found = self.search(period, guards, width, counts_cost=True)
            self.hunt.offer_all(found)
            if not found.truncated:
                return self.hunt.value
            if not self.hunt.effort.go_on():
                break
        return outlook.root


class Period(Aim):
    """Throughput, with or without a latency bound."""

    def solve(self) -> float:
        """Improve the hunt's choice; a bound on the period of every choice under these terms."""
        t = self.t
        work = t.problem.prefix[t.node, -1] + t.problem.overhead[t.node]
        self.price = np.zeros(len(t.have))
        self.price[t.kind] = work.min() / work
        self.late = t.objective.latency_bound
        proven, high = 0.0, self.hunt.value
        if high == INFEASIBLE:
            high = self._first()
        low = high / (4.0 * float(t.have.sum()))
        for width in self.widths:
            while high > low * 1.003 and self.hunt.choice is not None:
                middle = float(np.sqrt(low * high))
                success, proof = self._try(middle, width)
                if success:
                    high = min(high, self.hunt.value)
                else:
                    low = middle
                    proven = max(proven, middle) if proof else proven
            while True:
                limit = min(self.hunt.value, high) * (1 - TIE)
                success, proof = self._try(limit, width)
                if proof and not success:
                    return self.hunt.value
                if not success:
                    break
                high = self.hunt.value
            if not self.hunt.effort.go_on():
                break
            low = max(proven, high * 0.97)
        return proven

    def _first(self) -> float:
        """A period to begin with: twice what the slowest single unit could need, or what a first pass found."""
        self._try(float("1e18"), self.widths[0])
        return self.hunt.value if self.hunt.choice is not None else 1e18

    def _try(self, period: float, width: int) -> tuple[bool, bool]:
        """Whether a pass found a plan within ``period``, and whether its answer is a proof."""
        could = self.outlook(self.price, period, costs=False, rounds=20, enough=1e-9)
        if could.root > 1e-9:
            return False, True
        self.price = could.price
        guards = [Guard(could, "nothing", 1e-9 * float(1.0 + could.price.sum()))]
        if self.late is not None:
            quick = self.outlook(np.zeros(len(self.t.have)), period, costs=True, rounds=10, enough=self.late)
            if quick.root > self.late:
                return False, True
            guards.append(Guard(quick, "cost", self.late))
        found = self.search(period, guards, width, counts_cost=self.late is not None)
        return self.hunt.offer_all(found), not found.truncated
