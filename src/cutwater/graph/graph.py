"""Graph: a model as a DAG of Ops over Tensors, with sizes, FLOPs and a hash."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cutwater.graph.model import Model


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value that flows between ops, with the concrete shape it has at batch 1 (or as the caller fixed it)."""

    name: str
    dtype: str
    """A numpy dtype name ("float32", "int64", "uint8"), or an ONNX one where numpy has none ("bfloat16")."""
    shape: tuple[int, ...]
    nbytes: int
    batch_axis: int | None = None
    """The axis that carries the batch where the model's batch dimension is dynamic; None otherwise."""


@dataclass(frozen=True, slots=True)
class Op:
    """One node of the model that does work for each request. Input-independent nodes are not Ops (see `Graph`)."""

    index: int
    """Position in the graph's topological order; the op's bit in every Cut."""
    name: str
    kind: str
    """The ONNX op type, such as "Conv"."""
    domain: str
    inputs: tuple[str, ...]
    """Tensors that depend on the request, captures of If/Loop/Scan bodies included."""
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    """Constant tensors it reads: initialisers, or results of input-independent nodes."""
    weight_bytes: int
    """Their size, with that of weights inside its bodies."""
    flops: int
    """Floating-point operations for one request (a multiply-add counts two)."""
    scope: str = ""
    """The layer it belongs to ("blocks.5"), where the exporter left a name."""


@dataclass(frozen=True)
class Graph:
    """A model as a DAG.

    ``ops`` stand in topological order. Nodes that do not depend on any input (constants, folded weights, shapes of
    static tensors) are not among them: they are copied into every stage that uses them and never sent.
    """

    name: str
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    """Every request-dependent tensor by name: inputs, intermediate values, outputs."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: Mapping[str, int]
    hash: str
    """Content hash (sha256, hex) of structure and weights."""
    model: "Model" = field(repr=False, compare=False)
    """Where the stages' ONNX is taken from."""
    weights: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)
    """Bytes of each constant tensor in `Op.weights`, so that one that several ops share is counted once."""

    @cached_property
    def producer(self) -> Mapping[str, int]:
        """Tensor name -> index of the op that makes it; graph inputs are absent."""
        return {tensor: op.index for op in self.ops for tensor in op.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[int, ...]]:
        """Tensor name -> indices of the ops that read it."""
        readers: dict[str, list[int]] = {name: [] for name in self.tensors}
        for op in self.ops:
            for tensor in dict.fromkeys(op.inputs):
                readers[tensor].append(op.index)
        return {name: tuple(indices) for name, indices in readers.items()}

    @property
    def flops(self) -> int:
        """Floating-point operations of one request."""
        return sum(op.flops for op in self.ops)

    @property
    def batchable(self) -> bool:
        """Whether requests can be stacked along a dynamic batch axis of every input and output."""
        return all(self.tensors[name].batch_axis is not None for name in (*self.inputs, *self.outputs))
