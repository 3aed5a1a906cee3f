"""Converting a border tensor inside a stage's own graph: into its Form before it leaves, and back on arrival.

What travels for a float32 tensor ``x``:

    RAW            x
    FLOAT16        x.float16
    INT8           x.int8          x.int8.scale ()            x.int8.zero ()
    INT8_CHANNEL   x.int8-channel  x.int8-channel.scale (C,)  x.int8-channel.zero (C,)

The names differ from form to form so that a stage can take a tensor in one form and pass it on in another. A tensor of
any other type travels as it is. Only ops of operator set 9 are
needed; newer sets get the fused ones (DynamicQuantizeLinear from 11, QuantizeLinear along an axis from 13).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from cutwater.cut.form import Form
from cutwater.graph.graph import Tensor

LARGEST_HALF = 65504.0
"""The largest finite float16: beyond it values saturate instead of becoming infinite."""


def effective(tensor: Tensor, form: Form) -> Form:
    """The form a tensor really travels in: only float32 is converted, and channels need an axis 1."""
    if tensor.dtype != "float32":
        return Form.RAW
    return Form.INT8 if form is Form.INT8_CHANNEL and len(tensor.shape) < 2 else form


def travelling(tensor: Tensor, form: Form) -> tuple[Tensor, ...]:
    """What crosses the hop for ``tensor``: itself, or its representation, in the order in which it travels."""
    form = effective(tensor, form)
    name = f"{tensor.name}.{form}"
    count = tensor.nbytes // 4
    if form is Form.RAW:
        return (tensor,)
    if form is Form.FLOAT16:
        return (replace(tensor, name=name, dtype="float16", nbytes=2 * count),)
    shape = tensor.shape[1:2] if form is Form.INT8_CHANNEL else ()
    channels = int(np.prod(shape))
    return (
        replace(tensor, name=name, dtype="uint8", nbytes=count),
        Tensor(f"{name}.scale", "float32", shape, 4 * channels),
        Tensor(f"{name}.zero", "uint8", shape, channels),
    )


@dataclass
class Conversion:
    """Nodes and constants that convert one tensor, for one version of the standard operator set."""

    tensor: Tensor
    form: Form
    opset: int
    in_steps: bool = False
    """Restore channels with elementary ops, which take three times as long as DequantizeLinear: engines (ONNX Runtime
    1.31) merge the latter with integer products that then refuse a scale per channel."""
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.form = effective(self.tensor, self.form)
        self._whole = self.tensor.name
        self._name = f"{self._whole}.{self.form}"
        self._rank = len(self.tensor.shape)

    def leave(self) -> "Conversion":
        """From the tensor to what travels."""
        match self.form:
            case Form.FLOAT16:
                # Without it a Cast makes infinities of large values; it costs half as much again as the Cast alone.
                clipped = self._clip(self._whole, "clipped", -LARGEST_HALF, LARGEST_HALF)
                self._op("Cast", [clipped], "", to=TensorProto.FLOAT16)
            case Form.INT8 if self.opset >= 11:
                names = [self._name, f"{self._name}.scale", f"{self._name}.zero"]
                self.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [self._whole], names, names[0]))
            case Form.INT8 | Form.INT8_CHANNEL:
                self._quantise()
        return self

    def arrive(self) -> "Conversion":
        """From what travels to the tensor."""
        if self.form is Form.FLOAT16:
            node = onnx.helper.make_node(
                "Cast", [self._name], [self._whole], f"{self._name}.restored", to=TensorProto.FLOAT
            )
            self.nodes.append(node)
        elif self.form is not Form.RAW:
            self._dequantise()
        return self

    def _quantise(self) -> None:
        """DynamicQuantizeLinear's arithmetic in small steps: for channels, and for operator sets that lack it."""
        nothing, steps = self._constant("nothing", 0.0), self._constant("steps", 255.0)
        low = self._op("Min", [self._reduce("ReduceMin"), nothing], "low")
        high = self._op("Max", [self._reduce("ReduceMax"), nothing], "high")
        span = self._op("Sub", [high, low], "span")
        step = self._op("Div", [span, steps], "step")
        # A channel of nothing but zeros: a scale of 1 instead of 0, as DynamicQuantizeLinear has it.
        some = self._op("Cast", [step], "some", to=TensorProto.BOOL)
        none = self._op("Cast", [self._op("Not", [some], "none")], "one", to=TensorProto.FLOAT)
        scale = self._op("Add", [step, none], "scale")
        shift = self._round(self._op("Div", [self._op("Neg", [low], "minus"), scale], "shift"), "shift.round")
        zero = self._op("Cast", [shift], "zero", to=TensorProto.UINT8)
        if self.opset >= 13:
            self._op("QuantizeLinear", [self._whole, scale, zero], "", axis=1)
            return
        counts = self._round(self._op("Div", [self._whole, self._aligned(scale, "scale")], "x"), "x.round")
        moved = self._op("Add", [counts, self._aligned(shift, "shift")], "x.moved")
        clipped = self._clip(moved, "x.clipped", 0.0, 255.0)
        self._op("Cast", [clipped], "", to=TensorProto.UINT8)

    def _dequantise(self) -> None:
        parts = [self._name, f"{self._name}.scale", f"{self._name}.zero"]
        channels = self.form is Form.INT8_CHANNEL
        if self.opset >= (13 if channels else 10) and not (channels and self.in_steps):
            axis = {"axis": 1} if channels else {}
            node = onnx.helper.make_node("DequantizeLinear", parts, [self._whole], f"{self._name}.restored", **axis)
            self.nodes.append(node)
            return
        codes = self._op("Cast", parts[:1], "back.codes", to=TensorProto.FLOAT)
        zero = self._op("Cast", parts[2:], "back.zero", to=TensorProto.FLOAT)
        moved = self._op("Sub", [codes, self._aligned(zero, "back.zero")], "back.moved")
        scale = self._aligned(parts[1], "back.scale")
        self.nodes.append(onnx.helper.make_node("Mul", [moved, scale], [self._whole], f"{self._name}.restored"))

    def _reduce(self, kind: str) -> str:
        if self.form is Form.INT8:
            return self._op(kind, [self._whole], kind, keepdims=0)
        axes = [0, *range(2, self._rank)]
        if self.opset < 18:
            return self._op(kind, [self._whole], kind, keepdims=0, axes=axes)
        return self._op(kind, [self._whole, self._constant("axes", axes, np.int64)], kind, keepdims=0)

    def _aligned(self, name: str, part: str) -> str:
        """A vector over channels, shaped to broadcast along axis 1."""
        if self.form is Form.INT8:
            return name
        axes = [0, *range(2, self._rank)]
        if self.opset < 13:
            return self._op("Unsqueeze", [name], f"{part}.aligned", axes=axes)
        return self._op("Unsqueeze", [name, self._constant("axes", axes, np.int64)], f"{part}.aligned")

    def _round(self, name: str, part: str) -> str:
        if self.opset >= 11:
            return self._op("Round", [name], part)
        half = self._constant("half", 0.5)
        return self._op("Floor", [self._op("Add", [name, half], f"{part}.half")], part)

    def _clip(self, name: str, part: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self._op("Clip", [name], part, min=low, max=high)
        limits = [self._constant(f"{part}.low", low), self._constant(f"{part}.high", high)]
        return self._op("Clip", [name, *limits], part)

    def _op(self, kind: str, inputs: Sequence[str], part: str, **attributes: Any) -> str:
        name = f"{self._name}.{part}" if part else self._name
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def _constant(self, part: str, value: float | list[int], dtype: Any = np.float32) -> str:
        name = f"{self._name}.{part}"
        if all(constant.name != name for constant in self.constants):
            self.constants.append(onnx.numpy_helper.from_array(np.array(value, dtype), name))
        return name
