"""Parts a stage at its host ops: the ops no inference engine has, such as decoding a picture.

A host op is a node of domain "ai.cutwater.vision"; `cutwater.vision.host_ops` computes it. Everything else is for the
engine. Nodes get the lowest level at which all their inputs are there, where engine nodes have even levels and host
ops odd ones; one level's engine nodes make one segment.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from cutwater.errors import BadModel
from cutwater.frameworks.base import Array
from cutwater.graph.nodes import reads
from cutwater.vision.host_ops import HOST_DOMAIN, host_op


@dataclass(frozen=True)
class HostOp:
    """A node that is computed outside the engine."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Array]
    """Those of the inputs that are the same for every request."""
    function: Callable[[Sequence[Array]], list[Array]] = field(repr=False)

    @property
    def dynamic_inputs(self) -> tuple[str, ...]:
        """The inputs that differ between requests."""
        return tuple(dict.fromkeys(name for name in self.inputs if name and name not in self.constants))

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The outputs for one request. Raises what the host op raises."""
        return self.function([self.constants[n] if n in self.constants else feeds[n] for n in self.inputs if n])


@dataclass(frozen=True)
class EngineSegment:
    """Nodes that the engine computes in one go."""

    source: ModelProto = field(repr=False)
    nodes: Sequence[NodeProto] = field(repr=False)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def onnx(self, types: Mapping[str, np.dtype[Any]]) -> bytes:
        """This segment as a model; ``types`` tells what the stage leaves undeclared. Raises BadModel."""
        declared = _declared(self.source.graph)
        graph = GraphProto(name=self.source.graph.name)
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in reads(node)}
        graph.initializer.extend(weight for weight in self.source.graph.initializer if weight.name in used)
        for name in self.inputs:
            if name in declared:
                graph.input.append(declared[name])
            elif name in types:
                code = helper.np_dtype_to_tensor_dtype(types[name])
                graph.input.append(helper.make_tensor_value_info(name, code, None))
            else:
                raise BadModel(f"the type of {name!r}, the output of a host op, is not declared; add a value_info")
        graph.output.extend(declared.get(name) or ValueInfoProto(name=name) for name in self.outputs)
        model = ModelProto(ir_version=self.source.ir_version, graph=graph)
        model.opset_import.extend(entry for entry in self.source.opset_import if entry.domain != HOST_DOMAIN)
        model.functions.extend(self.source.functions)
        data: bytes = model.SerializeToString()
        return data


@dataclass(frozen=True)
class Segments:
    """A stage as a sequence of things to compute, and its own inputs and outputs."""

    segments: tuple[HostOp | EngineSegment, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def split_at_host_ops(onnx: bytes) -> Segments:
    """The stage's segments in the order in which to run them. Raises BadModel."""
    try:
        model = ModelProto.FromString(onnx)
    except DecodeError as error:
        raise BadModel(f"the stage is not an ONNX model: {error}") from error
    nodes = tuple(model.graph.node)
    weights = {weight.name for weight in model.graph.initializer}
    inputs = tuple(value.name for value in model.graph.input if value.name not in weights)
    outputs = tuple(value.name for value in model.graph.output)
    fixed, levels = _levels(nodes, inputs, outputs)
    segments: list[HostOp | EngineSegment] = []
    for level, members in sorted(levels.items()):
        if level % 2:
            segments.extend(_host_op(nodes[index], model, fixed) for index in members)
            continue
        others = (nodes[index] for other, indices in levels.items() if other != level for index in indices)
        wanted = {*outputs, *(name for node in others for name in reads(node))}
        segments.append(_engine_segment(model, nodes, members, fixed, wanted))
    return Segments(tuple(segments), inputs, outputs)


def _levels(
    nodes: Sequence[NodeProto], inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[dict[str, int], dict[int, list[int]]]:
    """Output name -> node index for nodes that are the same for every request; level -> node indices for the others."""
    level_of = dict.fromkeys(inputs, 0)
    fixed: dict[str, int] = {}
    levels: dict[int, list[int]] = defaultdict(list)
    for index, node in enumerate(nodes):
        before = [level_of[name] for name in reads(node) if name in level_of]
        if not before and node.domain != HOST_DOMAIN and not set(outputs).intersection(node.output):
            fixed.update(dict.fromkeys(node.output, index))
            continue
        level = max(before, default=0)
        # A host op that reads another's output shares its level: one level's host ops run in the graph's order.
        if level % 2 != (node.domain == HOST_DOMAIN):
            level += 1
        level_of.update(dict.fromkeys(node.output, level))
        levels[level].append(index)
    return fixed, levels


def _engine_segment(
    model: ModelProto,
    nodes: Sequence[NodeProto],
    members: Sequence[int],
    fixed: Mapping[str, int],
    wanted: Collection[str],
) -> EngineSegment:
    """The segment of one level, with the input-independent nodes it needs."""
    needed = set(members)
    waiting = list(members)
    while waiting:
        for name in reads(nodes[waiting.pop()]):
            if name in fixed and fixed[name] not in needed:
                needed.add(fixed[name])
                waiting.append(fixed[name])
    chosen = [nodes[index] for index in sorted(needed)]
    made = {name for node in chosen for name in node.output}
    made.update(weight.name for weight in model.graph.initializer)
    inputs = dict.fromkeys(name for node in chosen for name in reads(node) if name not in made)
    outputs = dict.fromkeys(name for index in members for name in nodes[index].output if name in wanted)
    return EngineSegment(model, chosen, tuple(inputs), tuple(outputs))


def _host_op(node: NodeProto, model: ModelProto, fixed: Mapping[str, int]) -> HostOp:
    weights = {weight.name: weight for weight in model.graph.initializer}
    constants: dict[str, Array] = {}
    for name in node.input:
        if name in weights:
            constants[name] = numpy_helper.to_array(weights[name])
        elif name in fixed and (maker := model.graph.node[fixed[name]]).op_type == "Constant":
            constants[name] = numpy_helper.to_array(helper.get_node_attr_value(maker, "value"))
        elif name in fixed:
            raise BadModel(f"input {name!r} of host op {node.op_type} must be an initialiser, a Constant or computed")
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return HostOp(
        node.name or node.output[0],
        tuple(node.input),
        tuple(node.output),
        constants,
        host_op(node.op_type, attributes),
    )


def _declared(graph: GraphProto) -> dict[str, ValueInfoProto]:
    """Name -> declaration, for every tensor whose type the model states."""
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: value for value in values if value.type.tensor_type.elem_type}
