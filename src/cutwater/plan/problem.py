"""Problem: the arrays a solver sees, for one model on one fleet.

Sizes: N nodes, C cuts in topological order (first: input, last: output), K codecs, M media, H hosts.
Seconds, bytes and bytes per second throughout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cutwater.plan.plan import CutRef
from cutwater.units import NodeId

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
RAW = 0
"""Index of the codec "raw", which every problem has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may look like, beyond what the fleet allows."""

    min_stages: int = 1
    max_stages: int | None = None
    """None: as many as there are nodes."""
    max_replicas: int | None = 1
    """Most nodes that may share one stage; None: as many as there are of a kind."""
    pins: Mapping[int, int] = field(default_factory=dict)
    """Stage position -> the node it must run on."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a solver decides, in indices of its Problem."""

    nodes: tuple[tuple[int, ...], ...]
    """Per stage the nodes that share it."""
    cuts: tuple[int, ...]
    """Stage k lies between ``cuts[k]`` and ``cuts[k + 1]``; from the input cut to the output cut."""
    codecs: tuple[int, ...]
    """``codecs[k]`` leads into stage k, the last one to the sink."""


def within(limits: Limits, choice: Choice) -> bool:
    """Whether a choice has the form that ``limits`` ask for."""
    stages = len(choice.nodes)
    return (
        limits.min_stages <= stages <= (limits.max_stages or stages)
        and (limits.max_replicas is None or max(map(len, choice.nodes)) <= limits.max_replicas)
        and all(choice.nodes[at] == (node,) for at, node in limits.pins.items() if at < stages)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Everything `score` needs to know; see the module's docstring for the letters."""

    model: str
    model_hash: str
    nodes: tuple[NodeId, ...]
    codecs: tuple[str, ...]
    """Index 0 is "raw"."""
    cuts: tuple[CutRef, ...]
    covers: tuple[tuple[int, ...], ...]
    """Per cut its direct predecessors in the lattice of cuts."""
    masks: NDArray[np.uint64]
    """[C, words]: the ops before each cut, as bits; decides whether one cut lies before another."""
    complete: bool = True
    """Whether the cuts are all there are; the bounds are about these cuts."""

    prefix: Floats
    """[N, C] seconds of all ops before a cut on a node that works alone."""
    overhead: Floats
    """[N] seconds each stage costs beyond its ops."""
    contention: Floats
    """[N] time with all other cores of the host busy over time alone, at least 1."""
    threads: Ints
    """[N]"""
    runs: Bools
    """[N] whether the node may run a stage."""

    flops: Floats
    """[C] floating-point operations of all ops before a cut."""
    weight: Floats
    """[C] bytes of the weights of all ops before a cut."""
    border: Floats
    """[C] bytes of the tensors that cross, unencoded."""
    depth: int = 2
    """Batches buffered on each side of a stage."""
    batch: int = 1
    """Most requests of a batch; what a request takes is for batches of one."""
    base_memory: Floats
    """[N] bytes of a worker before it loads a stage."""
    memory: Floats
    """[N] bytes a worker may use; infinite: no limit."""

    size: Floats
    """[K, C] bytes on the wire."""
    encode: Floats
    """[N, K, C] seconds of CPU."""
    decode: Floats
    """[N, K, C] seconds of CPU."""
    allowed: Bools
    """[K, C] whether the codec keeps the accuracy budget on that border."""

    latency: Floats
    """[N, N] seconds one way; infinite: no path; 0 on the diagonal."""
    bandwidth: Floats
    """[N, N] bytes per second, at most the medium's; infinite on the diagonal."""
    send_fixed: Floats
    """[N, N] seconds of the sender's CPU per frame."""
    send_per_byte: Floats
    receive_fixed: Floats
    receive_per_byte: Floats
    medium: Ints
    """[N, N] index into ``media``, -1: none."""
    media: tuple[str, ...] = ()
    media_bandwidth: Floats = field(default_factory=lambda: np.zeros(0))
    """[M]"""
    host: Ints
    """[N] index into ``hosts``, -1: a machine of its own."""
    hosts: tuple[str, ...] = ()
    host_cores: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """[H]"""

    source: int
    sink: int
    """The node that gets the output; equal to ``source`` when answers go back over the links they came by."""
    limits: Limits = Limits()

    @property
    def returns(self) -> bool:
        """Whether answers go back over the links the request came by."""
        return self.sink == self.source

    @property
    def last(self) -> int:
        """Index of the output cut."""
        return len(self.cuts) - 1

    @property
    def answer(self) -> float:
        """Bytes of an answer on its way back, unencoded."""
        return float(self.border[-1])

    @cached_property
    def chain(self) -> bool:
        """Whether every cut lies before the next one."""
        return all(covers == ((k - 1,) if k else ()) for k, covers in enumerate(self.covers))

    @cached_property
    def types(self) -> tuple[tuple[int, ...], ...]:
        """The nodes that may run stages, those that differ in nothing but their name together.

        Source and sink always stand alone: where they are matters.
        """
        groups: list[list[int]] = []
        for node in np.flatnonzero(self.runs).tolist():
            for group in groups:
                if self._alike(group, node):
                    group.append(node)
                    break
            else:
                groups.append([node])
        return tuple(tuple(group) for group in groups)

    def _alike(self, group: list[int], node: int) -> bool:
        first = group[0]
        pinned = set(self.limits.pins.values())
        if {first, node} & ({self.source, self.sink} | pinned):
            return False
        per_node = (
            self.prefix, self.overhead, self.contention, self.threads, self.base_memory, self.memory, self.encode,
            self.decode, self.host,
        )  # fmt: skip
        if not all(np.array_equal(array[first], array[node]) for array in per_node):
            return False
        ends = (
            self.latency, self.bandwidth, self.send_fixed, self.send_per_byte, self.receive_fixed,
            self.receive_per_byte, self.medium,
        )  # fmt: skip
        others = [n for n in range(len(self.nodes)) if n not in (*group, node)]
        for array in ends:
            if not np.array_equal(array[first, others], array[node, others]):
                return False
            if not np.array_equal(array[others, first], array[others, node]):
                return False
            inside = array[np.ix_([*group, node], [*group, node])][~np.eye(len(group) + 1, dtype=bool)]
            if not np.all(inside == inside[0]):
                return False
        return True

    def below(self, begin: int, end: int) -> bool:
        """Whether cut ``begin`` lies strictly before cut ``end``."""
        return begin != end and not np.any(self.masks[begin] & ~self.masks[end])

    @cached_property
    def order(self) -> Bools:
        """[C, C] whether one cut lies strictly before another. For thousands of cuts, not tens of thousands."""
        count = len(self.cuts)
        if self.chain:
            return np.triu(np.ones((count, count), bool), 1)
        inside = np.ones((count, count), bool)
        for word in range(self.masks.shape[1]):
            inside &= (self.masks[:, None, word] & ~self.masks[None, :, word]) == 0
        return inside & ~np.eye(count, dtype=bool)

    def peak(self, begin: int, end: int) -> float:
        """Bytes of activations a stage holds at most, of one request.

        Twice the widest border inside the stage: the engine holds what an op reads and what it writes.
        """
        if self.chain:
            return 2.0 * float(self.border[begin : end + 1].max())
        masks = self.masks[begin : end + 1]
        inside = ~np.any((self.masks[begin] & ~masks) | (masks & ~self.masks[end]), axis=1)
        return 2.0 * float(self.border[begin : end + 1][inside].max())

    def stage_memory(self, node: int, begin: int, end: int) -> float:
        """Bytes a worker needs for a stage: itself, weights, activations, buffered requests on both sides."""
        buffers = self.depth * float(self.border[begin] + self.border[end])
        weights = float(self.weight[end] - self.weight[begin])
        return float(self.base_memory[node]) + weights + self.batch * (self.peak(begin, end) + buffers)


def pack_masks(masks: Sequence[int]) -> NDArray[np.uint64]:
    """Bit masks of any length as rows of 64-bit words, [len(masks), words]."""
    words = max(1, -(-max(masks).bit_length() // 64))
    packed = b"".join(mask.to_bytes(words * 8, "little") for mask in masks)
    return np.frombuffer(packed, "<u8").astype(np.uint64).reshape(len(masks), words)
