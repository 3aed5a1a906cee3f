"""Datatypes of the Open Inference Protocol, and arrays from and to their bytes and their values in JSON."""

import math
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadTensor
from cutwater.frameworks.base import Array

Buffer = bytes | bytearray | memoryview

TEXT = "BYTES"
"""Datatype of text and of anything else whose elements differ in length; arrays of it hold `bytes` objects."""
LARGEST = 2**40
"""Most elements a declared shape may come to, whatever the data: an array of more is a mistake."""

MOST_TEXTS = 2**20
"""Most elements of `TEXT` in one tensor: each becomes an object, of more bytes than it may have on the way."""

_LENGTH = Struct("<I")
assert sys.byteorder == "little", "the protocol's binary tensors are little-endian, and are used as they come"


class Datatype(NamedTuple):
    """One of the protocol's."""

    name: str
    """"FP32"."""
    dtype: str
    """What a Graph calls it: "float32"."""
    stored: np.dtype[np.generic]
    """What arrays of it are made of: numpy has no bfloat16 of its own, its bits are carried as uint16."""
    config: str
    """What a model's configuration calls it: "TYPE_FP32"."""


def _datatype(name: str, dtype: str, stored: str = "", config: str = "") -> Datatype:
    return Datatype(name, dtype, np.dtype(stored or dtype), f"TYPE_{config or name}")


DATATYPES = (
    _datatype("BOOL", "bool"),
    _datatype("UINT8", "uint8"),
    _datatype("UINT16", "uint16"),
    _datatype("UINT32", "uint32"),
    _datatype("UINT64", "uint64"),
    _datatype("INT8", "int8"),
    _datatype("INT16", "int16"),
    _datatype("INT32", "int32"),
    _datatype("INT64", "int64"),
    _datatype("FP16", "float16"),
    _datatype("FP32", "float32"),
    _datatype("FP64", "float64"),
    _datatype("BF16", "bfloat16", stored="uint16"),
    _datatype(TEXT, "string", stored="object", config="STRING"),
)
_BY_NAME = {each.name: each for each in DATATYPES}
_BY_DTYPE = {each.dtype: each for each in DATATYPES}


def datatype_of(dtype: str) -> Datatype:
    """The protocol's word for a Graph's ("float32"). Raises BadTensor where it has none, as for complex numbers."""
    found = _BY_DTYPE.get(dtype)
    if found is None:
        raise BadTensor(f"the Open Inference Protocol has no datatype for {dtype}; ask over a native link")
    return found


def datatype_named(name: str) -> Datatype:
    """``"FP32"`` -> what it is. Raises BadTensor."""
    found = _BY_NAME.get(name)
    if found is None:
        raise BadTensor(f"datatype {name[:40]!r} does not exist; use one of {', '.join(_BY_NAME)}")
    return found


def count(name: str, shape: Sequence[int]) -> int:
    """Elements of a shape. Raises BadTensor where it is negative somewhere, or absurd."""
    elements = 1
    for size in shape:
        if size < 0:
            raise BadTensor(f"input {name!r}: shape {list(shape)} has a negative size")
        elements *= size
        if elements > LARGEST:
            raise BadTensor(f"input {name!r}: shape {list(shape)[:32]} comes to more than {LARGEST} elements")
    return elements


def from_bytes(name: str, datatype: Datatype, shape: Sequence[int], data: Buffer) -> Array:
    """An input as it came in binary: a read-only view of ``data``, but for text, whose elements are taken out.

    Args:
        name: Of the input, for errors.
        datatype: What ``data`` declares to hold.
        shape: What it declares to be shaped like.
        data: Its elements, row by row; those of `TEXT` each after its length in 4 bytes.

    Raises:
        BadTensor: ``data`` is not as long as it declares, or a length inside of it is wrong.
    """
    elements = count(name, shape)
    if datatype.name == TEXT:
        return _texts(split_texts(name, data, elements), shape)
    wanted = elements * datatype.stored.itemsize
    if len(data) != wanted:
        raise BadTensor(
            f"input {name!r}: {datatype.name} {list(shape)} takes {wanted} bytes, and {len(data)} were sent"
        )
    if datatype.name == "BOOL" and elements and np.frombuffer(data, np.uint8).max() > 1:
        raise BadTensor(f"input {name!r}: a byte of BOOL is 0 or 1")
    array: Array = np.frombuffer(data, datatype.stored).reshape(shape)
    array.flags.writeable = False
    return array


def split_texts(name: str, data: Buffer, elements: int) -> list[bytes]:
    """Elements that each follow their length in 4 bytes, little-endian. Raises BadTensor."""
    view, at, end, found = memoryview(data), 0, len(data), []
    if elements * _LENGTH.size > end:
        raise BadTensor(f"input {name!r}: {elements} elements need more than the {end} bytes that were sent")
    if elements > MOST_TEXTS:
        raise BadTensor(f"input {name!r}: {elements} elements of {TEXT} are over the {MOST_TEXTS} that are taken")
    for index in range(elements):
        if end - at < _LENGTH.size:
            raise BadTensor(f"input {name!r}: the data ends before the length of element {index} of {elements}")
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if end - at < length:
            raise BadTensor(f"input {name!r}: element {index} declares {length} bytes, and {end - at} are left")
        found.append(bytes(view[at : at + length]))
        at += length
    if at != end:
        raise BadTensor(f"input {name!r}: {end - at} bytes are left after {elements} elements")
    return found


def to_bytes(datatype: Datatype, array: Array) -> Buffer:
    """An output as it goes out in binary; no copy where ``array`` lies as it is sent."""
    if datatype.name == TEXT:
        return b"".join(part for text in _raw(array) for part in (_LENGTH.pack(len(text)), text))
    if not array.flags.c_contiguous or array.dtype != datatype.stored:
        array = np.ascontiguousarray(array, datatype.stored)
    return array.reshape(-1).view(np.uint8).data


def from_json(name: str, datatype: Datatype, shape: Sequence[int], data: Buffer) -> Array:
    """An input as it came in JSON: a list of all elements row by row, or lists in lists as the shape says.

    FP16 and BF16, which the protocol wants in binary, are taken as numbers too, rounded to nearest.

    Raises:
        BadTensor: not JSON, elements of another kind or beyond the datatype's range, too few, too many, or ragged.
    """
    elements, rank = count(name, shape), len(shape)
    _check_commas(name, datatype, shape, elements, data)
    depth = rank if rank > 1 and bytes(data[1:64]).lstrip().startswith(b"[") else 1
    try:
        values = _decoder(datatype.name, depth).decode(data)
        array = _array(datatype, values)
    except (msgspec.DecodeError, RecursionError, OverflowError, ValueError) as error:
        raise BadTensor(f"input {name!r}: data of {datatype.name} {list(shape)}: {_why(error)}") from None
    if array.size != elements or (depth > 1 and array.shape != tuple(shape)):
        found = f"{array.size} elements" if depth == 1 else f"{list(array.shape)}"
        raise BadTensor(f"input {name!r}: shape {list(shape)} declares {elements} elements, and the data has {found}")
    return array.reshape(shape)


def from_values(name: str, datatype: Datatype, shape: Sequence[int], values: Iterable[Any]) -> Array:
    """An input from typed values row by row, such as protobuf's repeated fields. Raises BadTensor."""
    elements = count(name, shape)
    found = list(values)
    if len(found) != elements:
        raise BadTensor(f"input {name!r}: shape {list(shape)} declares {elements} elements, and {len(found)} came")
    if datatype.name == TEXT:
        return _texts(found, shape)
    try:
        return _array(datatype, found).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise BadTensor(f"input {name!r}: {error}") from None


def to_values(name: str, datatype: Datatype, array: Array) -> list[Any]:
    """An output as it goes out in JSON, row by row. Raises BadTensor for what JSON has no words for.

    Those are bytes that are not UTF-8, and NaN and infinities, which as ``null`` could not be told apart.
    """
    if datatype.name == TEXT:
        try:
            return [text.decode() for text in _raw(array)]
        except UnicodeDecodeError as error:
            raise BadTensor(f"output {name!r} is not UTF-8 text ({error.reason}); ask for it as binary_data") from None
    numbers = as_numbers(datatype, array)
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise BadTensor(f"output {name!r} has NaN or infinities, which JSON cannot say; ask for it as binary_data")
    found: list[Any] = numbers.ravel().tolist()
    return found


def as_numbers(datatype: Datatype, array: Array) -> Array:
    """What numpy can compute with: BF16 becomes float32, everything else stays."""
    return (array.astype(np.uint32) << 16).view(np.float32) if datatype.name == "BF16" else array


def _check_commas(name: str, datatype: Datatype, shape: Sequence[int], elements: int, data: Buffer) -> None:
    """Numbers take far more memory as objects than as text: they are counted before any is read."""
    commas = int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(",")))
    if datatype.name != TEXT and commas >= max(elements, 1):
        raise BadTensor(
            f"input {name!r}: shape {list(shape)} declares {elements} elements, and the data has {commas + 1}"
        )
    if datatype.name == TEXT and elements > MOST_TEXTS:
        raise BadTensor(f"input {name!r}: {elements} elements of {TEXT} are over the {MOST_TEXTS} that are taken")


@lru_cache(maxsize=256)
def _decoder(name: str, depth: int) -> msgspec.json.Decoder[Any]:
    kind = _KINDS[name]
    for _ in range(depth):
        kind = list[kind]  # type: ignore[valid-type]
    return msgspec.json.Decoder(kind)


def _ints(bits: int, signed: bool) -> Any:
    low = -(2 ** (bits - 1)) if signed else 0
    high = 2 ** (bits - signed) - 1
    # msgspec's bounds are those of int64; what is beyond does not fit into numpy either, and is said there.
    return Annotated[int, msgspec.Meta(ge=low, le=min(high, 2**63 - 1))] if bits < 64 or signed else _NATURAL


_NATURAL = Annotated[int, msgspec.Meta(ge=0)]
_KINDS: dict[str, Any] = {
    "BOOL": bool,
    "UINT8": _ints(8, False),
    "UINT16": _ints(16, False),
    "UINT32": _ints(32, False),
    "UINT64": _ints(64, False),
    "INT8": _ints(8, True),
    "INT16": _ints(16, True),
    "INT32": _ints(32, True),
    "INT64": _ints(64, True),
    "FP16": float,
    "FP32": float,
    "FP64": float,
    "BF16": float,
    TEXT: str,
}


def _array(datatype: Datatype, values: list[Any]) -> Array:
    """Raises ValueError where lists are ragged, OverflowError where a number does not fit."""
    if datatype.name == TEXT:
        flat: NDArray[np.generic] = np.array(values, dtype=object)
        encoded = [value.encode() if isinstance(value, str) else _ragged() for value in flat.ravel()]
        return _texts(encoded, flat.shape)
    with np.errstate(over="ignore"):
        if datatype.name == "BF16":
            return _to_bfloat16(np.array(values, np.float32))
        return np.array(values, datatype.stored)


def _to_bfloat16(array: NDArray[np.float32]) -> Array:
    """The upper half of the bits, rounded to nearest, ties to even; a NaN stays one."""
    bits = array.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def _texts(texts: Sequence[bytes], shape: Sequence[int]) -> Array:
    array: NDArray[np.generic] = np.empty(math.prod(shape), object)
    for index, text in enumerate(texts):
        array[index] = text
    return array.reshape(shape)


def _raw(array: Array) -> list[bytes]:
    return [bytes(text) if not isinstance(text, str) else text.encode() for text in array.ravel().tolist()]


def _ragged() -> bytes:
    raise ValueError("its rows differ in length")


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return "its rows differ in length" if "inhomogeneous" in str(error) else str(error)
