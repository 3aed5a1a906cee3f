"""Concrete shapes of every request-dependent tensor, and which axis carries the batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx
from onnx import TypeProto, ValueInfoProto

from cutwater.errors import BadShape
from cutwater.graph.fold import fold_shapes
from cutwater.graph.graph import Tensor
from cutwater.graph.model import Model
from cutwater.graph.nodes import reads
from cutwater.graph.sizes import LARGEST_TENSOR, Sizes, concrete, concrete_inputs
from cutwater.graph.skeleton import infer, skeleton
from cutwater.graph.tensors import UNSENDABLE, dtype_name, elem_type_of, item_bytes

Observed = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor name -> dtype and shape seen when the model was run at the sizes asked for."""

_SEVERAL = 3
"""A batch to compare with: a prime that rarely occurs as the ratio of two other dimensions."""


@dataclass(frozen=True)
class Shapes:
    """What shape inference found at concrete sizes."""

    types: Mapping[str, TypeProto]
    """Every value by name, constants included."""
    at_several: Mapping[str, TypeProto]
    """The same with `_SEVERAL` times the batch; empty where the batch is fixed."""

    def dims(self, name: str) -> tuple[int, ...] | None:
        """The concrete shape of a value; None where it is not known."""
        return _dims(self.types.get(name))


def infer_shapes(model: Model, sizes: Sizes, observed: Observed | None = None) -> Shapes:
    """Shapes at the given sizes and, to find the batch axes, at several times their batch."""
    types = _infer_at(model, sizes.values, observed or {})
    several = _infer_at(model, sizes.at_batch(_SEVERAL), {}) if sizes.batch else {}
    return Shapes(types, several)


def flowing(model: Model) -> dict[str, None]:
    """Names of the tensors that depend on the request and that something reads or the model returns; in order."""
    read = {name for node in model.ops for name in reads(node)} | {value.name for value in model.outputs}
    names = dict.fromkeys(value.name for value in model.inputs)
    names.update(dict.fromkeys(name for node in model.ops for name in node.output if name and name in read))
    return names


def without_shape(model: Model, shapes: Shapes) -> list[str]:
    """Flowing tensors whose shape stays unknown."""
    return [
        name
        for name in flowing(model)
        if shapes.dims(name) is None and _kind(shapes.types.get(name)) not in ("sequence", "optional", "map")
    ]


def make_tensor(model: Model, name: str, shapes: Shapes, sizes: Sizes) -> Tensor:
    """The Tensor of a value. Raises BadShape if its shape is unknown or makes no sense."""
    kind = shapes.types.get(name)
    dtype, shape = _kind(kind), _dims(kind)
    if dtype in UNSENDABLE - {"string"}:
        return Tensor(name, dtype, (), 0)
    if shape is None or kind is None:
        raise BadShape(f"{model.source}: the shape of {name!r} is not known; run the model once to observe it")
    nbytes = prod(shape) * item_bytes(kind.tensor_type.elem_type)
    if nbytes > LARGEST_TENSOR:
        raise BadShape(f"{model.source}: {name!r} of {list(shape)} would take over 1 TiB; give smaller sizes")
    return Tensor(name, dtype, shape, nbytes, _batch_axis(model, name, shape, shapes, sizes))


def _infer_at(model: Model, values: Mapping[str, int], observed: Observed) -> Mapping[str, TypeProto]:
    bare = skeleton(model.proto, model.external)
    concrete_inputs(bare, values)
    claims = {
        value.name: ValueInfoProto(name=value.name, type=concrete(value.type, values))
        for value in (*model.proto.graph.value_info, *model.proto.graph.output)
    }
    for name, (dtype, shape) in observed.items():
        claims[name] = onnx.helper.make_tensor_value_info(name, elem_type_of(dtype), shape)
    types = infer(bare, claims.values(), sized=True)
    wanted = flowing(model)
    while any(_dims(types.get(name)) is None for name in wanted):
        if not fold_shapes(bare, types):
            break
        # What was folded away has a type still: it may flow between ops of the real graph.
        types = {**types, **infer(bare, claims.values(), sized=True)}
    return types


def _batch_axis(model: Model, name: str, shape: tuple[int, ...], shapes: Shapes, sizes: Sizes) -> int | None:
    """The one axis that is the batch: it scales with it, and nothing else does."""
    if not sizes.batch:
        return None
    batch = sizes.values[min(sizes.batch)]
    several = _dims(shapes.at_several.get(name))
    if several is None:
        symbols = model.types.get(name)
        dims = list(symbols.tensor_type.shape.dim) if symbols is not None else []
        axes = [axis for axis, dim in enumerate(dims) if dim.dim_param in sizes.batch]
    elif len(several) == len(shape):
        axes = [axis for axis, size in enumerate(several) if size != shape[axis]]
        axes = axes if all(several[axis] == _SEVERAL * batch and shape[axis] == batch for axis in axes) else []
    else:
        axes = []
    return axes[0] if len(axes) == 1 else None


def _kind(kind: TypeProto | None) -> str:
    match kind.WhichOneof("value") if kind is not None else None:
        case "sequence_type":
            return "sequence"
        case "optional_type":
            return "optional"
        case "map_type":
            return "map"
        case "tensor_type" if kind is not None and kind.tensor_type.elem_type:
            return dtype_name(kind.tensor_type.elem_type)
    return "unknown"


def _dims(kind: TypeProto | None) -> tuple[int, ...] | None:
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else None
