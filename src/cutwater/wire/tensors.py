"""Tensors in and out of a frame: arrays to specs and buffers, specs and payloads to arrays, packed and unpacked."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadTensor, CodecError
from cutwater.wire.codecs.base import Array
from cutwater.wire.message import ITEM_SIZE, Answer, Infer, TensorSpec
from cutwater.wire.packings import Buffer, get_packing

_DTYPES: dict[str, np.dtype[np.generic]] = {
    # numpy has no bfloat16 of its own: its bits are carried, and shown, as uint16.
    name: np.dtype("uint16" if name == "bfloat16" else name).newbyteorder("<")
    for name in ITEM_SIZE
}


def pack(tensors: Iterable[tuple[str, str, Array]], packing: str) -> tuple[tuple[TensorSpec, ...], list[Buffer]]:
    """The specs and buffers of a frame, from ``(name, dtype, array)``; contiguous arrays are not copied if plain.

    ``dtype`` is a key of `ITEM_SIZE`; "bfloat16" is given as an array of uint16.

    Raises:
        BadTensor: an array's type is not ``dtype``, or cannot travel.
        CodecError: no packing has this name.
    """
    packer = get_packing(packing)
    specs, buffers = [], []
    for name, dtype, array in tensors:
        buffer = packer.pack(_bytes_of(name, dtype, array), ITEM_SIZE[dtype])
        specs.append(TensorSpec(name, dtype, array.shape, len(buffer)))
        buffers.append(buffer)
    return tuple(specs), buffers


def tensors(message: Infer | Answer, payloads: Sequence[memoryview]) -> list[Array]:
    """The arrays of a frame, read-only; views of the payloads where these are not compressed.

    Raises:
        CodecError: a payload does not unpack to what its spec declares, or the packing is unknown.
    """
    packing = get_packing(message.packing)
    arrays: list[Array] = []
    for spec, payload in zip(message.tensors, payloads, strict=True):
        dtype = _DTYPES[spec.dtype]
        nbytes = dtype.itemsize * math.prod(spec.shape)
        try:
            data = packing.unpack(payload, nbytes, dtype.itemsize)
        except CodecError as error:
            raise CodecError(f"tensor {spec.name!r}: {error}") from error
        array: NDArray[np.generic] = np.frombuffer(data, dtype).reshape(spec.shape)
        array.flags.writeable = False
        arrays.append(array)
    return arrays


def _bytes_of(name: str, dtype: str, array: Array) -> memoryview:
    expected = _DTYPES.get(dtype)
    if expected is None:
        raise BadTensor(f"tensor {name!r}: element type {dtype!r} cannot travel; use one of {', '.join(ITEM_SIZE)}")
    if array.dtype != expected and array.dtype.newbyteorder("<") != expected:
        raise BadTensor(f"tensor {name!r} is {array.dtype}, not {dtype}")
    flat = np.ascontiguousarray(array, expected).reshape(-1)
    return flat.view(np.uint8).data
