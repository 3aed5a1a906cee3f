"""Replicas: groups that share models, request by request: each goes where its answer is predicted to be first."""

from math import inf

import numpy as np

from cutwater.plan.many.stream import Indices
from cutwater.plan.many.tracks import Track
from cutwater.plan.problem import Floats


def replicated(tracks: list[Track], times: Floats, models: Indices) -> Floats:
    """When each request's answer arrives; infinite: it is refused. Of groups that are as fast the first is taken.

    Exact under the same terms as `cutwater.plan.many.tandem.tandem`.

    Args:
        tracks: The groups.
        times: [R] when requests come, never falling.
        models: [R] whom they are for; each of them is on one of the tracks at least.
    """
    free = [[-inf] * track.stages for track in tracks]
    options = {
        model: [(k, track.costs[model]) for k, track in enumerate(tracks) if model in track.costs]
        for model in set().union(*(track.costs for track in tracks))
    }
    known = {
        model: tuple((k, costs.allowed, costs.into, costs.steps) for k, costs in ways)
        for model, ways in options.items()
    }
    ends = []
    for when, model in zip(times.tolist(), models.tolist(), strict=True):
        first, taken = inf, -1
        for k, allowed, into, steps in known[model]:
            ready = when + into
            leaving = []
            for busy, (work, hop) in zip(free[k], steps):  # noqa: B905 - as long as each other, and checked too often
                ready = (ready if ready > busy else busy) + work
                leaving.append(ready)
                ready += hop
            if ready < first and ready <= when + allowed:
                first, taken, chosen = ready, k, leaving
        if taken < 0:
            ends.append(inf)
        else:
            free[taken] = chosen
            ends.append(first)
    return np.array(ends, np.float64)
