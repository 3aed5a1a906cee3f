"""Giving a model's dynamic dimensions concrete sizes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod

from onnx import ModelProto, TypeProto

from cutwater.errors import BadShape
from cutwater.graph.model import Model
from cutwater.graph.tensors import item_bytes

LARGEST_DIMENSION = 2**31 - 1
LARGEST_TENSOR = 2**40
"""Bytes; a single tensor beyond this is a typing error, not a model."""

_NOT_BATCH = re.compile(r"bytes|seq|time|len|height|width|token|point|frame|box|num|channel|^[hwctl]$", re.IGNORECASE)


@dataclass(frozen=True)
class Sizes:
    """What each dynamic dimension of the inputs stands for."""

    values: Mapping[str, int]
    """Dimension name -> concrete size."""
    batch: frozenset[str]
    """Names of the dimensions that carry the batch."""

    def at_batch(self, factor: int) -> Mapping[str, int]:
        """The same sizes with ``factor`` times the batch."""
        return {name: size * factor if name in self.batch else size for name, size in self.values.items()}


def resolve_sizes(model: Model, sizes: Mapping[str, int] | None = None) -> Sizes:
    """Sizes for all dynamic dimensions of the model's inputs; the batch is 1 unless given.

    Args:
        model: The model.
        sizes: Dimension name ("height") or "input:axis" ("x:2") -> size.

    Raises:
        BadShape: a size that is no positive whole number or absurdly large, a name that is not a dimension of the
            model, a contradiction to a fixed dimension, or a dimension that is neither given nor the batch.
    """
    dims = {
        f"{value.name}:{axis}": dim.dim_param or int(dim.dim_value)
        for value in model.inputs
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
    }
    for value in model.inputs:
        if not value.type.tensor_type.HasField("shape"):
            raise BadShape(f"{model.source}: input {value.name!r} has no rank; export the model with its input shapes")
    names = {dim for dim in dims.values() if isinstance(dim, str)}
    given: dict[str, int] = {}
    for key, size in (sizes or {}).items():
        _check_size(model, key, size)
        dim = dims.get(key, key)
        if isinstance(dim, int) and dim != size:
            raise BadShape(f"{model.source}: {key} is fixed at {dim} in the model and cannot be {size}")
        if isinstance(dim, str):
            _check_name(model, dim, names, dims)
            if given.setdefault(dim, int(size)) != size:
                raise BadShape(f"{model.source}: {dim!r} was given as {given[dim]} and as {size}; give it once")
    batch = _batch_dimensions(dims, names)
    missing = sorted(names - batch - given.keys())
    if missing:
        raise BadShape(
            f"{model.source}: these dimensions have no size: {', '.join(missing)}; "
            f"set them like this: {' '.join(f'--size {name}=640' for name in missing)}"
        )
    resolved = Sizes({name: given.get(name, 1) for name in sorted(names)}, frozenset(batch))
    _check_inputs(model, resolved)
    return resolved


def concrete(kind: TypeProto, values: Mapping[str, int]) -> TypeProto:
    """A type with each named dimension in ``values`` replaced by its size."""
    result = TypeProto()
    result.CopyFrom(kind)
    for dim in result.tensor_type.shape.dim:
        if dim.dim_param in values:
            dim.dim_value = values[dim.dim_param]
    return result


def concrete_inputs(bare: ModelProto, values: Mapping[str, int]) -> None:
    """Sets the dynamic dimensions of a skeleton's inputs, in place."""
    for value in bare.graph.input:
        value.type.CopyFrom(concrete(value.type, values))


def _check_size(model: Model, key: str, size: object) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= LARGEST_DIMENSION:
        raise BadShape(
            f"{model.source}: the size of {key!r} is {size!r}; it must be a whole number from 1 to {LARGEST_DIMENSION}"
        )


def _check_name(model: Model, name: str, names: set[str], dims: Mapping[str, object]) -> None:
    if name not in names:
        known = sorted(names) or ["none: all dimensions are fixed"]
        close = get_close_matches(name, [*names, *dims], 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise BadShape(f"{model.source}: has no dimension {name!r}{hint} (dynamic dimensions: {', '.join(known)})")


def _batch_dimensions(dims: Mapping[str, str | int], names: set[str]) -> set[str]:
    """Dynamic first axes, unless the name says otherwise or the same dimension also occurs elsewhere."""
    elsewhere = {dim for key, dim in dims.items() if not key.endswith(":0")}
    return {
        dim
        for key, dim in dims.items()
        if isinstance(dim, str)
        and key.endswith(":0")
        and dim not in elsewhere
        and (dim == key or _NOT_BATCH.search(dim) is None)
    }


def _check_inputs(model: Model, sizes: Sizes) -> None:
    for value in model.inputs:
        kind = concrete(value.type, sizes.values).tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        if prod(shape) * item_bytes(kind.elem_type) > LARGEST_TENSOR:
            raise BadShape(f"{model.source}: input {value.name!r} of {shape} would take over 1 TiB; give smaller sizes")
