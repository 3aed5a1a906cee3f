"""Working out the integer arithmetic on shapes that exporters leave in a graph, once all sizes are concrete."""

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TypeProto
from onnx.reference import ReferenceEvaluator

from cutwater.graph.nodes import attribute, reads

LARGEST = 1024
"""Elements of a value that may still be arithmetic on shapes."""

ARITHMETIC = frozenset({
    "Abs", "Add", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather",
    "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Range", "ReduceProd", "Reshape", "Slice",
    "Split", "Sqrt", "Squeeze", "Sub", "Unsqueeze", "Where",
})  # fmt: skip


def fold_shapes(bare: ModelProto, types: Mapping[str, TypeProto]) -> bool:
    """Replaces what can be worked out by its value, in a skeleton at concrete sizes; whether there was anything.

    Shape inference follows such values itself only through some ops; after folding it can go on where it stopped.
    """
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in bare.graph.initializer}
    outputs = {value.name for value in bare.graph.output}
    opsets = list(bare.opset_import)
    left: list[NodeProto] = []
    made: dict[str, np.ndarray] = {}
    for node in bare.graph.node:
        found = None if outputs.intersection(node.output) else _value(node, types, values, opsets)
        if found is None:
            left.append(node)
            continue
        made.update(found)
        values.update(found)
    if made:
        kept = [NodeProto.FromString(node.SerializeToString()) for node in left]
        del bare.graph.node[:]
        bare.graph.node.extend(kept)
        bare.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in made.items())
    return bool(made)


def _value(
    node: NodeProto, types: Mapping[str, TypeProto], values: Mapping[str, np.ndarray], opsets: list[object]
) -> dict[str, np.ndarray] | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Shape":
        kind = types.get(node.input[0])
        start, end = attribute(node, "start", 0), attribute(node, "end")
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        dims = list(kind.tensor_type.shape.dim)
        if not isinstance(start, int) or not isinstance(end, int | None):
            return None
        dims = dims[start:end]
        known = all(dim.HasField("dim_value") for dim in dims)
        return {node.output[0]: np.array([dim.dim_value for dim in dims], np.int64)} if known else None
    needed = reads(node)
    if node.op_type not in ARITHMETIC or any(name not in values or values[name].size > LARGEST for name in needed):
        return None
    if any(_elements(types.get(name)) > LARGEST for name in node.output):
        return None
    made = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph(
        [node], "one", [], made, [onnx.numpy_helper.from_array(np.asarray(values[name]), name) for name in needed]
    )
    results = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets)).run(None, {})
    arrays = [np.asarray(result) for result in results]
    if any(array.size > LARGEST for array in arrays):
        return None
    return {value.name: array for value, array in zip(made, arrays, strict=True)}


def _elements(kind: TypeProto | None) -> int:
    """Elements of a value as far as its dimensions are known: weights made by ops are not to be made here."""
    return prod(dim.dim_value or 1 for dim in kind.tensor_type.shape.dim) if kind is not None else 0
