"""Batches: groups that take several requests of one model at once, request by request.

A request joins the batch that waits last in line, if that is of its model, has room, has not been begun and all in it
still make it; a batch goes through all nodes as one. Otherwise it begins a batch of its own.
"""

from dataclasses import dataclass, field
from math import inf

import numpy as np

from cutwater.plan.many.stream import Indices
from cutwater.plan.many.tracks import Costs, Track
from cutwater.plan.problem import Floats
from cutwater.units import Seconds


@dataclass(slots=True)
class _Line:
    """A group, and the batch that is last in its line."""

    track: Track
    before: list[Seconds]
    """Per node when it is free for that batch."""
    free: list[Seconds]
    """Per node when it is free after it."""
    model: int = -1
    begins: Seconds = -inf
    members: list[int] = field(default_factory=list)
    asked: list[Seconds] = field(default_factory=list)

    def offer(self, model: int, when: Seconds) -> tuple[Seconds, bool, list[Seconds]]:
        """When an answer would arrive (infinite: too late), whether in the last batch, and when the nodes are free."""
        costs = self.track.costs[model]
        if model == self.model and when + costs.into <= self.begins and len(self.members) < costs.batch:
            leaving = _through(costs, self.before, when + costs.into, len(self.members) + 1)
            answer = leaving[-1] + costs.steps[-1][1]
            if answer - self.asked[0] <= costs.allowed:
                return answer, True, leaving
        leaving = _through(costs, self.free, when + costs.into, 1)
        answer = leaving[-1] + costs.steps[-1][1]
        return (answer if answer - when <= costs.allowed else inf), False, leaving

    def take(self, request: int, model: int, when: Seconds, joins: bool, leaving: list[Seconds]) -> None:
        """It is as offered."""
        if not joins:
            self.before, self.model, self.members, self.asked = self.free, model, [], []
            self.begins = max(when + self.track.costs[model].into, self.before[0])
        self.members.append(request)
        self.asked.append(when)
        self.free = leaving


def _through(costs: Costs, free: list[Seconds], ready: Seconds, count: int) -> list[Seconds]:
    leaving = []
    for busy, (work, hop), fixed in zip(free, costs.steps, costs.fixed, strict=True):
        ready = max(ready, busy) + fixed + count * (work - fixed)
        leaving.append(ready)
        ready += hop
    return leaving


def batched(tracks: list[Track], times: Floats, models: Indices) -> Floats:
    """When each request's answer arrives; infinite: it is refused. See `cutwater.plan.many.replicas.replicated`."""
    lines = [_Line(track, [-inf] * track.stages, [-inf] * track.stages) for track in tracks]
    ends: Floats = np.full(len(times), inf)
    for request, (when, model) in enumerate(zip(times.tolist(), models.tolist(), strict=True)):
        offers = [(line.offer(model, when), line) for line in lines if model in line.track.costs]
        (answer, joins, leaving), line = min(offers, key=lambda offer: offer[0][0])
        if answer < inf:
            line.take(request, model, when, joins, leaving)
            ends[line.members] = answer
    return ends
