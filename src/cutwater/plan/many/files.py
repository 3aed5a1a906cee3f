"""ManyPlan: a placement of many models with all that is needed to bring it up; a file that people can read."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cutwater.errors import BadFile
from cutwater.plan.fleet import Node
from cutwater.plan.many.choose import Placed
from cutwater.plan.many.forecast import Forecast
from cutwater.plan.many.served import Served, held
from cutwater.units import NodeId, Seconds

VERSION = 1


class Predicted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of the requests of one model, or of all."""

    asked: int
    answered: int
    """In time."""
    mean: Seconds | None
    """From a request to its answer, of those answered; None where there is none, as for the quantiles."""
    p50: Seconds | None
    p90: Seconds | None
    p99: Seconds | None

    @property
    def attainment(self) -> float:
        """Answers in time over requests; 1 where nobody asked."""
        return self.answered / self.asked if self.asked else 1.0


class Way(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pipeline of a model."""

    cuts: tuple[str, ...]
    """Between its stages, as `cutwater.cut.lattice.find_cut` reads them."""
    places: tuple[NodeId, ...]
    """Node of the first, second, ... stage; each at most once."""
    seconds: tuple[Seconds, ...]
    """Per stage what its node works for one request, as predicted."""
    latency: Seconds
    """Of a request that is alone, hops included."""
    batch: int = 1
    """Most requests of a batch."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not self.places or len(set(self.places)) < len(self.places):
            raise ValueError("a pipeline has a node for each stage, and each of them once")
        if not len(self.places) == len(self.cuts) + 1 == len(self.seconds):
            raise ValueError(f"{len(self.cuts)} cuts do not make {len(self.places)} stages")


class PlannedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model, and how it is served."""

    name: str
    slo: Seconds
    """What a request's answer is worth waiting for; its timeout, where a client does not say."""
    ways: tuple[Way, ...]
    """One for each replica; empty: nobody serves it."""
    predicted: Predicted

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not self.slo > 0:
            raise ValueError("an SLO is above zero")


class ManyPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who runs what with whom, and what that is predicted to do."""

    version: int = VERSION
    method: str
    models: tuple[PlannedModel, ...]
    groups: tuple[tuple[NodeId, ...], ...]
    """Nodes that serve the same models, in the order of the stages."""
    memory: dict[NodeId, int]
    """Bytes per node; weights that are shared count once."""
    predicted: Predicted
    """Of all models together."""
    simulated: float | None = None
    """Share in time by the engine in virtual time; None: it was not asked."""
    requests: int = 0
    """So many were simulated."""
    baselines: dict[str, float] = {}
    """What share in time each of them is predicted to have, on the same arrivals."""
    baselines_simulated: dict[str, float] = {}
    """And has by the engine in virtual time, where it came near."""


def many_plan(placed: Placed, served: Sequence[Served], nodes: Sequence[Node], requests: int = 0) -> ManyPlan:
    """What was decided, by names. ``requests``: of each trial, where there was one."""
    placement, names = placed.placement, [node.name for node in nodes]
    simulated = placed.finalists[0].tried if placed.finalists else None
    used = [group for group in placement.groups if group.replicas]
    ways: list[list[Way]] = [[] for _ in served]
    for group in used:
        speeds = [nodes[at].speed for at in group.nodes]
        for replica in group.replicas:
            candidate = served[replica.model].candidates[replica.candidate]
            seconds = tuple(each / speed for each, speed in zip(candidate.seconds, speeds, strict=True))
            way = Way(
                cuts=candidate.cuts,
                places=tuple(names[at] for at in group.nodes),
                seconds=seconds,
                latency=sum(seconds) + sum(candidate.hops),
                batch=candidate.batch,
            )
            ways[replica.model].append(way)
    return ManyPlan(
        method=placed.method,
        models=tuple(
            PlannedModel(name=model.name, slo=model.slo, ways=tuple(found), predicted=_predicted(forecast))
            for model, found, forecast in zip(served, ways, placed.forecasts, strict=False)
        ),
        groups=tuple(tuple(names[at] for at in group.nodes) for group in used),
        memory={
            names[at]: round(held(served, group.replicas, stage))
            for group in used
            for stage, at in enumerate(group.nodes)
        },
        predicted=_predicted(placed.forecasts[-1]),
        simulated=simulated,
        requests=0 if simulated is None else requests,
        baselines={name: each.attainment for name, each in placed.baselines.items()},
        baselines_simulated={
            name: each.tried
            for name, baseline in placed.baselines.items()
            for each in placed.finalists
            if each.placement == baseline.placement and each.tried is not None
        },
    )


def _predicted(of: Forecast) -> Predicted:
    if not of.answered:
        return Predicted(asked=of.asked, answered=0, mean=None, p50=None, p90=None, p99=None)
    return Predicted(asked=of.asked, answered=of.answered, mean=of.mean, p50=of.p50, p90=of.p90, p99=of.p99)


def save_many(plan: ManyPlan, path: Path) -> None:
    """Write it so that `load_many` gives an equal one. Raises BadFile where the file cannot be written."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def load_many(path: Path) -> ManyPlan:
    """The placement in ``path``. Raises BadFile, with line or field."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror}") from error
    try:
        plan = msgspec.json.decode(content, type=ManyPlan)
    except msgspec.ValidationError as error:
        raise BadFile(f"{path}: {error}") from error
    except msgspec.DecodeError as error:
        raise BadFile(f"{path}: not JSON: {error}") from error
    if plan.version != VERSION:
        raise BadFile(f"{path}: version {plan.version} of the form is not {VERSION}, which is known; plan again")
    return plan
