"""Walking ONNX nodes: what they read (bodies of If, Loop and Scan included) and how they are named."""

import ast
from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where PyTorch's exporter leaves the path of modules a node came from."""


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The sub-graphs of a control-flow node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Every node, those of sub-graphs included."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from all_nodes(body.node)


def reads(node: NodeProto) -> tuple[str, ...]:
    """Names of the values a node needs: its inputs, then what its bodies capture from outside; each once."""
    names = dict.fromkeys(name for name in node.input if name)
    for body in bodies(node):
        names.update(dict.fromkeys(_captures(body)))
    return tuple(names)


def _captures(body: GraphProto) -> list[str]:
    known = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    captured: dict[str, None] = {}
    for node in body.node:
        captured.update(dict.fromkeys(name for name in reads(node) if name not in known))
        known.update(node.output)
    captured.update(dict.fromkeys(value.name for value in body.output if value.name not in known))
    return list(captured)


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    """The value of an attribute: int, float, bytes, or a list of ints or floats; ``default`` where it is absent."""
    for candidate in node.attribute:
        if candidate.name == name:
            match candidate.type:
                case AttributeProto.INT:
                    return int(candidate.i)
                case AttributeProto.FLOAT:
                    return float(candidate.f)
                case AttributeProto.STRING:
                    return bytes(candidate.s)
                case AttributeProto.INTS:
                    return [int(value) for value in candidate.ints]
                case AttributeProto.FLOATS:
                    return [float(value) for value in candidate.floats]
    return default


def scope_of(node: NodeProto) -> str:
    """The layer a node belongs to ("blocks.5.conv"), from what the exporter left; "" where it left nothing."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            return _scope_from_list(entry.value)
    if not node.name.startswith("/"):
        return ""
    path: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        # A child of a container repeats the container's name: "/blocks/blocks.5/Conv" is in "blocks.5".
        if path and part.startswith(path[-1] + "."):
            path[-1] = part
        else:
            path.append(part)
    return ".".join(path)


def _scope_from_list(text: str) -> str:
    """``"['', 'layer1', 'layer1.0', 'conv2d']"`` -> ``"layer1.0"``: the last entry is the node's own name."""
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return ""
    if not isinstance(names, list) or len(names) < 2:
        return ""
    return str(names[-2])


def give_names(nodes: Iterable[NodeProto]) -> None:
    """Gives every node a name of its own, such as "Conv_12", keeping those that are unique already."""
    nodes = list(nodes)
    taken: set[str] = set()
    for position, node in enumerate(nodes):
        wanted = node.name or f"{node.op_type}_{position}"
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name)
        node.name = name


def strip_notes(nodes: Iterable[NodeProto]) -> None:
    """Drops documentation and metadata: exporters leave stack traces with paths of the machine they ran on."""
    for node in all_nodes(nodes):
        del node.metadata_props[:]
        node.doc_string = ""
        for body in bodies(node):
            for value in (*body.input, *body.output, *body.value_info):
                del value.metadata_props[:]
                value.doc_string = ""
