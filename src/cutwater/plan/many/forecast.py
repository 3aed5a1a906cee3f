"""forecast: what becomes of a stream of requests under a placement; per model, how many answers come in time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutwater.plan.fleet import Node
from cutwater.plan.many.batches import batched
from cutwater.plan.many.door import ENGINE, Door
from cutwater.plan.many.replicas import replicated
from cutwater.plan.many.served import Group, Placement, Replica, Served
from cutwater.plan.many.stream import Stream
from cutwater.plan.many.tandem import tandem
from cutwater.plan.many.tracks import coupled, models_of, tracks
from cutwater.plan.problem import Floats
from cutwater.units import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of one model, or of all of them together."""

    model: str
    asked: int
    answered: int
    """In time; the others were refused at the door."""
    mean: Seconds
    """From the request to its answer, of those answered; NaN where there is none, as for the quantiles."""
    p50: Seconds
    p90: Seconds
    p99: Seconds

    @property
    def attainment(self) -> float:
        """Answers in time over requests; 1 where nobody asked."""
        return self.answered / self.asked if self.asked else 1.0


def latencies(
    placement: Placement, served: Sequence[Served], nodes: Sequence[Node], stream: Stream, door: Door = ENGINE
) -> Floats:
    """[R] seconds from each request to its answer; infinite: it is refused.

    A request is let in where the door predicts an answer within its model's SLO, behind all that were let in before it.
    It goes to the group that answers it first.
    """
    taken: Floats = np.full(len(stream.times), np.inf)
    for groups in coupled(placement):
        which = stream.of(models_of(groups))
        taken[which] = lot_latencies(groups, served, nodes, stream.only(which), door)
    return taken


Kind = tuple[tuple[float, ...], tuple[Replica, ...]]
"""Speeds of a group's nodes and what they run: all that requests can tell groups apart by."""


def kind(group: Group, nodes: Sequence[Node]) -> Kind:
    """Groups of one kind are as good as each other."""
    return tuple(nodes[at].speed for at in group.nodes), tuple(sorted(group.replicas))


def kinds(placement: Placement, nodes: Sequence[Node]) -> tuple[Kind, ...]:
    """Placements of which this is the same are as good as each other."""
    return tuple(sorted(kind(group, nodes) for group in placement.groups if group.replicas))


def lot_latencies(
    groups: Sequence[Group], served: Sequence[Served], nodes: Sequence[Node], stream: Stream, door: Door = ENGINE
) -> Floats:
    """The same for groups that share models with none but each other, and a stream for nobody but these models.

    In which order the groups are given does not matter.
    """
    ways = tracks(sorted(groups, key=lambda group: kind(group, nodes)), served, nodes, door)
    if any(each.batches for each in ways):
        ends = batched(ways, stream.times, stream.models)
    elif len(ways) == 1:
        ends = tandem(ways[0], stream.times, stream.models)
    else:
        ends = replicated(ways, stream.times, stream.models)
    return ends - stream.times


def forecast(
    placement: Placement, served: Sequence[Served], nodes: Sequence[Node], stream: Stream, door: Door = ENGINE
) -> tuple[Forecast, ...]:
    """Of each model, and the last of all together, by the name "all"."""
    taken = latencies(placement, served, nodes, stream, door)
    each = [_figures(model.name, taken[stream.models == k]) for k, model in enumerate(served)]
    return (*each, _figures("all", taken))


def _figures(name: str, taken: Floats) -> Forecast:
    answered = taken[np.isfinite(taken)]
    quantiles = np.quantile(answered, (0.5, 0.9, 0.99)).tolist() if len(answered) else [float("nan")] * 3
    return Forecast(
        model=name,
        asked=len(taken),
        answered=len(answered),
        mean=float(answered.mean()) if len(answered) else float("nan"),
        p50=quantiles[0],
        p90=quantiles[1],
        p99=quantiles[2],
    )
