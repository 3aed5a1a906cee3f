"""Plan: which Stages, on which Nodes, how many replicas, which Codec per hop; with its predicted Score and bound."""

import msgspec

from cutwater.units import NodeId


class CutRef(msgspec.Struct, frozen=True):
    """A Cut as a plan file names it: exactly (the mask, valid for one model hash) and for people (the label)."""

    before: str
    """`Cut.before` as hexadecimal text."""
    label: str


class PlanStage(msgspec.Struct, frozen=True, kw_only=True):
    """What lies between two cuts, and where it runs."""

    begin: CutRef
    end: CutRef
    nodes: tuple[NodeId, ...]
    """One per replica."""


class StageScore(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted costs of one stage on one of its nodes, per request."""

    node: NodeId
    compute: float
    encode: float
    decode: float
    transfer_cpu: float
    """Seconds of CPU for receiving and sending, the answer's way back included."""
    memory: int
    """Bytes: weights, activations, buffers and the worker itself."""

    @property
    def busy(self) -> float:
        """Seconds the node works for one request."""
        return self.compute + self.encode + self.decode + self.transfer_cpu


class HopScore(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted costs of one hop, per request."""

    source: NodeId
    target: NodeId
    codec: str
    nbytes: float
    """Bytes on the wire, forwards."""
    back_bytes: float
    """Bytes of the answer on its way back over this hop."""
    latency: float
    """Seconds a request waits for this hop forwards: propagation and transfer, not CPU."""
    back_latency: float
    occupied: float
    """Seconds the link's slower direction is occupied by one request."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is predicted to do."""

    latency: float
    """Seconds from a request's entry at the source to its answer there (or at the sink), with nothing else going on."""
    throughput: float
    """Requests per second that can be sustained: one over the busiest resource's seconds per request."""
    bottleneck: str
    """The busiest resource: "node NAME", "link A -> B", "medium NAME" or "host NAME"."""
    stages: tuple[StageScore, ...]
    hops: tuple[HopScore, ...]
    memory: dict[NodeId, int]
    """Bytes per node."""
    traffic: dict[NodeId, float]
    """Bytes per request that leave and enter each node."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A decision. ``hops[k]`` leads into ``stages[k]``; the last hop leads to the sink."""

    model: str
    model_hash: str
    objective: str
    source: NodeId
    sink: NodeId
    stages: tuple[PlanStage, ...]
    codecs: tuple[str, ...]
    """One per hop: ``len(stages) + 1`` of them; a hop within one node has the codec "raw" and costs nothing."""
    score: Score
    bound: float
    """No plan can do better than this on the objective (seconds for latency, requests per second for throughput)."""
    gap: float
    """How far this plan can be from the optimum at most, as a fraction of the bound."""
    solver: str
    complete: bool = True
    """Whether ``bound`` and ``gap`` are about all cuts there are; False: about a selection, as there are too many."""
