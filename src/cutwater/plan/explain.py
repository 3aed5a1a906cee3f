"""explain: which resource holds a plan back, and what would move it, found by planning again with that one improved."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cutwater.plan.objective import Objective
from cutwater.plan.plan import Plan
from cutwater.plan.problem import Choice, Floats, Problem
from cutwater.plan.score import resource_name, tally
from cutwater.plan.solve import make_plan
from cutwater.units import Seconds, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One resource, and what twice as much of it would give."""

    resource: str
    """"node NAME", "link A -> B", "medium NAME" or "host NAME"."""
    busy: Seconds
    """Seconds per request it is busy under the plan."""
    value: float
    """The plan's objective as it is: seconds, or requests per second."""
    same: float
    """With twice the resource and the same plan."""
    replanned: float
    """With twice the resource and the plan that is best then."""
    then: str
    """The bottleneck of that plan."""
    aim: str
    """"latency" or "throughput"."""

    def __str__(self) -> str:
        kind = self.resource.partition(" ")[0]
        twice = {"node": "at 2x the speed", "host": "with 2x the cores"}.get(kind, "at 2x the bandwidth")
        show = format_seconds if self.aim == "latency" else _rate
        change = (self.replanned / self.value - 1.0) * 100.0 if self.value else 0.0
        kept = "" if np.isclose(self.same, self.replanned) else f" after planning again ({show(self.same)} as it is)"
        return (
            f"{self.resource} is busy {format_seconds(self.busy)} per request; {twice} {self.aim} becomes "
            f"{show(self.replanned)} ({change:+.0f} %){kept}, then {self.then} is the bottleneck"
        )


def explain(problem: Problem, objective: Objective, plan: Plan, *, most: int = 3) -> list[Advice]:
    """The busiest resources of a plan, the bottleneck first, and what twice of each would give.

    Args:
        problem: What the plan was made for.
        objective: What it was made for.
        plan: A plan of this problem.
        most: How many resources to look at.
    """
    choice = choice_of(problem, plan)
    total = tally(problem, choice)
    value = objective.shown(objective.value(problem, total))
    ranked = sorted(total.resources(), key=lambda entry: -entry[2])
    advice = []
    for kind, key, busy in ranked[:most]:
        richer = improved(problem, kind, key)
        best = make_plan(richer, objective)
        again = choice_of(richer, best)
        advice.append(
            Advice(
                resource=resource_name(problem, kind, key),
                busy=busy,
                value=value,
                same=objective.shown(objective.value(richer, tally(richer, choice))),
                replanned=objective.shown(objective.value(richer, tally(richer, again))),
                then=best.score.bottleneck,
                aim=objective.aim,
            )
        )
    return advice


def choice_of(problem: Problem, plan: Plan) -> Choice:
    """A plan in the indices of its problem. Raises KeyError where it belongs to another problem."""
    cut = {ref.before: k for k, ref in enumerate(problem.cuts)}
    node = {name: k for k, name in enumerate(problem.nodes)}
    codec = {name: k for k, name in enumerate(problem.codecs)}
    return Choice(
        tuple(tuple(node[name] for name in stage.nodes) for stage in plan.stages),
        (cut[plan.stages[0].begin.before], *(cut[stage.end.before] for stage in plan.stages)),
        tuple(codec[name] for name in plan.codecs),
    )


def improved(problem: Problem, kind: str, key: Any, factor: float = 2.0) -> Problem:
    """The problem with ``factor`` times as much of one resource."""
    if kind == "node":
        return _faster_node(problem, key, factor)
    if kind == "link":
        return replace(problem, bandwidth=_scaled(problem.bandwidth, key, factor))
    if kind == "medium":
        wider = np.where(problem.medium == key, problem.bandwidth * factor, problem.bandwidth)
        return replace(problem, media_bandwidth=_scaled(problem.media_bandwidth, key, factor), bandwidth=wider)
    cores = problem.host_cores.copy()
    cores[key] = round(cores[key] * factor)
    return replace(problem, host_cores=cores)


def _faster_node(p: Problem, node: int, factor: float) -> Problem:
    slower = 1.0 / factor
    return replace(
        p,
        prefix=_scaled(p.prefix, node, slower),
        overhead=_scaled(p.overhead, node, slower),
        encode=_scaled(p.encode, node, slower),
        decode=_scaled(p.decode, node, slower),
        send_fixed=_scaled(p.send_fixed, node, slower),
        send_per_byte=_scaled(p.send_per_byte, node, slower),
        receive_fixed=_scaled(p.receive_fixed, (slice(None), node), slower),
        receive_per_byte=_scaled(p.receive_per_byte, (slice(None), node), slower),
    )


def _scaled(array: Floats, at: Any, factor: float) -> Floats:
    changed = array.copy()
    changed[at] *= factor
    return changed


def _rate(per_second: float) -> str:
    return f"{per_second:.3g}/s"
