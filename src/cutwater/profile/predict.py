"""Stage times from op times, and op times put right by stages that were measured."""

from collections.abc import Sequence
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutwater.cut.cut import Cut
from cutwater.errors import BadFile
from cutwater.graph.graph import Graph
from cutwater.profile.profile import Profile, Sample, StageSample

_ROUNDS = 2000
_SMALLEST_SHARE = 0.05
"""A measured stage keeps at least this share for its ops, whatever the overhead: times stay positive."""


def stage_seconds(profile: Profile, graph: Graph, begin: Cut, end: Cut) -> float:
    """Predicted seconds, alone on the machine, of the stage between two cuts: its ops' times and the overhead.

    Raises:
        BadFile: The profile was taken of another model.
    """
    times = _op_seconds(profile, graph)
    return float(times @ _members(end.before & ~begin.before, len(times))) + profile.stage_overhead


def prefix_seconds(profile: Profile, graph: Graph, cuts: Sequence[Cut]) -> NDArray[np.float64]:
    """Seconds of all ops before each cut, float64 [cuts]; a stage costs the difference and the overhead once.

    Raises:
        BadFile: The profile was taken of another model.
    """
    times = _op_seconds(profile, graph)
    return np.array([times @ _members(cut.before, len(times)) for cut in cuts], np.float64)


def predict_error(profile: Profile) -> float | None:
    """Median relative deviation of predicted from measured stage times; None where no stage was measured."""
    errors = [abs(stage.predicted / stage.seconds.median - 1) for stage in profile.stages]
    return median(errors) if errors else None


def corrected(profile: Profile, graph: Graph, stages: Sequence[StageSample]) -> Profile:
    """A profile whose op times add up to what was measured for ``stages``, which become the profile's.

    Times stay positive and move as little as possible (in relative entropy) from what was measured op by op: ops
    within one measured stage keep their proportions. Where stages overlap and contradict each other, the result is
    the compromise closest to all of them. Method: simultaneous multiplicative algebraic reconstruction (Byrne,
    "Iterative image reconstruction algorithms based on cross-entropy minimization", IEEE Trans. Image Processing
    2(1), 1993).

    Raises:
        BadFile: The profile was taken of another model.
    """
    before = _op_seconds(profile, graph)
    inside = np.array([_members(int(stage.end, 16) & ~int(stage.begin, 16), len(before)) for stage in stages])
    useful = [row for row, members in enumerate(inside) if before @ members > 0]
    if not useful:
        return msgspec.structs.replace(profile, stages=tuple(stages))
    inside = inside[useful]
    wanted = np.array([_without_overhead(stages[row], profile.stage_overhead) for row in useful])
    times = before.copy()
    # Ops in no measured stage have weight 0 everywhere and stay as they are.
    step = 1 / inside.sum(axis=0).max()
    for _ in range(_ROUNDS):
        ratio = wanted / (inside @ times)
        times *= np.exp(step * (np.log(ratio) @ inside))
        if np.abs(ratio - 1).max() < 1e-6:
            break
    scale = np.divide(times, before, out=np.ones_like(times), where=before > 0)
    samples = {op.name: _scaled(profile.ops[op.name], scale[op.index]) for op in graph.ops}
    return msgspec.structs.replace(profile, ops=samples, stages=tuple(stages))


def _op_seconds(profile: Profile, graph: Graph) -> NDArray[np.float64]:
    if profile.model_hash != graph.hash or any(op.name not in profile.ops for op in graph.ops):
        raise BadFile(
            f"the profile of {profile.model!r} was taken of another model, or of this one at other sizes, than "
            f"{graph.name!r}; measure again"
        )
    return np.array([profile.ops[op.name].median for op in graph.ops], np.float64)


def _members(mask: int, count: int) -> NDArray[np.float64]:
    """The bits of a mask over op indices as ones and zeros, float64 [count]."""
    packed = np.frombuffer(mask.to_bytes((count + 7) // 8 or 1, "little"), np.uint8)
    return np.unpackbits(packed, count=count, bitorder="little").astype(np.float64)


def _without_overhead(stage: StageSample, overhead: float) -> float:
    return max(stage.seconds.median - overhead, _SMALLEST_SHARE * stage.seconds.median)


def _scaled(sample: Sample, factor: float) -> Sample:
    return Sample(sample.median * float(factor), sample.spread * float(factor), sample.rounds)
