"""From a Model to its Graph: concrete sizes, shapes of everything that flows, FLOPs, weights and scopes."""

from collections.abc import Collection, Mapping
from hashlib import sha256
from math import prod

from onnx import NodeProto

from cutwater.errors import BadShape
from cutwater.graph.flops import flops_of
from cutwater.graph.graph import Graph, Op
from cutwater.graph.model import Model
from cutwater.graph.nodes import bodies, reads
from cutwater.graph.shapes import Observed, Shapes, flowing, infer_shapes, make_tensor, without_shape
from cutwater.graph.sizes import Sizes, resolve_sizes
from cutwater.graph.tensors import item_bytes, weight_nbytes


def build_graph(model: Model, sizes: Mapping[str, int] | None = None, observed: Observed | None = None) -> Graph:
    """The Graph of a model at concrete sizes.

    Args:
        model: The model.
        sizes: Dimension name ("height") or "input:axis" ("x:2") -> size; the batch is 1 unless given.
        observed: Type and shape of tensors that shape inference cannot tell (`unknown_shapes`), seen in a run.

    Raises:
        BadShape: a size is missing or makes no sense, or shapes stay unknown.
    """
    resolved = resolve_sizes(model, sizes)
    shapes = infer_shapes(model, resolved, observed)
    unknown = without_shape(model, shapes)
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise BadShape(
            f"{model.source}: the shapes of {len(unknown)} tensors depend on the data or contradict the sizes given "
            f"({shown}); run the model once on a typical input to observe them, or check the sizes"
        )
    _check_reshapes(model, shapes)
    tensors = {name: make_tensor(model, name, shapes, resolved) for name in flowing(model)}
    weights: dict[str, int] = {}
    ops = []
    for index, node in enumerate(model.ops):
        op = _op(index, node, model, shapes, tensors.keys())
        weights.update({name: _constant_bytes(name, model, shapes) for name in op.weights})
        ops.append(op)
    return Graph(
        name=model.name,
        ops=tuple(ops),
        tensors=tensors,
        inputs=tuple(value.name for value in model.inputs),
        outputs=tuple(value.name for value in model.outputs),
        opsets=model.opsets,
        hash=_hash(model, resolved),
        model=model,
        weights=weights,
    )


def unknown_shapes(model: Model, sizes: Mapping[str, int] | None = None) -> list[str]:
    """Names of the tensors whose shape only a run of the model can tell. Raises BadShape for wrong sizes."""
    return without_shape(model, infer_shapes(model, resolve_sizes(model, sizes)))


def _check_reshapes(model: Model, shapes: Shapes) -> None:
    """Inference takes a Reshape at its word; an engine would refuse it only once the model runs."""
    for node in model.ops:
        if node.op_type == "Reshape" and node.domain in ("", "ai.onnx"):
            before, after = shapes.dims(node.input[0]), shapes.dims(node.output[0])
            if before is not None and after is not None and prod(before) != prod(after):
                raise BadShape(
                    f"{model.source}: the sizes given contradict the model: {node.name!r} cannot turn {list(before)} "
                    f"into {list(after)}; give the sizes it was made for"
                )


def _op(index: int, node: NodeProto, model: Model, shapes: Shapes, flowing_names: Collection[str]) -> Op:
    names = reads(node)
    flows = tuple(name for name in names if name in flowing_names)
    weights = tuple(name for name in names if name not in flowing_names)
    inner = sum(weight_nbytes(tensor) for body in bodies(node) for tensor in body.initializer)
    return Op(
        index=index,
        name=node.name,
        kind=node.op_type,
        domain=node.domain,
        inputs=flows,
        outputs=tuple(name for name in node.output if name in flowing_names),
        weights=weights,
        weight_bytes=inner + sum(_constant_bytes(name, model, shapes) for name in weights),
        flops=flops_of(node, tuple(map(shapes.dims, node.input)), tuple(map(shapes.dims, node.output))),
        scope=model.scopes.get(node.name, ""),
    )


def _constant_bytes(name: str, model: Model, shapes: Shapes) -> int:
    if name in model.weights:
        return weight_nbytes(model.weights[name])
    dims = shapes.dims(name)
    return prod(dims) * item_bytes(shapes.types[name].tensor_type.elem_type) if dims is not None else 0


def _hash(model: Model, sizes: Sizes) -> str:
    """Sizes belong to the identity: the same file at another picture size has other costs and other borders."""
    return sha256(f"{model.hash}{sorted(sizes.values.items())}".encode()).hexdigest()
