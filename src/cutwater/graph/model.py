"""Model: one loaded ONNX file, checked and tidied, with every weight held once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto
from onnx.inliner import inline_local_functions

from cutwater.errors import BadModel
from cutwater.graph.check import check_ops, check_opsets, check_structure
from cutwater.graph.nodes import attribute, give_names, reads, scope_of, strip_notes
from cutwater.graph.skeleton import infer, skeleton
from cutwater.graph.tensors import ExternalData, is_external

LARGEST_MESSAGE = 2**31 - 1
"""Bytes protobuf can hold in one message; a larger model keeps its weights in external data."""

RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
"""Ops that read nothing and still differ from request to request: they are never copied into two stages."""


@dataclass(frozen=True, eq=False)
class Model:
    """A valid model: unique node names, ``Constant`` nodes as weights, shapes of static tensors as weights."""

    name: str
    """The file's name without its extension."""
    source: str
    """What to call it in messages: the path as it was given."""
    proto: ModelProto = field(repr=False)
    """Holds the only copy of the embedded weights; nothing outside `cutwater.graph` and `cutwater.cut` reads it."""
    external: ExternalData = field(repr=False)
    scopes: Mapping[str, str] = field(repr=False)
    """Node name -> layer, where the exporter left one."""
    types: Mapping[str, TypeProto] = field(repr=False)
    """Value name -> its type with the model's own symbolic dimensions, as far as it can be inferred."""

    @cached_property
    def weights(self) -> Mapping[str, TensorProto]:
        """Initialisers by name, payloads possibly external."""
        return {tensor.name: tensor for tensor in self.proto.graph.initializer}

    @cached_property
    def inputs(self) -> tuple[ValueInfoProto, ...]:
        """What a request brings: the graph's inputs without those that are weights."""
        return tuple(value for value in self.proto.graph.input if value.name not in self.weights)

    @property
    def outputs(self) -> tuple[ValueInfoProto, ...]:
        """What a request is answered with."""
        return tuple(self.proto.graph.output)

    @cached_property
    def opsets(self) -> Mapping[str, int]:
        """Operator set domain ("" is the standard one) -> version."""
        return {_domain(entry.domain): entry.version for entry in self.proto.opset_import}

    @cached_property
    def ops(self) -> tuple[NodeProto, ...]:
        """The nodes that do work for each request and lead to an output, in topological order."""
        wanted = {value.name for value in self.outputs}
        fed = {value.name for value in self.inputs}
        for node in self.proto.graph.node:
            # A node whose result is an output has to run somewhere even if it depends on nothing.
            if node.op_type in RANDOM or not fed.isdisjoint(reads(node)) or not wanted.isdisjoint(node.output):
                fed.update(name for name in node.output if name)
        live: list[NodeProto] = []
        for node in reversed(self.proto.graph.node):
            if not wanted.isdisjoint(name for name in node.output if name):
                wanted.update(reads(node))
                if not fed.isdisjoint(node.output):
                    live.append(node)
        return tuple(reversed(live))

    @cached_property
    def constant_nodes(self) -> Mapping[str, NodeProto]:
        """Value -> the input-independent node that makes it. Such nodes are copied into each stage that uses them."""
        ops = {node.name for node in self.ops}
        return {
            name: node for node in self.proto.graph.node if node.name not in ops for name in node.output if name
        }  # fmt: skip

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of structure and weights; names of files, notes and producers do not matter."""
        digest = sha256(repr(sorted(self.opsets.items())).encode())
        for message in (*self.inputs, *self.outputs, *self.proto.graph.node):
            digest.update(message.SerializeToString(deterministic=True))
        for name in sorted(self.weights):
            tensor = self.weights[name]
            digest.update(f"{name}:{tensor.data_type}:{list(tensor.dims)}".encode())
            for chunk in self.external.chunks(tensor):
                digest.update(chunk)
        return digest.hexdigest()


def read_model(path: str | Path) -> Model:
    """Reads an ONNX file; external weights stay on disk until a stage needs them.

    Raises:
        BadModel: no such file, not ONNX, truncated, an unknown op or operator set, external data that is missing,
            incomplete or outside the model's folder, or anything else ONNX's own checker refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise BadModel(f"{path}: there is no such file; give the path of an .onnx file")
    if path.stat().st_size > LARGEST_MESSAGE:
        raise BadModel(f"{path}: larger than 2 GiB in one file; save it with its weights as external data")
    return _model(path.read_bytes(), path.stem, str(path), path.parent)


def model_from_bytes(data: bytes, name: str) -> Model:
    """A model from the bytes of an ONNX file, all weights inside. Raises BadModel as `read_model` does."""
    return _model(data, name, name, None)


def _model(data: bytes, name: str, source: str, folder: Path | None) -> Model:
    proto = _parse(data, source)
    del data
    check_opsets(proto, source)
    external = ExternalData(source, folder)
    for tensor in proto.graph.initializer:
        if is_external(tensor):
            external.check(tensor)
    if proto.functions:
        _inline_functions(proto, external, source)
    check_ops(proto, source)
    _refuse_what_cannot_be_cut(proto, source)
    give_names(proto.graph.node)
    scopes = {node.name: scope for node in proto.graph.node if (scope := scope_of(node))}
    strip_notes(proto.graph.node)
    _constants_to_weights(proto)
    _name_dimensions(proto)
    bare = skeleton(proto, external)
    check_structure(bare, source)
    types = infer(bare, (*proto.graph.value_info, *proto.graph.output), sized=False)
    _fold_static_shapes(proto, types)
    return Model(name, source, proto, external, scopes, types)


def _parse(data: bytes, source: str) -> ModelProto:
    if not data:
        raise BadModel(f"{source}: the file is empty; export or copy the model again")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        # Every exporter writes the version of the format first.
        if data[0] == 0x08 and data[1:2] != b"":
            raise BadModel(f"{source}: truncated or corrupt after {len(data)} bytes; copy the model again") from None
        raise BadModel(f"{source}: not an ONNX file; give a model exported to ONNX") from None
    if not proto.ir_version or not proto.HasField("graph"):
        raise BadModel(f"{source}: not an ONNX file; give a model exported to ONNX")
    return proto


def _inline_functions(proto: ModelProto, external: ExternalData, source: str) -> None:
    """Replaces calls of the model's own functions by their bodies, so that a cut can fall inside them."""
    bare = skeleton(proto, external, functions=True)
    try:
        inlined = inline_local_functions(bare, convert_version=True)
    except (RuntimeError, ValueError) as error:
        raise BadModel(f"{source}: a function cannot be inlined ({error}); export without functions") from error
    del proto.functions[:]
    del proto.graph.node[:]
    proto.graph.node.extend(inlined.graph.node)
    del proto.opset_import[:]
    proto.opset_import.extend(inlined.opset_import)


def _refuse_what_cannot_be_cut(proto: ModelProto, source: str) -> None:
    if proto.graph.sparse_initializer:
        raise BadModel(f"{source}: holds sparse weights, which no stage can carry; store them dense")
    weights = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.output:
        if value.name in weights:
            raise BadModel(f"{source}: output {value.name!r} is a stored weight; remove it from the model's outputs")
        if value.type.HasField("tensor_type") or not value.HasField("type"):
            continue
        raise BadModel(f"{source}: output {value.name!r} is not a tensor; export the model with tensors as outputs")
    for value in proto.graph.input:
        if not value.type.HasField("tensor_type"):
            raise BadModel(f"{source}: input {value.name!r} is not a tensor; export the model with tensors as inputs")


def _constants_to_weights(proto: ModelProto) -> None:
    """Turns Constant nodes into initialisers: some exporters keep all weights in them."""
    outputs = {value.name for value in proto.graph.output}
    kept = []
    for node in proto.graph.node:
        tensor = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and tensor is not None and not node.domain and node.output[0] not in outputs:
            weight = proto.graph.initializer.add()
            weight.CopyFrom(tensor)
            weight.name = node.output[0]
        else:
            kept.append(node)
    _keep_nodes(proto, kept)


def _keep_nodes(proto: ModelProto, kept: list[NodeProto]) -> None:
    if len(kept) < len(proto.graph.node):
        # The nodes are references into the list that is about to be emptied.
        copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]
        del proto.graph.node[:]
        proto.graph.node.extend(copies)


def _name_dimensions(proto: ModelProto) -> None:
    """Names each unnamed dynamic dimension of an input "input:axis", so that it can be set and followed."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name not in weights:
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if not dim.dim_param and dim.dim_value <= 0:
                    dim.dim_param = f"{value.name}:{axis}"


def _fold_static_shapes(proto: ModelProto, types: Mapping[str, TypeProto]) -> None:
    """Replaces Shape of a tensor whose size never changes by its value, so that no stage needs the tensor for it."""
    outputs = {value.name for value in proto.graph.output}
    kept = []
    for node in proto.graph.node:
        dims = _static_dims(node, types)
        if dims is None or node.output[0] in outputs:
            kept.append(node)
        else:
            size = onnx.helper.make_tensor(node.output[0], TensorProto.INT64, [len(dims)], dims)
            proto.graph.initializer.append(size)
    _keep_nodes(proto, kept)


def _static_dims(node: NodeProto, types: Mapping[str, TypeProto]) -> list[int] | None:
    if node.op_type != "Shape" or node.domain not in ("", "ai.onnx"):
        return None
    kind = types.get(node.input[0])
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    start, end = attribute(node, "start", 0), attribute(node, "end")
    if not isinstance(start, int) or not isinstance(end, int | None):
        return None
    dims = list(kind.tensor_type.shape.dim)[start:end]
    return [dim.dim_value for dim in dims] if all(dim.HasField("dim_value") for dim in dims) else None


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
