"""Track: a group as a queue sees it: for each model what its requests wait and work at every node."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

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
    works = [_works(group, served, nodes) for group in groups]
    ways = Counter(at for each in works for at in each)
    longer: dict[int, Seconds] = {}
    for each in works:
        slowest = max((max(seconds) for seconds in each.values()), default=0.0)
        for at, seconds in each.items():
            longer[at] = min(longer.get(at, inf), slowest - max(seconds))
    found = []
    for group, each in zip(groups, works, strict=True):
        costs = {}
        for replica in group.replicas:
            model, seconds = served[replica.model], each[replica.model]
            candidate, gap = model.candidates[replica.candidate], max(seconds) / ways[replica.model]
            hops = sum(candidate.hops)
            alone = sum(seconds) + hops
            fixed = candidate.fixed or (0.0,) * candidate.stages
            late, shared = longer[replica.model], len(group.replicas) > 1
            costs[replica.model] = Costs(
                allowed=door.allowed(model.slo, alone, gap, len(seconds), hops=hops, longer=late, shared=shared),
                into=candidate.hops[0],
                steps=tuple(zip(seconds, candidate.hops[1:], strict=True)),
                fixed=tuple(part / nodes[at].speed for part, at in zip(fixed, group.nodes, strict=True)),
                batch=candidate.batch,
            )
        found.append(Track(len(group.nodes), costs))
    return found


def _works(group: Group, served: Sequence[Served], nodes: Sequence[Node]) -> dict[int, list[Seconds]]:
    """Per model what each node of a group works for one request."""
    speeds = [nodes[at].speed for at in group.nodes]
    found = {}
    for replica in group.replicas:
        candidate = served[replica.model].candidates[replica.candidate]
        assert candidate.stages == len(speeds), f"{served[replica.model].name}: not as many stages as nodes"
        found[replica.model] = [seconds / speed for seconds, speed in zip(candidate.seconds, speeds, strict=True)]
    return found


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
