"""Track: a group as a queue sees it: for each model what its requests wait and work at every node."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cutwater.plan.fleet import Node
from cutwater.plan.many.door import Door
from cutwater.plan.many.served import Group, Placement, Served
from cutwater.units import Seconds


@dataclass(frozen=True, slots=True)
class Costs:
    """What one model's requests cost on a group, in seconds."""

    allowed: Seconds
    """An answer that takes longer is refused at the door."""
    into: Seconds
    """From the door to the first node."""
    steps: tuple[tuple[Seconds, Seconds], ...]
    """Per node: the work for one request, and the hop that follows it (the last: the answer's way back)."""
    fixed: tuple[Seconds, ...]
    """Per node the part of the work that a batch pays once."""
    batch: int
    """Most requests of a batch."""


@dataclass(frozen=True, slots=True)
class Track:
    """A group's costs."""

    stages: int
    costs: dict[int, Costs]
    """By model."""

    @property
    def batches(self) -> bool:
        """Whether any of its models is taken in batches."""
        return any(costs.batch > 1 for costs in self.costs.values())


def tracks(groups: Sequence[Group], served: Sequence[Served], nodes: Sequence[Node], door: Door) -> list[Track]:
    """Groups with their candidates' seconds on their own nodes."""
    ways = Counter(replica.model for group in groups for replica in group.replicas)
    return [_track(group, served, nodes, door, ways) for group in groups]


def _track(group: Group, served: Sequence[Served], nodes: Sequence[Node], door: Door, ways: Mapping[int, int]) -> Track:
    speeds = [nodes[at].speed for at in group.nodes]
    costs = {}
    for replica in group.replicas:
        model = served[replica.model]
        candidate = model.candidates[replica.candidate]
        assert candidate.stages == len(speeds), f"{model.name}: {candidate.stages} stages on {len(speeds)} nodes"
        works = [seconds / speed for seconds, speed in zip(candidate.seconds, speeds, strict=True)]
        fixed = candidate.fixed or (0.0,) * len(speeds)
        costs[replica.model] = Costs(
            allowed=door.allowed(
                model.slo, sum(works) + sum(candidate.hops), max(works) / ways[replica.model], len(works)
            ),
            into=candidate.hops[0],
            steps=tuple(zip(works, candidate.hops[1:], strict=True)),
            fixed=tuple(seconds / speed for seconds, speed in zip(fixed, speeds, strict=True)),
            batch=candidate.batch,
        )
    return Track(len(speeds), costs)


def coupled(placement: Placement) -> list[list[Group]]:
    """The groups in lots that have no model in common; each lot can be looked at by itself."""
    lots: dict[int, list[Group]] = {}
    for group in placement.groups:
        met = {id(lots[model]): lots[model] for model in group.models if model in lots}
        lot, *others = sorted(met.values(), key=len, reverse=True) or [[]]
        for other in others:
            lot += other
        lot.append(group)
        for model in models_of([group, *(each for other in others for each in other)]):
            lots[model] = lot
    return list({id(lot): lot for lot in lots.values()}.values())


def models_of(groups: Iterable[Group]) -> frozenset[int]:
    """Whom any of the groups serves."""
    return frozenset().union(*(group.models for group in groups))
