"""plan_many: models, nodes and arrivals in; who runs what with whom out, beside what the baselines would do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cutwater.errors import InputError, did_you_mean
from cutwater.plan.fleet import Fleet, Node
from cutwater.plan.many.baselines import BASELINES, greedy
from cutwater.plan.many.batch_limits import has_choice, with_batches
from cutwater.plan.many.buckets import buckets
from cutwater.plan.many.door import ENGINE, Door
from cutwater.plan.many.forecast import Forecast, forecast, kinds
from cutwater.plan.many.judge import Judge
from cutwater.plan.many.search import search
from cutwater.plan.many.served import Placement, Served
from cutwater.plan.many.stream import Stream, merged
from cutwater.plan.problem import Floats
from cutwater.plan.solvers.base import Effort

ANYTIME = "anytime"
METHODS = (*BASELINES, ANYTIME)
SAMPLE, EACH = 20_000, 400
"""Requests that a search looks at, where nobody says: so many, but for each model at least so many on average."""
WINDOWS = 4
"""A search looks at so many runs of requests, far from each other: single requests would not be bursts."""
NEAR = 0.1
"""By how much less than the best one's a baseline's prediction may be for a trial to find it the best after all."""
STARTED, SEARCHED = 0.2, 0.9
"""How far it is when a search begins, and when it ends."""
Trial = Callable[[Placement], float | None]
"""The attainment of a placement by a closer look, which would be too slow for a search; None: it was not looked at."""
Told = Callable[[str, float], None]
"""Hears what is being done, and the share of all that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """One of the placements between which is decided in the end."""

    method: str
    """That made it."""
    placement: Placement
    attainment: float
    """Predicted, on all arrivals."""
    tried: float | None
    """By the trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A placement, with what it is predicted to do on all arrivals."""

    method: str
    placement: Placement
    """Its nodes are indices of the fleet's, its models of those served."""
    forecasts: tuple[Forecast, ...]
    """Per model, and of all together."""
    baselines: "Mapping[str, Placed]" = field(default_factory=dict)
    """What each of them comes to on the same arrivals; those of a baseline itself are empty."""
    finalists: tuple[Finalist, ...] = ()
    """The last few, the chosen one first."""
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
    alike: bool = False,
    sample: int | None = None,
    afterwards: Callable[[], bool] = lambda: True,
    trial: Trial = lambda placement: None,
    told: Told = lambda what, share: None,
) -> Placed:
    """The best placement that a method finds; "anytime" never does worse than any baseline on these arrivals.

    Of its last few placements, none of which is predicted to do worse than the best baseline, and the baselines that
    come near, it takes the one that does best in ``trial``; without one, the one that is predicted to do best.

    Args:
        served: The models.
        fleet: The nodes; what links cost is in the models' candidates.
        arrivals: Per model when its requests come, in seconds.
        method: One of `METHODS`.
        effort: Chance, the number of steps, and whether there is time left, asked between steps.
        door: How it is decided who comes in.
        alike: All replicas of a model are cut alike, as those of one deployment are.
        sample: Requests that a search looks at; the last few placements are judged on all. None: `SAMPLE`, `EACH`.
        afterwards: Whether there is time left for what follows the search: the choice of batches.
        trial: A closer look, such as the engine itself in virtual time.
        told: Hears how far it is.

    Raises:
        InputError: There is no such method, or there are not as many arrivals as models.
    """
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}{did_you_mean(method, METHODS)}")
    if len(arrivals) != len(served):
        raise InputError(f"{len(served)} models are served, but arrivals are given for {len(arrivals)}")
    effort = effort or Effort(rng=np.random.default_rng(0))
    stream = merged(arrivals)
    sample = max(SAMPLE, EACH * len(served)) if sample is None else sample
    judge = Judge(served, fleet.nodes, sampled(stream, sample), door, alike=alike)

    def placed(name: str, placement: Placement) -> Placed:
        figures = forecast(placement, served, fleet.nodes, stream, door)
        return Placed(method=name, placement=placement, forecasts=figures, judged=judge.lots)

    if method == ANYTIME:
        made, news = _searched(judge, effort, told)
    else:
        told(method, 0.0)
        made, news = {method: BASELINES[method](judge, effort.go_on)}, []
    if has_choice(served):
        told("batches", SEARCHED)
        news = [with_batches(judge, each, afterwards) for each in news]
        made = {name: with_batches(judge, each, afterwards) for name, each in made.items()}
    known = {name: placed(name, each) for name, each in made.items()}
    if method == ANYTIME:
        few = _few([placed(ANYTIME, each) for each in news], list(known.values()), fleet.nodes)
    else:
        few = [known[method]]
    few, finalists = _tried(few, trial, told)
    baselines = known if method == ANYTIME else {}
    return replace(few[0], method=method, baselines=baselines, finalists=finalists, judged=judge.lots)


def _searched(judge: Judge, effort: Effort, told: Told) -> tuple[dict[str, Placement], list[Placement]]:
    """The baselines, and the best few that a search finds from there and is not a baseline."""
    made = {}
    for k, (name, make) in enumerate(BASELINES.items()):
        told(name, STARTED * k / len(BASELINES))
        made[name] = make(judge, effort.go_on)
    told("buckets", STARTED)
    starts = list(made.values())
    if any(node.memory is not None for node in judge.nodes):
        starts.append(greedy(judge.thrifty(), effort.go_on))
    found = search(
        judge,
        [*starts, *buckets(judge, effort.go_on)],
        effort,
        lambda s: told("searching", STARTED + s * (SEARCHED - STARTED)),
    )
    known = {kinds(each, judge.nodes) for each in made.values()}
    return made, [each for each in found if kinds(each, judge.nodes) not in known]


def _worth(placed: Placed) -> tuple[int, float]:
    """Greater is better: more answers in time, then sooner ones."""
    together = placed.forecasts[-1]
    return together.answered, -together.mean if together.answered else 0.0


def _few(found: Sequence[Placed], baselines: Sequence[Placed], nodes: Sequence[Node]) -> list[Placed]:
    """Who does as well as the best baseline at least, and the baselines that come near it; the best first."""
    best = max(baselines, key=_worth)
    least = best.forecasts[-1].answered
    few = [each for each in found if each.forecasts[-1].answered >= least]
    near = {kinds(b.placement, nodes): b for b in baselines[::-1] if b.attainment >= best.attainment - NEAR}
    return sorted([*near.values(), *few], key=_worth)[::-1]


def _tried(few: Sequence[Placed], trial: Trial, told: Told) -> tuple[list[Placed], tuple[Finalist, ...]]:
    """The few, those that do best in the trial first; of those that do equally well the order stays."""
    tried: list[float | None] = []
    for k, each in enumerate(few):
        told(f"trial {k + 1} of {len(few)}", SEARCHED + k * (1.0 - SEARCHED) / len(few))
        tried.append(trial(each.placement))
    order = sorted(range(len(few)), key=lambda k: -(tried[k] or 0.0))
    ordered = [few[k] for k in order]
    return ordered, tuple(
        Finalist(method=each.method, placement=each.placement, attainment=each.attainment, tried=tried[k])
        for k, each in zip(order, ordered, strict=True)
    )


def sampled(stream: Stream, count: int) -> Stream:
    """About ``count`` of the requests, in a few runs without gaps."""
    total = len(stream.times)
    if total <= count:
        return stream
    run = max(count // WINDOWS, 1)
    starts = np.linspace(0, total - run, WINDOWS).astype(np.intp)
    return stream.only(np.unique(np.concatenate([np.arange(start, start + run) for start in starts])))
