"""From the path of a model to its Graph; the model is run once where shape inference alone does not tell all sizes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from google.protobuf.message import EncodeError
from onnx import ModelProto, ValueInfoProto

from cutwater.errors import BadModel, BadShape, StageFailed
from cutwater.frameworks.base import Array, EngineOptions
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.graph.graph import Graph
from cutwater.graph.model import Model, read_model
from cutwater.graph.read import build_graph, unknown_shapes
from cutwater.graph.shapes import Observed
from cutwater.graph.sizes import concrete, resolve_sizes
from cutwater.graph.tensors import dtype_name


def open_graph(path: str | Path, sizes: Mapping[str, int] | None = None) -> Graph:
    """The Graph of a model file at concrete sizes.

    Args:
        path: An ONNX file.
        sizes: Dimension name ("height") or "input:axis" ("x:2") -> size; the batch is 1 unless given.

    Raises:
        BadModel: The file cannot be read or is not a valid model.
        BadShape: A size is missing or makes no sense.
    """
    model = read_model(path)
    return build_graph(model, sizes, observe_shapes(model, sizes))


def observe_shapes(
    model: Model, sizes: Mapping[str, int] | None = None, feeds: Mapping[str, Array] | None = None
) -> Observed:
    """Type and shape of the tensors whose size shape inference cannot tell, seen in one run; empty where it can.

    Args:
        model: The model.
        sizes: As for `open_graph`.
        feeds: A typical request. Sizes may depend on the data, so a real one is better than the default, which is
            random numbers (the same ones each time).

    Raises:
        BadShape: The model does not run at these sizes.
        BadModel: The model is over 2 GiB, which is more than can be run from memory.
    """
    wanted = unknown_shapes(model, sizes)
    if not wanted:
        return {}
    session = OnnxRuntime().load(_with_outputs(model, wanted), EngineOptions(optimise=False))
    try:
        values = session.run(_random_feeds(model, sizes) if feeds is None else feeds)
    except StageFailed as error:
        raise BadShape(f"{model.source}: does not run at these sizes: {error}; check the sizes") from error
    finally:
        session.close()
    return {name: (value.dtype.name, value.shape) for name, value in zip(session.outputs, values, strict=True)}


def _with_outputs(model: Model, names: list[str]) -> bytes:
    """The whole model as one file that returns the named tensors."""
    whole = ModelProto()
    whole.CopyFrom(model.proto)
    for index, weight in enumerate(whole.graph.initializer):
        whole.graph.initializer[index].CopyFrom(model.external.embedded(weight))
    declared = {value.name: value for value in (*whole.graph.value_info, *whole.graph.output)}
    del whole.graph.output[:]
    whole.graph.output.extend(ValueInfoProto(name=name, type=_bare_type(declared.get(name))) for name in names)
    try:
        data: bytes = whole.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise BadModel(
            f"{model.source}: over 2 GiB, and its file leaves shapes open; export it with fixed shapes"
        ) from error
    return data


def _bare_type(declared: ValueInfoProto | None) -> object:
    """The declared element type without the shape, which is often true only for the size exported at."""
    if declared is None:
        return None
    kind = type(declared.type)()
    kind.CopyFrom(declared.type)
    kind.tensor_type.ClearField("shape")
    return kind


def _random_feeds(model: Model, sizes: Mapping[str, int] | None) -> dict[str, Array]:
    """A request of random numbers at the given sizes; integers are 0, which is a valid index everywhere."""
    values = resolve_sizes(model, sizes).values
    rng = np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for value in model.inputs:
        kind = concrete(value.type, values).tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        dtype = np.dtype(dtype_name(kind.elem_type))
        random = np.issubdtype(dtype, np.floating)
        feeds[value.name] = rng.standard_normal(shape).astype(dtype) if random else np.zeros(shape, dtype)
    return feeds
