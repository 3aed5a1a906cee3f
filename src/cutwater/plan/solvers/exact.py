"""exact: the best plan with a proof, on chains and DAGs, for every objective.

A search over labels (`search`) is repeated with more and more of them. Each pass asks only for plans better than the
best one known, so a pass that finds nothing and dropped nothing is the proof. For throughput the period is halved in
on first: can all stages be had within T seconds per request?
"""

import numpy as np

from cutwater.plan.objective import INFEASIBLE, Objective, waits
from cutwater.plan.problem import Choice, Floats, Problem
from cutwater.plan.score import tally
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.plan.solvers.relax import Outlook, outlook, priced_outlook
from cutwater.plan.solvers.search import Found, Search
from cutwater.plan.solvers.sieve import Guard, Sieve
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
        self.grown = 0
        """Labels of all passes so far."""

    def affords(self, width: int, stages: int) -> bool:
        """Whether the effort allows one more pass, should it fill its width at every stage."""
        return width <= WIDTHS[0] or self.grown + 2 * stages * width <= 20 * self.effort.labels

    def offer(self, choice: Choice) -> float:
        """Keep the choice if it is better; of equally good ones the one with less latency. Returns its value."""
        total = tally(self.problem, choice)
        value = self.objective.value(self.problem, total)
        if value < self.value * (1 - TIE):
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
    streams = objective.aim == "throughput" or objective.rate is not None
    limits = host_assumptions(problem) if streams else (None,)
    for limit in limits if problem.types else ():
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
        cost = t.lag if costs else np.zeros_like(t.lag)
        stage = self.alone if costs else np.zeros_like(self.alone)
        load = self._least_load()
        if costs and t.objective.rate is not None:
            cost = cost + self._line_wait()
            stage = stage + t.count[:, None, None] * waits(t.objective.rate, load)
        if period < INFEASIBLE:
            stage = np.where(load <= period, stage, np.inf)
        return priced_outlook(t, stage, self._hop(cost, period), price, rounds=rounds, enough=enough)

    def load_guards(self, period: float) -> list[Guard] | None:
        """Bounds on what completing takes of each shared medium and host; None where that is more than ``period``."""
        t, guards = self.t, []
        possible = self._least_load() <= period
        for d in range(len(t.shared)):
            share = t.host_share[d][:, None, None]
            stage = np.where(possible, np.where(possible, self.busy, 0.0) * share, np.inf)
            least = outlook(t, stage, self._hop(t.shared[d], period), np.zeros(len(t.have)))
            if least.root > period:
                return None
            guards.append(Guard(least, "load", period, load=d))
        return guards

    def _hop(self, cost: Floats, period: float) -> Floats:
        """[V + 1, V + 1, C] the least cost of a hop by any codec that the link carries within ``period``."""
        t = self.t
        legal = np.isfinite(t.lag) & (t.ahead <= period) & (t.back <= period)[:, :, None, None]
        least: Floats = np.where(legal, cost, np.inf).min(axis=2)
        return least

    def _least_load(self) -> Floats:
        """[V, C, C] seconds a stage keeps its node busy at least, the frames on both sides included."""
        into = self.least_into[:, :-1].min(axis=0)
        out = self.least_out[:-1].min(axis=1)
        out[:, -1] = self.least_out[:-1, -1, -1]
        load: Floats = self.busy + into[:, :, None] + out[:, None, :]
        return load

    def _line_wait(self) -> Floats:
        t = self.t
        counts = np.concatenate([t.count, [1]])
        pairs = (counts[:, None] * counts[None, :])[:, :, None, None]
        rate = t.objective.rate or 0.0
        wait: Floats = pairs * (waits(rate, t.ahead) + waits(rate, t.back)[:, :, None, None])
        return wait

    def search(self, period: float, guards: list[Guard], width: int, *, counts_cost: bool) -> Found:
        """One pass, if it can be afforded."""
        most = 64 if self.hunt.objective.aim == "throughput" else 100_000
        if not self.hunt.affords(width, int(self.t.have.sum())):
            return Found([], [], truncated=True)
        sieve = Sieve(self.t, period=period, counts_cost=counts_cost, guards=guards, width=width)
        search = Search(sieve, self.busy, most)
        found = search.run()
        self.hunt.grown += sum(len(labels) for labels in (*search.arrivals, *search.exits))
        return found


class Latency(Aim):
    """Latency, alone or at a given rate."""

    def solve(self) -> float:
        """Improve the hunt's choice; a bound for every choice under these terms."""
        rate = self.t.objective.rate
        period = INFEASIBLE if rate is None else (1.0 - 1e-12) / rate
        price = np.zeros(len(self.t.have))
        ahead = self.outlook(price, period, costs=True, rounds=25, enough=INFEASIBLE)
        loads = self.load_guards(period)
        if loads is None:
            return INFEASIBLE
        for width in self.widths:
            limit = self.hunt.value * (1 - TIE)
            if ahead.root > limit or ahead.root == INFEASIBLE:
                return ahead.root
            guards = [Guard(ahead, "cost", limit), *loads]
            found = self.search(period, guards, width, counts_cost=True)
            self.hunt.offer_all(found)
            if not found.truncated:
                return self.hunt.value
            if not self.hunt.effort.go_on():
                break
        return ahead.root


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
        return self._floor(proven)

    def _floor(self, proven: float) -> float:
        """A period that no plan is below, from bounds alone: what remains to say when labels ran out."""
        high = self.hunt.value
        if high == INFEASIBLE:
            return proven
        low = max(proven, high / (4.0 * float(self.t.have.sum())))
        while high > low * 1.005:
            middle = float(np.sqrt(low * high))
            if self._guards(middle) is None:
                low = proven = middle
            else:
                high = middle
        return proven

    def _first(self) -> float:
        """A period to begin with: twice what the slowest single unit could need, or what a first pass found."""
        self._try(float("1e18"), self.widths[0])
        return self.hunt.value if self.hunt.choice is not None else 1e18

    def _try(self, period: float, width: int) -> tuple[bool, bool]:
        """Whether a pass found a plan within ``period``, and whether its answer is a proof."""
        guards = self._guards(period)
        if guards is None:
            return False, True
        found = self.search(period, guards, width, counts_cost=self.late is not None)
        return self.hunt.offer_all(found), not found.truncated

    def _guards(self, period: float) -> list[Guard] | None:
        """What drops labels that cannot be completed within ``period``; None where no plan can."""
        could = self.outlook(self.price, period, costs=False, rounds=20, enough=1e-9)
        if could.root > 1e-9:
            return None
        self.price = could.price
        loads = self.load_guards(period)
        if loads is None:
            return None
        guards = [Guard(could, "nothing", 1e-9 * float(1.0 + could.price.sum())), *loads]
        if self.late is not None:
            quick = self.outlook(np.zeros(len(self.t.have)), period, costs=True, rounds=10, enough=self.late)
            if quick.root > self.late:
                return None
            guards.append(Guard(quick, "cost", self.late))
        return guards
