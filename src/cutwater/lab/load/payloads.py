"""Payloads: what requests carry: pictures and arrays from files, or noise shaped as the model's metadata says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutwater.api.datatypes import TEXT, datatype_named
from cutwater.client.result import ModelInfo, TensorInfo
from cutwater.errors import BadFile, BadPicture, BadTensor, InputError
from cutwater.frameworks.base import Array
from cutwater.graph.graph import Tensor
from cutwater.lab.inputs import ARRAY_SUFFIXES, SYNTHETIC, InputOptions, open_inputs
from cutwater.vision.pictures import SUFFIXES

SYNTHETIC_BYTES = 64 * 2**20
"""Of noise for one model; at least one payload in any case."""
SYNTHETIC_MOST = 8
"""Different payloads of noise for one model."""


class Payload(NamedTuple):
    """What one request carries."""

    name: str
    feeds: Mapping[str, Array]


@dataclass(frozen=True)
class PayloadOptions:
    """What payloads are made of."""

    inputs: Mapping[str, Path] = field(default_factory=dict)
    """Model -> a file or a folder of pictures, .npy and .npz; "" stands for all others; none: noise."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Input -> its shape, where the model leaves it open."""
    seed: int = 0
    """Of noise."""
    room: int = 256 * 2**20
    """Bytes of payloads held for one model; files beyond are left out."""


def payloads(info: ModelInfo, options: PayloadOptions) -> list[Payload]:
    """The payloads for a model, at least one.

    Raises:
        BadFile: A file or folder that is not there, is empty, or is of an unknown kind.
        BadTensor: An array does not fit the model, or its shape is open and was not told.
        BadPicture: A picture cannot be read.
    """
    path = options.inputs.get(info.name, options.inputs.get(""))
    if path is None:
        return _noise(info, options)
    found: list[Payload] = []
    held = 0
    for payload in _from_files(path, info, options):
        held += sum(_nbytes(array) for array in payload.feeds.values())
        if found and held > options.room:
            break
        found.append(payload)
    return found


def _nbytes(array: Array) -> int:
    return array.nbytes if array.dtype != object else sum(len(text) for text in array.ravel().tolist())


def _noise(info: ModelInfo, options: PayloadOptions) -> list[Payload]:
    tensors = [_tensor(each, options) for each in info.inputs]
    nbytes = max(sum(tensor.nbytes for tensor in tensors), 1)
    count = max(1, min(SYNTHETIC_MOST, SYNTHETIC_BYTES // nbytes))
    rng = np.random.default_rng(options.seed)
    return [Payload(f"{SYNTHETIC}#{k}", {tensor.name: _noisy(tensor, rng) for tensor in tensors}) for k in range(count)]


def _noisy(tensor: Tensor, rng: np.random.Generator) -> Array:
    if tensor.dtype == TEXT:
        return np.full(tensor.shape, b"synthetic", object)
    dtype = datatype_named(tensor.dtype).stored
    if tensor.dtype == "BOOL":
        return rng.integers(0, 2, tensor.shape).astype(np.bool_)
    if tensor.dtype == "BF16":  # the upper half of a float32's bits
        return (rng.random(tensor.shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if dtype.kind == "f":
        return rng.random(tensor.shape).astype(dtype)
    # Small ones: integers are often indices, and 0 and 1 are in the range of every table.
    return rng.integers(0, 2, tensor.shape).astype(dtype)


def _tensor(info: TensorInfo, options: PayloadOptions) -> Tensor:
    """An input with all its sizes; its dtype is the protocol's word. Raises BadTensor where one is open."""
    datatype = datatype_named(info.datatype)
    shape = options.shapes.get(info.name)
    if shape is None:
        # An open first dimension is the batch: one request is a batch of one.
        shape = tuple(1 if size < 0 and axis == 0 else size for axis, size in enumerate(info.shape))
    wrong = len(shape) != len(info.shape) or any(
        size < 0 or (told >= 0 and told != size) for size, told in zip(shape, info.shape, strict=False)
    )
    if wrong:
        raise BadTensor(
            f"input {info.name!r} has the shape {list(info.shape)}, and {list(shape)} does not settle it; "
            f"give one with --shape {info.name}=1,3,224,224"
        )
    return Tensor(info.name, datatype.name, shape, int(np.prod(shape)) * datatype.stored.itemsize)


def _from_files(path: Path, info: ModelInfo, options: PayloadOptions) -> Iterator[Payload]:
    known = (*SUFFIXES, *ARRAY_SUFFIXES)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in known)
        if not files:
            raise BadFile(f"--input {path}: the folder holds no picture and no array ({', '.join(known)})")
    elif path.is_file():
        files = [path]
    else:
        raise BadFile(f"--input {path}: no such file or folder")
    for file in files:
        if file.suffix.lower() in SUFFIXES:
            yield _picture(file, info)
        elif file.suffix.lower() in ARRAY_SUFFIXES:
            yield from _arrays(file, info, options)
        else:
            raise BadFile(f"--input {file}: neither a picture nor an array ({', '.join(known)})")


def _picture(file: Path, info: ModelInfo) -> Payload:
    """As its file holds it: the gateway prepares it as the model wants."""
    if len(info.inputs) != 1:
        names = ", ".join(each.name for each in info.inputs)
        raise BadTensor(f"--input {file}: model {info.name!r} has several inputs; give a .npz with {names}")
    try:
        return Payload(file.name, {info.inputs[0].name: np.array([file.read_bytes()], object)})
    except OSError as error:
        raise BadPicture(f"--input {file}: cannot be read ({error.strerror})") from None


def _arrays(file: Path, info: ModelInfo, options: PayloadOptions) -> Iterator[Payload]:
    tensors = [_tensor(each, options) for each in info.inputs]
    plain = [
        Tensor(each.name, datatype_named(each.dtype).stored.name, each.shape, each.nbytes, _batch(each, told))
        for each, told in zip(tensors, info.inputs, strict=True)
    ]
    try:
        for item in open_inputs(str(file), plain, InputOptions()):
            yield Payload(item.name, item.feeds)
    except InputError as error:
        raise type(error)(f"--input {error} (model {info.name!r})") from None


def _batch(tensor: Tensor, told: TensorInfo) -> int | None:
    return 0 if told.shape[:1] == (-1,) or tensor.shape[:1] == (1,) else None
