"""A model without its weight payloads: what the checker and shape inference work on."""

from collections.abc import Iterable, Mapping

import onnx
from onnx import ModelProto, TypeProto, ValueInfoProto

from cutwater.graph.check import STANDARD
from cutwater.graph.tensors import ExternalData, weight_nbytes

SMALL = 1024
"""Bytes up to which a weight keeps its payload: shapes, axes, scales and the like decide the shapes of others."""
IR_VERSION = 4
"""From this version of the format on, an initialiser need not also be listed as an input."""


def skeleton(proto: ModelProto, external: ExternalData, functions: bool = False) -> ModelProto:
    """A copy in which every large weight is an input of the same type: megabytes become kilobytes.

    ONNX's checker and shape inference serialise what they are given, so weights would be copied several times, and
    a model over 2 GiB could not be checked at all.
    """
    bare = ModelProto(ir_version=max(proto.ir_version, IR_VERSION), opset_import=proto.opset_import)
    bare.graph.name = proto.graph.name or "graph"
    weights = {tensor.name for tensor in proto.graph.initializer}
    bare.graph.input.extend(value for value in proto.graph.input if value.name not in weights)
    for tensor in proto.graph.initializer:
        if weight_nbytes(tensor) <= SMALL:
            bare.graph.initializer.append(external.embedded(tensor))
        else:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    bare.graph.output.extend(proto.graph.output)
    bare.graph.node.extend(proto.graph.node)
    if functions:
        bare.functions.extend(proto.functions)
    return bare


def infer(bare: ModelProto, keep: Iterable[ValueInfoProto], sized: bool) -> Mapping[str, TypeProto]:
    """Types of all values of a skeleton, as far as they can be inferred.

    Args:
        bare: A skeleton; left as it is.
        keep: Types the model's file claims. They are believed where nothing can be inferred: for results of ops of
            other domains, and, in a second run, for whatever stayed unknown in the first.
        sized: Whether all dimensions have sizes, so that a shape with an open dimension counts as unknown.
    """
    claims = {value.name: value for value in keep if _has_shape(value.type, sized)}
    foreign = {name for node in bare.graph.node if node.domain not in STANDARD for name in node.output}
    types = _infer(bare, [claims[name] for name in foreign if name in claims])
    unknown = {name for name in claims if not _has_shape(types.get(name), sized)}
    if unknown - foreign:
        types = _infer(bare, [claims[name] for name in claims if name in unknown or name in foreign])
    return types


def _infer(bare: ModelProto, claims: list[ValueInfoProto]) -> dict[str, TypeProto]:
    asked = ModelProto()
    asked.CopyFrom(bare)
    believed = {value.name: value.type for value in claims}
    for value in asked.graph.output:
        if value.name in believed:
            value.type.CopyFrom(believed.pop(value.name))
        else:
            # What a file says about its outputs is often only true for the size it was exported at.
            value.type.tensor_type.ClearField("shape")
    asked.graph.value_info.extend(ValueInfoProto(name=name, type=kind) for name, kind in believed.items())
    inferred = onnx.shape_inference.infer_shapes(asked, data_prop=True).graph
    return {value.name: value.type for value in (*inferred.input, *inferred.value_info, *inferred.output)}


def _has_shape(kind: TypeProto | None, sized: bool) -> bool:
    if kind is None or not kind.HasField("tensor_type"):
        return kind is not None
    shape = kind.tensor_type.shape
    return kind.tensor_type.HasField("shape") and (not sized or all(dim.HasField("dim_value") for dim in shape.dim))
