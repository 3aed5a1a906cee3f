"""Served models, the candidates to run them by, and placements: groups of nodes with the models that share them.

A group runs each of its models as a pipeline over all its nodes: stage k of each on node k. Every node computes one
request, or one batch, at a time, whichever model it is for, in the order in which they came in; so whoever is in a
burst can use all nodes of its groups, while the others are quiet (Li et al., "AlpaServe: Statistical multiplexing with
model parallelism for deep learning serving", OSDI 2023).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cutwater.plan.fleet import Node
from cutwater.units import Seconds

Span = tuple[float, float]
"""From which to which byte of a model's weights, in the order of its cuts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is known of a stage that has run, and only a simulation can use."""

    spread: Seconds = 0.0
    """Distance between the quartiles of its seconds."""
    rested: Seconds = 0.0
    """What it takes longer if its node was at rest; negative: shorter."""
    held: Seconds = 0.0
    """How much later a result leaves whose node computes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to run a model on a group of nodes, one stage each. Seconds are those of a node of speed 1."""

    seconds: tuple[Seconds, ...]
    """Per stage what its node works for one request, frames included."""
    hops: tuple[Seconds, ...]
    """What a request waits on the links: into each stage, and for the answer's way back."""
    spans: tuple[Span, ...]
    """Per stage the weights it holds."""
    memory: tuple[float, ...]
    """Per stage the bytes it needs beside its weights."""
    fixed: tuple[Seconds, ...] = ()
    """Per stage the part of its seconds that a batch pays once; empty: none."""
    observed: tuple[Observed, ...] = ()
    """Per stage, where it was measured."""
    batch: int = 1
    """Most requests of a batch."""
    cuts: tuple[str, ...] = ()
    """Between the stages, as people call them."""

    @property
    def stages(self) -> int:
        """How many, and so how many nodes it needs."""
        return len(self.seconds)

    @property
    def largest(self) -> float:
        """Bytes that the node needs which needs most."""
        return max(end - begin + beside for (begin, end), beside in zip(self.spans, self.memory, strict=True))

    @property
    def latency(self) -> Seconds:
        """Of a request that is alone, on nodes of speed 1."""
        return sum(self.seconds) + sum(self.hops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model, how soon its answers are wanted, and how it may be run."""

    name: str
    slo: Seconds
    """An answer later than this after its request is worth nothing."""
    candidates: tuple[Candidate, ...]
    weights: str = ""
    """Models that say the same here have the same weights, which a node holds once; empty: the model's own."""


@dataclass(frozen=True, slots=True, order=True)
class Replica:
    """A model on a group, by one of its candidates; both as indices."""

    model: int
    candidate: int


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes, in order of the stages, and what they run."""

    nodes: tuple[int, ...]
    replicas: tuple[Replica, ...] = ()

    @property
    def models(self) -> frozenset[int]:
        """Whom it serves."""
        return frozenset(replica.model for replica in self.replicas)


@dataclass(frozen=True, slots=True)
class Placement:
    """Groups with no node in common. A model that several of them serve has replicas."""

    groups: tuple[Group, ...]


def held(served: Sequence[Served], replicas: Iterable[Replica], stage: int) -> float:
    """Bytes that the node of one stage holds; weights that several of its replicas use count once."""
    total = 0.0
    spans: dict[str, list[Span]] = {}
    for replica in replicas:
        model = served[replica.model]
        candidate = model.candidates[replica.candidate]
        total += candidate.memory[stage]
        spans.setdefault(model.weights or model.name, []).append(candidate.spans[stage])
    return total + sum(map(covered, spans.values()))


def covered(spans: Iterable[Span]) -> float:
    """Bytes that lie in at least one of the spans."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


def fits(served: Sequence[Served], nodes: Sequence[Node], group: Group) -> bool:
    """Whether every node of a group can run stages and has the memory for its own."""
    for stage, at in enumerate(group.nodes):
        node = nodes[at]
        if not node.stages or (node.memory is not None and held(served, group.replicas, stage) > node.memory):
            return False
    return True
