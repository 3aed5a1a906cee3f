"""Block: a set of ops that is never worth separating; cuts fall only between blocks.

Two rules merge a *cheap* group of ops (elementwise, normalisation, pooling, views: little work, few weights) with a
neighbour. Both lose no cut that could win, because for each cut that separated the two another one stays, with a border
that is not larger and practically the same work on both sides:

*Backward.* All other predecessors of group v are ancestors of its predecessor P. Whoever cuts between P and v may as
well cut after v: everything v needs is there. What v's results add to the border is at most what dies because v was
its last reader.

    P --x--> v --y--> ...        bytes(y) <= bytes(x), nobody else waits for x:   | after v  beats  | after P

This is Conv + BatchNormalization + activation, Gemm + bias, x * Sigmoid(x), residual Add + Relu, pooling,
QuantizeLinear and every view; it is also where inference engines fuse, so a cut there would cost a fusion as well.
Where x lives on, the y of a global pooling is tiny beside it and joins too: engines pool in the layout of the
convolution before, and a cut between the two makes them sum in another order.

*Forward.* All other successors of group v are descendants of its successor S. Whoever cuts between v and S may as well
cut before v: nobody else needs v. What dies at v is at most what its results add.

    x --> v --y--> S             bytes(x) <= bytes(y), or x lives on anyway:      | before v  beats  | after v

This is Concat before a Conv, Cast of a picture to float32, upsampling, the layer norm of a transformer (its input lives
on in the residual), and the int64 arithmetic in front of a Reshape.

Merging along such an edge never makes the blocks cyclic: a second path from P to v would have to enter v through a
predecessor that is not an ancestor of P (and likewise for S).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cutwater.cut.order import Order, bits
from cutwater.graph.graph import Graph, Tensor
from cutwater.graph.tensors import UNSENDABLE

CHEAP = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "AveragePool",
    "BatchNormalization", "BiasGelu", "BitShift", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat",
    "ConstantOfShape", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Div", "Dropout",
    "DynamicQuantizeLinear", "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike", "FastGelu", "Flatten", "Floor",
    "Gather", "GatherElements", "GatherND", "Gelu", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater",
    "GreaterOrEqual", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "InstanceNormalization", "IsInf", "IsNaN", "LRN", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "LogSoftmax", "LpNormalization", "LpPool", "Max", "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mish",
    "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "QuickGelu", "RMSNormalization",
    "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "Round", "Selu", "Shape",
    "Shrink", "Sigmoid", "Sign", "SimplifiedLayerNormalization", "Sin", "Sinh", "Size", "SkipLayerNormalization",
    "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish",
    "Tan", "Tanh", "ThresholdedRelu", "Tile", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "Xor",
})  # fmt: skip
"""Ops of the standard domain whose time goes into touching memory, not into arithmetic."""

CHEAP_WEIGHTS = 2**18
"""Bytes of weights up to which a group is still cheap: vectors of a normalisation, not an embedding table."""
CHEAP_SHARE = 0.01
"""Share of the whole graph's FLOPs up to which a group is cheap beside any neighbour ..."""
CHEAP_BESIDE = 0.25
"""... and share of the neighbour's FLOPs up to which it is cheap beside that one."""
SLACK = 1024
"""Bytes by which a border may grow through a backward merge that has to do with integers: values of shapes never decide
where to cut, and a border without them can be batched."""
GROWTH = 0.025
"""Share by which a border may grow through any backward merge: a class token joins the 196 of a picture, and a mean the
49 places it is taken of."""
INTEGERS = frozenset({"int64", "int32", "bool"})
SUMMARIES = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
"""Ops whose result may join the border beside what they read. Not ReduceMean: a layer norm in pieces begins with it."""


@dataclass(frozen=True, slots=True)
class Block:
    """Ops that stay together, as a bit mask; the graph between blocks is acyclic."""

    ops: int
    label: str
    """The name of its last op."""
    flops: int
    kinds: tuple[str, ...]
    """Op types in topological order, for pictures and tables."""


def single_ops(graph: Graph) -> tuple[Block, ...]:
    """Every op a block of its own, except around values that cannot travel. In topological order."""
    return _blocks(graph, Order(graph), _weld(graph))


def collapse(graph: Graph) -> tuple[Block, ...]:
    """The blocks that remain after merging all that can never be worth separating, in topological order."""
    order = Order(graph)
    merger = _Merger(graph, order, _weld(graph))
    merger.run()
    return _blocks(graph, order, merger.groups())


def _weld(graph: Graph) -> list[int]:
    """Groups that must stay together: producers and readers of strings, sequences and other values without bytes.

    All ops between the first and the last of them (in topological order) join, which keeps the blocks acyclic.
    """
    spans: list[tuple[int, int]] = []
    for name, tensor in graph.tensors.items():
        readers = graph.consumers[name]
        if tensor.dtype in UNSENDABLE and name in graph.producer and readers:
            spans.append((graph.producer[name], readers[-1]))
    groups: list[int] = []
    index = 0
    while index < len(graph.ops):
        end = index
        while grown := [last for first, last in spans if first <= end < last and last >= index]:
            end = max(grown)
        groups.append((1 << end + 1) - (1 << index))
        index = end + 1
    return groups


class _Merger:
    """Applies the two rules until neither changes anything."""

    def __init__(self, graph: Graph, order: Order, groups: Iterable[int]) -> None:
        self._graph = graph
        self._order = order
        self._ops: dict[int, int] = {}
        self._owner = [0] * len(graph.ops)
        for number, ops in enumerate(groups):
            self._ops[number] = ops
            for index in bits(ops):
                self._owner[index] = number
        self._outputs = set(graph.outputs)
        self._readers = {name: sum(1 << index for index in readers) for name, readers in graph.consumers.items()}
        self._total = graph.flops

    def groups(self) -> list[int]:
        return list(self._ops.values())

    def run(self) -> None:
        changed = True
        while changed:
            changed = False
            for group in list(self._ops):
                changed |= self._settle(group)
            for group in list(self._ops):
                neighbour = self._forward(group) if group in self._ops else None
                if neighbour is not None:
                    self._merge(group, into=neighbour)
                    # Fusions first: Sigmoid joined to Mul belongs to the Conv before, not to the one after.
                    self._settle(neighbour)
                    changed = True

    def _settle(self, group: int) -> bool:
        """Merges a group backward as long as that is possible."""
        moved = False
        while group in self._ops and (neighbour := self._backward(group)) is not None:
            self._merge(group, into=neighbour)
            group, moved = neighbour, True
        return moved

    def _merge(self, group: int, into: int) -> None:
        ops = self._ops.pop(group)
        self._ops[into] |= ops
        for index in bits(ops):
            self._owner[index] = into

    def _flops(self, ops: int) -> int:
        return sum(self._graph.ops[index].flops for index in bits(ops))

    def _is_cheap(self, ops: int) -> bool:
        members = [self._graph.ops[index] for index in bits(ops)]
        return (
            all(op.kind in CHEAP and op.domain in ("", "ai.onnx", "com.microsoft") for op in members)
            and sum(op.weight_bytes for op in members) <= CHEAP_WEIGHTS
        )

    def _is_small_beside(self, ops: int, neighbour: int) -> bool:
        flops = self._flops(ops)
        return flops <= CHEAP_SHARE * self._total or flops <= CHEAP_BESIDE * self._flops(neighbour)

    def _union(self, masks: tuple[int, ...], ops: int) -> int:
        union = 0
        for index in bits(ops):
            union |= masks[index]
        return union

    def _arriving(self, ops: int) -> set[str]:
        producer = self._graph.producer
        names = {name for index in bits(ops) for name in self._graph.ops[index].inputs}
        return {name for name in names if name not in producer or not ops >> producer[name] & 1}

    def _leaving(self, ops: int) -> list[Tensor]:
        return [
            self._graph.tensors[name]
            for index in bits(ops)
            for name in self._graph.ops[index].outputs
            if self._readers[name] & ~ops or name in self._outputs
        ]

    def _backward(self, group: int) -> int | None:
        ops = self._ops[group]
        if not self._is_cheap(ops):
            return None
        before = self._union(self._order.predecessors, ops) & ~ops
        for neighbour in {self._owner[index] for index in bits(before)}:
            other = self._ops[neighbour]
            there = other | self._union(self._order.ancestors, other)
            if before & ~there or not self._is_small_beside(ops, other):
                continue
            arriving = [self._graph.tensors[name] for name in self._arriving(ops)]
            dying = [
                tensor
                for tensor in arriving
                if tensor.name not in self._outputs and self._readers[tensor.name] & ~(ops | there) == 0
            ]
            summary = all(self._graph.ops[index].kind in SUMMARIES for index in bits(ops))
            if _fits(self._leaving(ops), dying, arriving if summary else dying):
                return neighbour
        return None

    def _forward(self, group: int) -> int | None:
        ops = self._ops[group]
        if not self._is_cheap(ops):
            return None
        after = self._union(self._order.successors, ops) & ~ops
        later = self._union(self._order.descendants, ops) & ~ops
        for neighbour in {self._owner[index] for index in bits(after)}:
            other = self._ops[neighbour]
            if after & ~(other | self._union(self._order.descendants, other)) or not self._is_small_beside(ops, other):
                continue
            dying = sum(
                self._graph.tensors[name].nbytes
                for name in self._arriving(ops)
                if name not in self._outputs and self._readers[name] & later == 0
            )
            if dying <= sum(tensor.nbytes for tensor in self._leaving(ops)):
                return neighbour
        return None


def _fits(leaving: list[Tensor], dying: list[Tensor], border: list[Tensor]) -> bool:
    """Whether replacing ``dying`` by ``leaving`` makes a border that holds ``border`` practically no larger."""
    after, before, around = (sum(tensor.nbytes for tensor in tensors) for tensors in (leaving, dying, border))
    shapes = all(tensor.dtype in INTEGERS for tensor in leaving) or any(tensor.dtype in INTEGERS for tensor in dying)
    return after <= before + GROWTH * around + (SLACK if shapes else 0)


def _blocks(graph: Graph, order: Order, groups: Iterable[int]) -> tuple[Block, ...]:
    """Blocks in a topological order: always the one whose first op comes first among those that can run."""
    waiting = sorted(groups, key=lambda ops: ops & -ops)
    needs = {ops: _before(order, ops) for ops in waiting}
    placed: list[Block] = []
    done = 0
    while waiting:
        ops = next(ops for ops in waiting if needs[ops] & ~done == 0)
        waiting.remove(ops)
        done |= ops
        members = [graph.ops[index] for index in bits(ops)]
        placed.append(
            Block(ops, members[-1].name, sum(op.flops for op in members), tuple(op.kind for op in members))
        )  # fmt: skip
    return tuple(placed)


def _before(order: Order, ops: int) -> int:
    mask = 0
    for index in bits(ops):
        mask |= order.predecessors[index]
    return mask & ~ops
