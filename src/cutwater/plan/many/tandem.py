"""Tandem: when the requests of one group leave it, millions of them per second.

Nodes one after the other, each with one queue in the order of the door. Request i leaves node j at

    C[i, j] = max(C[i, j-1] + hop, C[i-1, j]) + work[i, j]

(Lindley, "The theory of queues with a single server", Proc. Cambridge Phil. Soc. 48(2), 1952, for nodes in tandem),
which for many requests at once is a running maximum: with S the running sum of the work, C = S + max over l <= i of
(ready[l] - S[l-1]). A request that would be too late is refused and leaves no trace. Where nobody is refused that is
all; so whole windows are reckoned at once, and from the first who would be late requests are taken one by one, until
for a while nobody was.
"""

from math import inf

import numpy as np

from cutwater.plan.many.stream import Indices
from cutwater.plan.many.tracks import Track
from cutwater.plan.problem import Floats
from cutwater.units import Seconds

NARROW, WIDE = 256, 8192
"""Requests of a window: the first after a refusal, and at most. Wider ones would not stay in the processor's cache,
and their sums would lose digits."""
BLOCK = 64
"""Requests that are taken one by one before it is asked whether all is calm again."""
CALM = 16
"""Nobody of so many in a row was refused."""


def tandem(track: Track, times: Floats, models: Indices) -> Floats:
    """When each request's answer arrives; infinite: it is refused.

    Exact for nodes that all work in the order of the door. Where hops differ from model to model, requests could pass
    each other between two nodes; that is left out.

    Args:
        track: The group.
        times: [R] when requests come, never falling.
        models: [R] whom they are for; all of them are on the track.
    """
    tables = _Tables(track)
    ends: Floats = np.full(len(times), inf)
    free = [-inf] * track.stages
    at, width, count = 0, NARROW, len(times)
    while at < count:
        until = min(at + width, count)
        left, answered, late = tables.window(times[at:until], models[at:until], free)
        if late is None:
            ends[at:until] = answered
            free = [float(leaving[-1]) for leaving in left]
            at, width = until, min(2 * width, WIDE)
        else:
            if late:
                ends[at : at + late] = answered[:late]
                free = [float(leaving[late - 1]) for leaving in left]
            at, free = _one_by_one(track, times, models, at + late, free, ends)
            width = NARROW
    return ends


class _Tables:
    """A track's costs as arrays by model, or as numbers where there is only one model."""

    def __init__(self, track: Track) -> None:
        size = max(track.costs) + 1
        self.single = len(track.costs) == 1
        self.allowed, self.into = np.zeros(size), np.zeros(size)
        self.work, self.hop = np.zeros((track.stages, size)), np.zeros((track.stages, size))
        for model, costs in track.costs.items():
            self.allowed[model], self.into[model] = costs.allowed, costs.into
            self.work[:, model], self.hop[:, model] = zip(*costs.steps, strict=True)
        self.same_hops = len({(costs.into, *(hop for _, hop in costs.steps)) for costs in track.costs.values()}) == 1
        self.only = next(iter(track.costs))

    def window(self, times: Floats, models: Indices, free: list[Seconds]) -> tuple[list[Floats], Floats, int | None]:
        """Per node when each request leaves it, when its answer arrives, and who is the first that is too late.

        All as if nobody were refused, so it holds up to that one.
        """
        same = self.only if self.same_hops else models
        ready = times + self.into[same]
        left = []
        for work, hop, busy in zip(self.work, self.hop, free, strict=True):
            each = work[models] if not self.single else np.full(len(times), work[self.only])
            total = np.cumsum(each)
            ready -= total
            ready += each
            if ready[0] < busy:
                ready[0] = busy
            np.maximum.accumulate(ready, out=ready)
            ready += total
            left.append(ready)
            ready = ready + hop[same]
        late = ready - times > self.allowed[self.only if self.single else models]
        first = int(late.argmax())
        return left, ready, first if late[first] else None


def _one_by_one(
    track: Track, times: Floats, models: Indices, at: int, free: list[Seconds], ends: Floats
) -> tuple[int, list[Seconds]]:
    """Take requests from ``at`` on until all is calm; returns how far that was, and when the nodes are free then."""
    known = {model: (costs.allowed, costs.into, costs.steps) for model, costs in track.costs.items()}
    calm = 0
    while at < len(times) and calm < CALM:
        block = slice(at, at + BLOCK)
        answers = []
        for when, model in zip(times[block].tolist(), models[block].tolist(), strict=True):
            allowed, into, steps = known[model]
            ready = when + into
            leaving = []
            for busy, (work, hop) in zip(free, steps):  # noqa: B905 - as long as each other, and checked too often
                ready = (ready if ready > busy else busy) + work
                leaving.append(ready)
                ready += hop
            if ready - when > allowed:
                answers.append(inf)
                calm = 0
            else:
                answers.append(ready)
                free = leaving
                calm += 1
        ends[block] = answers
        at += len(answers)
    return at, free
