"""Floating-point operations of an op, from its attributes and the shapes around it.

A multiply-add counts two. An op without a rule of its own counts nothing; the rules cover what takes time in
networks in use. The counts rank cuts and ops before anything has been measured; measured times replace them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from onnx import NodeProto

from cutwater.graph.nodes import attribute

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One node with the shapes of what it reads and makes; an absent or unknown one is None."""

    node: NodeProto
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]

    def read(self, position: int) -> Shape:
        """Shape of an input; () where it is absent."""
        return (self.inputs[position] if position < len(self.inputs) else None) or ()

    @property
    def made(self) -> int:
        """Elements of the first output."""
        return prod(self.outputs[0]) if self.outputs and self.outputs[0] is not None else 0

    @property
    def taken(self) -> int:
        """Elements of the first input."""
        return prod(self.inputs[0]) if self.inputs and self.inputs[0] is not None else 0


Rule = Callable[[Call], int]
RULES: dict[str, Rule] = {}


def flops_of(node: NodeProto, inputs: tuple[Shape | None, ...], outputs: tuple[Shape | None, ...]) -> int:
    """FLOPs of one run of ``node``; 0 for an op of another domain or without a rule."""
    if node.domain not in ("", "ai.onnx", "com.microsoft"):
        return 0
    rule = RULES.get(node.op_type)
    return rule(Call(node, inputs, outputs)) if rule is not None else 0


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def _per_output(cost: int, *kinds: str) -> None:
    RULES.update({kind: lambda call: cost * call.made for kind in kinds})


def _per_input(cost: int, *kinds: str) -> None:
    RULES.update({kind: lambda call: cost * call.taken for kind in kinds})


_per_output(1, "Abs", "Add", "And", "Ceil", "Clip", "Div", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less")
_per_output(1, "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Reciprocal", "Relu", "Round", "Sign")
_per_output(1, "Sub", "ThresholdedRelu", "Where", "Xor", "Sqrt", "Mean", "BiasGelu")
_per_output(2, "LeakyRelu", "PRelu", "HardSigmoid", "Shrink", "BatchNormalization", "DequantizeLinear")
_per_output(4, "HardSwish", "Exp", "Log", "Pow", "Sin", "Cos", "Elu", "Celu", "Selu", "Sigmoid", "Tanh", "Softplus")
_per_output(4, "Softsign", "Erf", "QuantizeLinear", "QuickGelu")
_per_output(8, "Gelu", "FastGelu", "Mish", "Swish")
_per_output(5, "Softmax", "LogSoftmax", "InstanceNormalization", "GroupNormalization", "LpNormalization")
_per_output(7, "LayerNormalization", "SkipLayerNormalization")
_per_output(4, "RMSNormalization", "SimplifiedLayerNormalization", "MeanVarianceNormalization")
_per_input(1, "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ArgMax", "ArgMin", "CumSum")
_per_input(2, "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
_per_input(1, "GlobalAveragePool", "GlobalMaxPool", "TopK")
_per_input(2, "GlobalLpPool")
_per_input(5, "DynamicQuantizeLinear")


@_rule("Sum")
def _sum(call: Call) -> int:
    return call.made * max(len(call.inputs) - 1, 1)


@_rule("Conv", "FusedConv", "ConvInteger")
def _conv(call: Call) -> int:
    bias = call.made if call.node.op_type != "ConvInteger" and call.read(2) else 0
    return 2 * call.made * prod(call.read(1)[1:]) + bias


@_rule("QLinearConv")
def _quantised_conv(call: Call) -> int:
    return 2 * call.made * prod(call.read(3)[1:])


@_rule("ConvTranspose")
def _conv_transpose(call: Call) -> int:
    return 2 * call.taken * prod(call.read(1)[1:]) + (call.made if call.read(2) else 0)


@_rule("MatMul", "MatMulInteger", "FusedMatMul", "QLinearMatMul")
def _matmul(call: Call) -> int:
    left = call.read(0)
    return 2 * call.made * (left[-1] if left else 0)


@_rule("Gemm", "FusedGemm")
def _gemm(call: Call) -> int:
    left = call.read(0)
    if not left:
        return 0
    inner = left[0] if attribute(call.node, "transA", 0) else left[-1]
    return 2 * call.made * inner + (call.made if call.read(2) else 0)


@_rule("Einsum")
def _einsum(call: Call) -> int:
    """The product of all index sizes, once per operand: what a contraction in one go costs."""
    equation = attribute(call.node, "equation", b"")
    terms = equation.decode().replace(" ", "").split("->")[0].split(",") if isinstance(equation, bytes) else []
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, call.inputs, strict=False):
        letters = term.replace("...", "")
        if shape is None:
            return 0
        named = shape[len(shape) - len(letters) :] if term.startswith("...") else shape[: len(letters)]
        sizes.update(zip(letters, named, strict=False))
        if "..." in term:
            sizes["..."] = max(sizes.get("...", 1), prod(shape) // max(prod(named), 1))
    return len(terms) * prod(sizes.values())


def _recurrent(gates: int) -> Rule:
    def rule(call: Call) -> int:
        weights = call.read(1)  # directions, gates * hidden, inputs
        steps = call.read(0)  # time, batch, inputs (both layouts: only the product of the first two matters)
        if len(weights) != 3 or len(steps) != 3:
            return 0
        directions, rows, columns = weights
        hidden = rows // gates
        return directions * steps[0] * steps[1] * (2 * rows * (columns + hidden) + 8 * rows)

    return rule


RULES.update({"LSTM": _recurrent(4), "GRU": _recurrent(3), "RNN": _recurrent(1)})


@_rule("MaxPool", "AveragePool", "LpPool")
def _pool(call: Call) -> int:
    kernel = attribute(call.node, "kernel_shape", [])
    return call.made * (prod(kernel) if isinstance(kernel, list) else 1)


@_rule("LRN")
def _lrn(call: Call) -> int:
    size = attribute(call.node, "size", 1)
    return call.made * (2 * size + 4 if isinstance(size, int) else 6)


@_rule("Resize", "Upsample", "GridSample")
def _resize(call: Call) -> int:
    """Nearest only copies; linear blends two values per resized axis, cubic four (two axes in nearly all models)."""
    mode = attribute(call.node, "mode", b"nearest")
    return call.made * {b"nearest": 0, b"cubic": 40}.get(mode if isinstance(mode, bytes) else b"", 11)


@_rule("Attention", "MultiHeadAttention")
def _attention(call: Call) -> int:
    """Scores, softmax and weighted sum of the standard op (query, key, value as 3-D or 4-D tensors)."""
    query, key = call.read(0), call.read(1)
    if len(query) < 3 or len(key) != len(query):
        return 0
    rows = prod(query[:-1])
    return 4 * rows * key[-2] * query[-1] + 5 * rows * key[-2]
