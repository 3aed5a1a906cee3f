"""Objective: what a plan is to be good at, as a number to make small."""

import re
from dataclasses import dataclass

import numpy as np

from cutwater.errors import BadQuantity
from cutwater.plan.problem import Floats, Problem
from cutwater.plan.score import Tally
from cutwater.units import Seconds, format_seconds, parse_seconds

INFEASIBLE = float("inf")


@dataclass(frozen=True, slots=True)
class Objective:
    """One of four aims. Its value is seconds and smaller is better: a latency, or the period between requests."""

    aim: str
    """"latency" or "throughput"."""
    latency_bound: Seconds | None = None
    """With "throughput": a request may take no longer."""
    rate: float | None = None
    """With "latency": requests per second that arrive while it is measured."""

    def __str__(self) -> str:
        if self.latency_bound is not None:
            return f"throughput@latency<={format_seconds(self.latency_bound).replace(' ', '')}"
        return self.aim if self.rate is None else f"latency@rate={self.rate:g}"

    def value(self, problem: Problem, total: Tally) -> float:
        """Seconds to make small; infinite where the limit is broken.

        At a given rate each resource is taken as a queue with Poisson arrivals and constant service (M/D/1: mean wait
        ``rate * s**2 / (2 * (1 - rate * s))`` for service time s; Kleinrock, Queueing Systems I, 5.6). The waits at R
        replicas, each seen with a share s / R, add up to the wait at one of them. A shared medium, and a host with
        more threads than cores, is one queue whose service is all that one request asks of it.
        """
        if self.aim == "throughput":
            late = self.latency_bound is not None and total.latency > self.latency_bound
            return INFEASIBLE if late else total.period
        if self.rate is None:
            return total.latency
        if self.rate * total.period >= 1.0:
            return INFEASIBLE
        queues = (s for kind, key, s in total.resources() if kind != "host" or key in total.crowded)
        return total.latency + sum(waiting(self.rate, seconds) for seconds in queues)

    def shown(self, value: float) -> float:
        """The value as people read it: seconds for latency, requests per second for throughput."""
        if self.aim == "latency":
            return value
        return 1.0 / value if value > 0 else float("inf")


def waiting(rate: float, seconds: float) -> float:
    """Mean wait in an M/D/1 queue, in seconds; infinite when the server cannot keep up."""
    load = rate * seconds
    return INFEASIBLE if load >= 1.0 else load * seconds / (2.0 * (1.0 - load))


def waits(rate: float, seconds: Floats) -> Floats:
    """`waiting` for many queues."""
    load = np.minimum(rate * seconds, 1.0 - 1e-12)
    wait: Floats = np.where(rate * seconds < 1.0, load * seconds / (2.0 * (1.0 - load)), INFEASIBLE)
    return wait


_FORM = re.compile(r"^(latency|throughput)(?:@(latency\s*<=?|rate\s*=)\s*(.+))?$")
_EXAMPLES = "'latency', 'throughput', 'throughput@latency<=50ms' or 'latency@rate=20'"


def parse_objective(text: str) -> Objective:
    """An objective from text. Raises BadQuantity."""
    match = _FORM.match(text.strip())
    if match is None:
        raise BadQuantity(f"{text!r} is not an objective; write {_EXAMPLES}")
    aim, limit, amount = match.groups()
    if limit is None:
        return Objective(aim)
    if (aim, limit[0]) == ("throughput", "l"):
        return Objective(aim, latency_bound=parse_seconds(amount))
    if (aim, limit[0]) == ("latency", "r"):
        number = re.sub(r"\s*(/s|per second)$", "", amount)
        try:
            rate = float(number)
        except ValueError:
            raise BadQuantity(f"{amount!r} is not a rate; write it like 'latency@rate=20'") from None
        if not 0 < rate < float("inf"):
            raise BadQuantity(f"a rate must be above zero, not {amount!r}")
        return Objective(aim, rate=rate)
    raise BadQuantity(f"{text!r} is not an objective; write {_EXAMPLES}")
