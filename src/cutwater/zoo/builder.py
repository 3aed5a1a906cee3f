"""Writes ONNX graphs op by op, with names that say which layer each op belongs to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.generic]
Floats = NDArray[np.float32]
Dim = int | str
"""A size, or the name of a dynamic dimension."""

OPSET = 17
IR_VERSION = 8
BATCH = "batch"
"""Name of the dynamic first dimension of every model here."""

_SMALL = 1024
"""Weights up to this many bytes may be shapes and axes, which shape inference needs to see."""


class GraphBuilder:
    """One model in the making. Tensors are handed around by name; a method adds ops and returns its output's name.

    An op within ``scope("blocks.5")``, ``scope("conv_pw")`` is named ``/blocks.5/conv_pw/Conv``, as exporters do, so
    that cuts can be called "after blocks.5".
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._scopes: list[str] = []
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._used: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Everything added inside belongs to the layer ``name`` of the surrounding layer."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def input(self, name: str, shape: Sequence[Dim], dtype: int = TensorProto.FLOAT) -> str:
        """Declare an input of the model."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def weight(self, array: Array, name: str = "weight") -> str:
        """Store a trained array, named after the layer."""
        unique = self._unique(".".join((*self._scopes, name)))
        self._weights[unique] = numpy_helper.from_array(np.ascontiguousarray(array), unique)
        return unique

    def constant(self, value: float | Sequence[float], dtype: type[np.generic] = np.float32) -> str:
        """Store a small constant once, however often it is used."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name = self._unique("constant")
            self._weights[name] = numpy_helper.from_array(array, name)
        return self._constants[key]

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """Add an op and return its (first) output. Empty input names are left-out inputs."""
        return self.ops(kind, *inputs, outputs=outputs, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: object) -> list[str]:
        """Add an op and return all its outputs."""
        name = self._unique("/" + "/".join((*self._scopes, kind)))
        produced = [f"{name}_output_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, produced, name=name, **attributes))
        return produced

    def conv(
        self,
        x: str,
        weight: Floats,
        bias: Floats | None = None,
        *,
        stride: int = 1,
        pads: tuple[int, int, int, int] | None = None,
        groups: int = 1,
    ) -> str:
        """Convolution with ``weight`` [out, in / groups, height, width].

        Args:
            pads: top, left, bottom, right; None keeps the size at stride 1 for an odd kernel.
        """
        height, width = weight.shape[2:]
        around = pads or (height // 2, width // 2, height // 2, width // 2)
        inputs = [x, self.weight(weight), *([] if bias is None else [self.weight(bias, "bias")])]
        return self.op(
            "Conv",
            *inputs,
            kernel_shape=[height, width],
            strides=[stride, stride],
            pads=list(around),
            dilations=[1, 1],
            group=groups,
        )

    def batch_norm(self, x: str, norm: "BatchNorm") -> str:
        """Batch normalisation as an op of its own."""
        arrays = {"weight": norm.weight, "bias": norm.bias, "running_mean": norm.mean, "running_var": norm.variance}
        return self.op("BatchNormalization", x, *(self.weight(a, n) for n, a in arrays.items()), epsilon=norm.epsilon)

    def linear(self, x: str, weight: Floats, bias: Floats) -> str:
        """``x`` [..., in] times ``weight`` [out, in], plus ``bias`` [out]: Gemm's weights with MatMul's freedom."""
        product = self.op("MatMul", x, self.weight(np.ascontiguousarray(weight.T)))
        return self.op("Add", product, self.weight(bias, "bias"))

    def classify(self, x: str, weight: Floats, bias: Floats) -> str:
        """``x`` [batch, in] through a fully connected layer ``weight`` [out, in], ``bias`` [out]."""
        return self.op("Gemm", x, self.weight(weight), self.weight(bias, "bias"), transB=1)

    def layer_norm(self, x: str, weight: Floats, bias: Floats) -> str:
        """Normalise the last axis."""
        inputs = (x, self.weight(weight), self.weight(bias, "bias"))
        return self.op("LayerNormalization", *inputs, axis=-1, epsilon=1e-6)

    def relu6(self, x: str) -> str:
        """Clip to 0..6."""
        return self.op("Clip", x, self.constant(0.0), self.constant(6.0))

    def silu(self, x: str) -> str:
        """``x * sigmoid(x)``."""
        return self.op("Mul", x, self.op("Sigmoid", x))

    def gelu(self, x: str) -> str:
        """``x * (1 + erf(x / sqrt 2)) / 2``, in the ops exporters write and engines recognise."""
        erf = self.op("Erf", self.op("Div", x, self.constant(2**0.5)))
        doubled = self.op("Mul", x, self.op("Add", erf, self.constant(1.0)))
        return self.op("Mul", doubled, self.constant(0.5))

    def reshape(self, x: str, *shape: int) -> str:
        """New shape; 0 keeps a dimension, -1 takes what is left."""
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def finish(self, **outputs: str) -> onnx.ModelProto:
        """The checked model, with the shape of every tensor.

        Args:
            outputs: Name of an output of the model -> the tensor it is.
        """
        renamed = {tensor: name for name, tensor in outputs.items()}
        for node in self._nodes:
            for side in (node.input, node.output):
                side[:] = [renamed.get(name, name) for name in side]
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            [onnx.ValueInfoProto(name=name) for name in outputs],
        )
        values, results = self._infer_shapes(graph, list(outputs))
        del graph.output[:]
        graph.output.extend(results)
        graph.value_info.extend(values)
        graph.initializer.extend(self._weights.values())
        return _model(graph)

    def _infer_shapes(
        self, graph: onnx.GraphProto, outputs: Sequence[str]
    ) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        """Shapes of all tensors, found without handing the large weights to the inference, which would copy them."""
        bare = onnx.GraphProto()
        bare.CopyFrom(graph)
        for name, weight in self._weights.items():
            if len(weight.raw_data) <= _SMALL:
                bare.initializer.append(weight)
            else:
                bare.input.append(helper.make_tensor_value_info(name, weight.data_type, weight.dims))
        inferred = onnx.shape_inference.infer_shapes(_model(bare), check_type=True, strict_mode=True, data_prop=True)
        for info in (*inferred.graph.value_info, *inferred.graph.output):
            for dim in info.type.tensor_type.shape.dim:
                # Inference forgets the name behind some ops (Resize); only the batch is dynamic here.
                if dim.dim_param:
                    dim.dim_param = BATCH
        by_name = {info.name: info for info in (*inferred.graph.value_info, *inferred.graph.output)}
        return [info for name, info in by_name.items() if name not in outputs], [by_name[name] for name in outputs]

    def _unique(self, name: str) -> str:
        count = self._used[name] = self._used.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count - 1}"


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cutwater")


@dataclass(frozen=True)
class BatchNorm:
    """What a trained batch normalisation remembers, per channel."""

    weight: Floats
    bias: Floats
    mean: Floats
    variance: Floats
    epsilon: float

    @classmethod
    def of(cls, state: Mapping[str, Array], place: str, epsilon: float) -> "BatchNorm":
        """The one at ``place`` ("features.0.1") of a PyTorch state dict. Raises KeyError where it is missing."""
        return cls(
            weight=state[f"{place}.weight"].astype(np.float32),
            bias=state[f"{place}.bias"].astype(np.float32),
            mean=state[f"{place}.running_mean"].astype(np.float32),
            variance=state[f"{place}.running_var"].astype(np.float32),
            epsilon=epsilon,
        )

    def folded_into(self, weight: Floats) -> tuple[Floats, Floats]:
        """Weight and bias of the convolution that does both, for one ``weight`` [out, ...] without bias."""
        scale = self.weight / np.sqrt(self.variance + np.float32(self.epsilon))
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        return folded.astype(np.float32), (self.bias - self.mean * scale).astype(np.float32)
