"""plan_many: models, nodes and arrivals in; who runs what with whom out, beside what the baselines would do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from cutwater.errors import InputError, did_you_mean
from cutwater.plan.fleet import Fleet
from cutwater.plan.many.baselines import BASELINES
from cutwater.plan.many.door import ENGINE, Door
from cutwater.plan.many.forecast import Forecast, forecast
from cutwater.plan.many.greedy import filled
from cutwater.plan.many.judge import Judge, Worth
from cutwater.plan.many.moves import MOVES
from cutwater.plan.many.served import Placement, Served
from cutwater.plan.many.stream import Stream, merged
from cutwater.plan.problem import Floats
from cutwater.plan.solvers.base import Effort

ANYTIME = "anytime"
METHODS = (*BASELINES, ANYTIME)
FINALISTS = 4
"""Placements of a search that are judged on all requests."""
WINDOWS = 4
"""A search looks at so many runs of requests, far from each other: single requests would not be bursts."""
HEAT = 0.003
"""Share of the requests that a search may lose by one step, in the beginning; in the end it loses none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A placement, with what it is predicted to do on all arrivals."""

    method: str
    placement: Placement
    """Its nodes are indices of the fleet's, its models of those served."""
    forecasts: tuple[Forecast, ...]
    """Per model, and of all together."""
    baselines: "Mapping[str, Placed]"
    """What each of them comes to on the same arrivals; those of a baseline itself are empty."""
    judged: int
    """Lots of groups that the search has looked at."""

    @property
    def attainment(self) -> float:
        """Answers in time over all requests."""
        return self.forecasts[-1].attainment


def plan_many(
    served: Sequence[Served],
    fleet: Fleet,
    arrivals: Sequence[Floats],
    *,
    method: str = ANYTIME,
    effort: Effort | None = None,
    door: Door = ENGINE,
    sample: int = 20_000,
) -> Placed:
    """The best placement that a method finds; "anytime" never does worse than any baseline on these arrivals.

    Args:
        served: The models.
        fleet: The nodes; what links cost is in the models' candidates.
        arrivals: Per model when its requests come, in seconds.
        method: One of `METHODS`.
        effort: Chance, the number of steps, and whether there is time left, asked between steps.
        door: How it is decided who comes in.
        sample: Requests that a search looks at; the last few placements are judged on all.

    Raises:
        InputError: There is no such method, or there are not as many arrivals as models.
    """
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}{did_you_mean(method, METHODS)}")
    if len(arrivals) != len(served):
        raise InputError(f"{len(served)} models are served, but arrivals are given for {len(arrivals)}")
    effort = effort or Effort(rng=np.random.default_rng(0))
    stream = merged(arrivals)
    judge = Judge(served, fleet.nodes, sampled(stream, sample), door)

    def placed(name: str, placement: Placement, baselines: Mapping[str, Placed]) -> Placed:
        figures = forecast(placement, served, fleet.nodes, stream, door)
        return Placed(method=name, placement=placement, forecasts=figures, baselines=baselines, judged=judge.lots)

    if method != ANYTIME:
        return placed(method, BASELINES[method](judge, effort.go_on), {})
    baselines = {name: placed(name, make(judge, effort.go_on), {}) for name, make in BASELINES.items()}
    full = Judge(served, fleet.nodes, stream, door)
    found = search(judge, [each.placement for each in baselines.values()], effort)
    best = max([*found, *(each.placement for each in baselines.values())], key=full.worth)
    return placed(ANYTIME, best, baselines)


def sampled(stream: Stream, count: int) -> Stream:
    """About ``count`` of the requests, in a few runs without gaps."""
    total = len(stream.times)
    if total <= count:
        return stream
    run = count // WINDOWS
    starts = np.linspace(0, total - run, WINDOWS).astype(np.intp)
    return stream.only(np.unique(np.concatenate([np.arange(start, start + run) for start in starts])))


def search(judge: Judge, starts: Sequence[Placement], effort: Effort) -> list[Placement]:
    """The best few placements, found from the best start by simulated annealing, the best first.

    (Kirkpatrick, Gelatt, Vecchi, "Optimization by simulated annealing", Science 220, 1983.) Steps are worth the
    requests that are answered in time, or where these stay the same, how soon they are.
    """
    rng = effort.rng
    best = {start: judge.worth(start) for start in starts if start.groups}
    if not best:
        return []
    here = max(best, key=best.__getitem__)
    worth = best[here]
    for step in range(effort.steps):
        if not effort.go_on():
            break
        changed = MOVES[int(rng.integers(len(MOVES)))](judge, here, rng)
        if changed is None:
            continue
        changed, new = filled(judge, changed) if rng.random() < 0.3 else (changed, judge.worth(changed))
        heat = HEAT * len(judge.stream.times) * (1.0 - step / effort.steps)
        if new > worth or rng.random() < _chance(new, worth, heat):
            here, worth = changed, new
        if len(best) < FINALISTS or new > min(best.values()):
            best[changed] = new
            best = dict(sorted(best.items(), key=lambda entry: entry[1], reverse=True)[:FINALISTS])
    return list(best)


def _chance(new: Worth, old: Worth, heat: float) -> float:
    lost = old.answered - new.answered
    return exp(-lost / heat) if lost > 0 and heat > 0.0 else 0.0
