"""Cutting a Graph into Stages: a slicer over live sets that touches no weight a stage does not need."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import pairwise

import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.form_ops import Conversion, effective, travelling
from cutwater.cut.order import bits
from cutwater.cut.stage import Stage
from cutwater.errors import BadCut, BadModel
from cutwater.graph.check import check_structure
from cutwater.graph.graph import Graph, Tensor
from cutwater.graph.nodes import reads
from cutwater.graph.skeleton import IR_VERSION, SMALL
from cutwater.graph.tensors import elem_type_of, weight_nbytes

LARGEST_STAGE = 2**31 - 2**24
"""Bytes of weights one stage may carry: protobuf's limit for a message, less room for everything else."""

INTEGER_PRODUCTS = frozenset({"MatMul", "Gemm"})
"""Ops that engines compute with integers where all their inputs come dequantised; others only before quantising."""


def split(graph: Graph, cuts: Sequence[Cut], forms: Sequence[Form] | None = None) -> list[Stage]:
    """The stages between consecutive cuts.

    Args:
        graph: The graph.
        cuts: From the cut before everything to the cut after everything, each containing the one before it.
        forms: One per cut: how its border travels; all RAW if not given.

    Raises:
        BadCut: the cuts are not such a chain, or there are not as many forms as cuts.
        BadModel: a stage is over 2 GiB.
    """
    forms = [Form.RAW] * len(cuts) if forms is None else forms
    if len(forms) != len(cuts):
        raise BadCut(f"{len(cuts)} cuts need {len(cuts)} forms, one for each border; {len(forms)} were given")
    if len(cuts) < 2 or cuts[0].before or cuts[-1].before.bit_count() != len(graph.ops):
        raise BadCut("a split begins with the cut 'input' and ends with the cut 'output'")
    return [
        extract(graph, begin, end, enter, leave)
        for (begin, end), (enter, leave) in zip(pairwise(cuts), pairwise(forms), strict=True)
    ]


def extract(graph: Graph, begin: Cut, end: Cut, enter: Form = Form.RAW, leave: Form = Form.RAW) -> Stage:
    """The stage between two cuts as a self-contained, checked ONNX model.

    A tensor that only passes through is handed on as it came, converted only where the two forms differ. A dynamic
    batch axis stays dynamic, and so does every dimension that is dynamic in the model.

    Raises:
        BadCut: ``begin`` is not before ``end``, nothing lies between, or one of them is no down-set of this graph.
        BadModel: the stage is over 2 GiB.
    """
    inside = end.before & ~begin.before
    if not begin <= end or not inside:
        raise BadCut(f"there is no stage from {begin.label!r} to {end.label!r}: the second must come after the first")
    slicer = _Slicer(graph, begin, end, inside)
    slicer.arrive(enter)
    slicer.compute()
    slicer.leave(leave)
    data = slicer.finish()
    inputs, outputs = tuple(slicer.inputs), tuple(slicer.outputs)
    return Stage(
        begin=begin,
        end=end,
        enter=enter,
        leave=leave,
        inputs=inputs,
        outputs=outputs,
        onnx=data,
        weight_bytes=slicer.weight_bytes(),
        flops=end.flops_before - begin.flops_before,
        batchable=all(tensor.batch_axis is not None for tensor in (*inputs, *outputs)),
        hash=sha256(data).hexdigest(),
    )


class _Slicer:
    """Builds one stage: arriving tensors, the ops between the cuts with all constants they need, leaving tensors."""

    def __init__(self, graph: Graph, begin: Cut, end: Cut, inside: int) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self._graph = graph
        self._begin = begin
        self._end = end
        self._ops = [graph.ops[index] for index in bits(inside)]
        self._read = {name for op in self._ops for name in op.inputs}
        self._made = {name for op in self._ops for name in op.outputs}
        self._untouched: dict[str, Form] = {}
        self._weights: dict[str, TensorProto] = {}
        source = graph.model.proto
        self._proto = ModelProto(ir_version=max(source.ir_version, IR_VERSION), opset_import=source.opset_import)
        self._proto.producer_name = "cutwater"
        self._proto.graph.name = f"{graph.name} from {begin.label} to {end.label}"
        self._check_borders()

    def arrive(self, enter: Form) -> None:
        """Declares the inputs and restores the tensors that ops inside read."""
        for name in self._begin.border:
            tensor = self._graph.tensors[name]
            self.inputs.extend(travelling(tensor, enter))
            self._proto.graph.input.extend(self._declared(tensor, enter))
            self._untouched[name] = effective(tensor, enter)
            if name in self._read:
                self._convert(Conversion(tensor, enter, self._opset, self._may_become_integers(name)).arrive())

    def compute(self) -> None:
        """Adds the ops between the cuts, and before them every input-independent node they need."""
        model = self._graph.model
        nodes = {op.name: model.ops[op.index] for op in self._ops}
        waiting: list[NodeProto] = list(nodes.values())
        while waiting:
            for name in reads(waiting.pop()):
                if name in model.weights:
                    self._weights[name] = model.weights[name]
                elif name in model.constant_nodes and name not in self._graph.tensors:
                    node = model.constant_nodes[name]
                    if node.name not in nodes:
                        nodes[node.name] = node
                        waiting.append(node)
        self._proto.graph.node.extend(node for node in model.proto.graph.node if node.name in nodes)
        leaving = set(self._end.border)
        for name in sorted(self._made - leaving):
            self._proto.graph.value_info.append(self._value(self._graph.tensors[name], name))

    def leave(self, leave: Form) -> None:
        """Declares the outputs and converts the tensors that do not simply pass through."""
        for name in self._end.border:
            tensor = self._graph.tensors[name]
            self.outputs.extend(travelling(tensor, leave))
            self._proto.graph.output.extend(self._declared(tensor, leave))
            arrived = self._untouched.get(name)
            if arrived is effective(tensor, leave):
                continue
            if arrived is not None and name not in self._read:
                self._convert(Conversion(tensor, arrived, self._opset).arrive())
            self._convert(Conversion(tensor, leave, self._opset).leave())

    def finish(self) -> bytes:
        """The stage's bytes, checked before the weights go in. Raises BadModel."""
        label = f"{self._graph.model.source}: the stage from {self._begin.label!r} to {self._end.label!r}"
        if sum(map(weight_nbytes, self._weights.values())) > LARGEST_STAGE:
            raise BadModel(f"{label} has more than 2 GiB of weights; choose cuts that make it smaller")
        external = self._graph.model.external
        bare = ModelProto()
        bare.CopyFrom(self._proto)
        for name, tensor in self._weights.items():
            if weight_nbytes(tensor) <= SMALL:
                bare.graph.initializer.append(external.embedded(tensor))
            else:
                bare.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
        check_structure(bare, label)
        for name in sorted(self._weights):
            self._proto.graph.initializer.append(external.embedded(self._weights[name]))
        data: bytes = self._proto.SerializeToString(deterministic=True)
        return data

    def weight_bytes(self) -> int:
        """Bytes of the constants the stage's ops read, each counted once."""
        sizes = self._graph.weights
        shared = {name: sizes[name] for op in self._ops for name in op.weights if name in sizes}
        own = sum(op.weight_bytes - sum(sizes.get(name, 0) for name in op.weights) for op in self._ops)
        return own + sum(shared.values())

    @property
    def _opset(self) -> int:
        return self._graph.opsets[""]

    def _check_borders(self) -> None:
        missing = sorted(self._read - self._made - set(self._begin.border))
        if missing:
            raise BadCut(f"the cut {self._begin.label!r} lacks {missing[0]!r}: it is no down-set of {self._graph.name}")
        missing = sorted(set(self._end.border) - self._made - set(self._begin.border))
        if missing:
            raise BadCut(f"the cut {self._end.label!r} wants {missing[0]!r}, which nothing before it makes")

    def _may_become_integers(self, name: str) -> bool:
        """Whether an engine may merge a DequantizeLinear that makes ``name`` with what reads it."""
        return any(
            op.kind == "QuantizeLinear" or (op.kind in INTEGER_PRODUCTS and name in op.inputs) for op in self._ops
        )  # fmt: skip

    def _convert(self, conversion: Conversion) -> None:
        self._proto.graph.node.extend(conversion.nodes)
        self._proto.graph.initializer.extend(conversion.constants)

    def _declared(self, tensor: Tensor, form: Form) -> list[ValueInfoProto]:
        first, *scales = travelling(tensor, form)
        whole = self._value(first, tensor.name)
        # The length of axis 1 may itself be dynamic.
        dims = [list(whole.type.tensor_type.shape.dim)[1 : 1 + len(part.shape)] for part in scales]
        types = [_tensor_type(part.dtype, sizes) for part, sizes in zip(scales, dims, strict=True)]
        return [whole, *(ValueInfoProto(name=p.name, type=kind) for p, kind in zip(scales, types, strict=True))]

    def _value(self, tensor: Tensor, like: str) -> ValueInfoProto:
        """``tensor`` declared with the symbolic dimensions the model gives to ``like``."""
        if tensor.dtype in ("sequence", "optional", "map"):
            return ValueInfoProto(name=tensor.name, type=self._graph.model.types[like])
        known = self._graph.model.types.get(like)
        rank = len(self._graph.tensors[like].shape)
        if known is not None and known.tensor_type.HasField("shape") and len(known.tensor_type.shape.dim) == rank:
            dims = list(known.tensor_type.shape.dim)
        else:
            dims = [onnx.TensorShapeProto.Dimension() for _ in range(rank)]
        return ValueInfoProto(name=tensor.name, type=_tensor_type(tensor.dtype, dims))


def _tensor_type(dtype: str, dims: Iterable[object]) -> TypeProto:
    kind = TypeProto()
    kind.tensor_type.elem_type = elem_type_of(dtype)
    kind.tensor_type.shape.SetInParent()
    kind.tensor_type.shape.dim.extend(dims)
    return kind
