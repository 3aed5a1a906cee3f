"""From the body of an infer request to the feeds of a model: views of the body where that can be."""

from typing import NamedTuple

import msgspec
import numpy as np

from cutwater.api.backend import Feeds
from cutwater.api.datatypes import TEXT, Buffer, from_bytes, from_json, split_texts
from cutwater.api.http.words import InferRequest, InputTensor
from cutwater.api.requests import FREE, UNREADABLE, Contract, Slot, check_memory, unreadable
from cutwater.errors import BadTensor, TooLarge
from cutwater.frameworks.base import Array

HEADER_LENGTH = "Inference-Header-Content-Length"

_decode = msgspec.json.Decoder(InferRequest).decode


class Read(NamedTuple):
    """A request, taken apart."""

    request: InferRequest
    feeds: Feeds
    picture: bytes | None = None
    """An encoded picture instead of feeds, for whoever knows how the model wants it."""


def read_infer(contract: Contract, body: Buffer, header_length: bytes | None, most: int) -> Read:
    """Take a body apart.

    Args:
        contract: Of the model.
        body: As it came, unpacked.
        header_length: Of the JSON, where binary tensors follow; 0: the body is one tensor, and nothing else.
        most: Bytes of JSON that are read.

    Raises:
        BadTensor: naming the field that is wrong.
        TooLarge: the JSON is.
    """
    view = memoryview(body)
    end = len(body) if header_length is None else _length(header_length, len(body))
    if not end and header_length is not None:
        return _bare(contract, body)
    if end > most:
        raise TooLarge(
            f"{end} bytes of JSON are over the {most} that are taken; send large tensors in binary, behind it"
        )
    try:
        request = _decode(view[:end])
    except UNREADABLE as error:
        raise BadTensor(unreadable(error)) from None
    feeds: dict[str, Array] = {}
    picture: bytes | None = None
    for tensor in request.inputs:
        if contract.is_picture(tensor.name, tensor.datatype, tensor.shape):
            data, end = _data(tensor, view, end)
            picture = _picture(tensor, data)
            continue
        slot = contract.slot(tensor.name, tensor.datatype, tensor.shape)
        data, end = _data(tensor, view, end)
        read = from_json if tensor.parameters.binary_data_size is None else from_bytes
        feeds[tensor.name] = read(tensor.name, slot.datatype, tensor.shape, data)
    if end != len(body):
        raise BadTensor(f"{len(body) - end} bytes follow the last input; is a binary_data_size missing?")
    if not len(feeds) == len(request.inputs) == len(contract.inputs):
        contract.check_complete(tensor.name for tensor in request.inputs)
    return _pictured(contract, request, feeds, picture)


def _pictured(contract: Contract, request: InferRequest, feeds: dict[str, Array], picture: bytes | None) -> Read:
    if picture is None or not contract.encoded:
        return Read(request, feeds, picture)
    (name,) = contract.inputs
    return Read(request, {name: np.frombuffer(picture, np.uint8)})


def _data(tensor: InputTensor, body: memoryview, at: int) -> tuple[memoryview, int]:
    """An input's elements, and where those of the next one begin."""
    size = tensor.parameters.binary_data_size
    if tensor.parameters.shared_memory_region is not None:
        check_memory(tensor.name, {"shared_memory_region": tensor.parameters.shared_memory_region})
    if size is None:
        if isinstance(tensor.data, msgspec.UnsetType):
            raise BadTensor(f"input {tensor.name!r} has neither data nor a binary_data_size")
        return memoryview(tensor.data), at
    if not isinstance(tensor.data, msgspec.UnsetType):
        raise BadTensor(f"input {tensor.name!r} has both data and a binary_data_size; send one of them")
    if size > len(body) - at:
        raise BadTensor(f"input {tensor.name!r}: binary_data_size is {size}, and {len(body) - at} bytes are left")
    return body[at : at + size], at + size


def _picture(tensor: InputTensor, data: memoryview) -> bytes:
    if tensor.parameters.binary_data_size is None:
        raise BadTensor(f"input {tensor.name!r}: a picture is no text; send it with a binary_data_size")
    (encoded,) = split_texts(tensor.name, data, 1)
    return encoded


def _bare(contract: Contract, body: Buffer) -> Read:
    """A body that is the only input of its model, without any JSON: one dimension may be open."""
    if len(contract.inputs) != 1:
        raise BadTensor(f"{HEADER_LENGTH}: 0 is for models with one input; {contract.card.name!r} has more")
    (slot,) = contract.inputs.values()
    request = InferRequest(inputs=[], parameters={"binary_data_output": True})
    if contract.card.task and not contract.encoded:
        return Read(request, {}, bytes(body))
    if slot.datatype.name == TEXT:
        raise BadTensor(f"{HEADER_LENGTH}: 0 is for numbers; send input {slot.name!r} with a header")
    shape = _bare_shape(slot, len(body))
    contract.slot(slot.name, slot.datatype.name, shape)
    return Read(request, {slot.name: from_bytes(slot.name, slot.datatype, shape, body)})


def _bare_shape(slot: Slot, nbytes: int) -> list[int]:
    known, free = slot.datatype.stored.itemsize, 0
    for size in slot.shape:
        known *= 1 if size == FREE else size
        free += size == FREE
    shape = list(slot.shape)
    if free == 1:
        shape[shape.index(FREE)] = nbytes // known if known else 0
    return [1 if size == FREE else size for size in shape]


def _length(text: bytes, whole: int) -> int:
    if not text.isdigit() or len(text) > 18 or int(text) > whole:
        raise BadTensor(f"{HEADER_LENGTH} is a number of bytes up to {whole}, not {text[:40].decode('latin-1')!r}")
    return int(text)
