"""From a ModelInferRequest to the feeds of a model: views of the message where tensors came raw."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cutwater.api.backend import Feeds
from cutwater.api.datatypes import TEXT, Datatype, from_bytes, from_values, split_texts
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.requests import NAME, Contract, check_memory
from cutwater.errors import BadTensor
from cutwater.frameworks.base import Array

MOST = 256
"""Inputs, outputs or parameters of one request."""
LONGEST = 1024
"""Characters of a request's id."""

FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}
"""Datatype -> where its elements are in InferTensorContents; FP16 and BF16 have no place there."""


class Read(NamedTuple):
    """A request's inputs."""

    feeds: Feeds
    picture: bytes | None = None
    """An encoded picture instead of feeds, for whoever knows how the model wants it."""


def read_infer(contract: Contract, request: pb.ModelInferRequest, raw: Sequence[memoryview]) -> Read:
    """Take the inputs out.

    Args:
        contract: Of the model.
        request: As it came.
        raw: Its raw_input_contents.

    Raises:
        BadTensor: naming the field that is wrong.
        Unsupported: an input lies in shared memory.
    """
    _check_counts(request, raw)
    feeds: dict[str, Array] = {}
    picture: bytes | None = None
    names = []
    for index, tensor in enumerate(request.inputs):
        name, shape = tensor.name, tuple(tensor.shape)
        names.append(name)
        if tensor.parameters:
            check_memory(name, tensor.parameters)
        if raw and tensor.HasField("contents"):
            raise BadTensor(f"input {name[:NAME]!r} has contents, and there are raw_input_contents; send one of them")
        if contract.is_picture(name, tensor.datatype, shape):
            (picture,) = split_texts(name, raw[index], 1) if raw else _values(tensor, TEXT, 1)
            continue
        datatype = contract.slot(name, tensor.datatype, shape).datatype
        feeds[name] = from_bytes(name, datatype, shape, raw[index]) if raw else _typed(tensor, datatype, shape)
    if not len(feeds) == len(names) == len(contract.inputs):
        contract.check_complete(names)
    if picture is not None and contract.encoded:
        return Read({names[0]: np.frombuffer(picture, np.uint8)})
    return Read(feeds, picture)


def parameters_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> value, of whichever kind it is; one without a value is left out."""
    found = {}
    for name, parameter in parameters.items():
        if (kind := parameter.WhichOneof("parameter_choice")) is not None:
            found[name] = getattr(parameter, kind)
    return found


def _check_counts(request: pb.ModelInferRequest, raw: Sequence[memoryview]) -> None:
    if raw and len(raw) != len(request.inputs):
        raise BadTensor(f"raw_input_contents has {len(raw)} tensors, and there are {len(request.inputs)} inputs")
    for field in ("inputs", "outputs", "parameters"):
        if len(getattr(request, field)) > MOST:
            raise BadTensor(f"{field} has {len(getattr(request, field))} entries; at most {MOST} are taken")
    if len(request.id) > LONGEST:
        raise BadTensor(f"id has {len(request.id)} characters; at most {LONGEST} are taken")


def _typed(tensor: pb.ModelInferRequest.InferInputTensor, datatype: Datatype, shape: Sequence[int]) -> Array:
    return from_values(tensor.name, datatype, shape, _values(tensor, datatype.name))


def _values(tensor: pb.ModelInferRequest.InferInputTensor, datatype: str, wanted: int | None = None) -> Sequence[Any]:
    """An input's elements from the field for them, which must be the only one that is used."""
    field = FIELDS.get(datatype)
    if field is None:
        raise BadTensor(f"input {tensor.name!r}: {datatype} has no contents; send it in raw_input_contents")
    for used, _ in tensor.contents.ListFields():
        if used.name != field:
            raise BadTensor(f"input {tensor.name!r}: elements of {datatype} belong in {field}, not in {used.name}")
    found: Sequence[Any] = getattr(tensor.contents, field)
    if wanted is not None and len(found) != wanted:
        raise BadTensor(f"input {tensor.name!r}: {field} has {len(found)} elements, not {wanted}")
    return found
