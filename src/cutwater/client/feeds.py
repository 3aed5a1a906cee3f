"""Feeds: what a caller gives, as named arrays.

A caller may leave out the name of an only input, and may give arrays, whatever numpy takes for one, numbers in lists,
or an encoded picture: its bytes, or the path of its file.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from cutwater.api.datatypes import datatype_named
from cutwater.client.result import ModelInfo, TensorInfo
from cutwater.errors import BadPicture, BadTensor, did_you_mean
from cutwater.frameworks.base import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Picture = bytes | bytearray | memoryview | str | os.PathLike[str]
"""An encoded picture (JPEG, PNG ...): its bytes, or the path of its file."""

Value: TypeAlias = "ArrayLike | Picture"
"""An array, a list of numbers, which takes the type of its input, or an encoded picture."""

Feeds: TypeAlias = "Mapping[str, Value] | Value"
"""Input name -> value, or the value of the only input."""

Describe = Callable[[], Awaitable[ModelInfo]]
"""What the model takes; asked only where the caller left something out, for it may cost a round trip."""


async def named(given: Feeds, describe: Describe) -> dict[str, Array]:
    """Input name -> array.

    Raises:
        BadTensor: no name although there are several inputs, or a value that is no array.
        BadPicture: a file that cannot be read.
        CutwaterError: what ``describe`` raises.
    """
    if not isinstance(given, Mapping):
        given = {_only(await describe()).name: given}
    return {name: await _array(name, value, describe) for name, value in given.items()}


async def encoded(picture: Picture) -> bytes:
    """An encoded picture's bytes. Raises BadPicture for a file that cannot be read."""
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    path = Path(picture)
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise BadPicture(f"{path}: cannot be read ({error.strerror})") from None


async def _array(name: str, value: Value, describe: Describe) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (bytes, bytearray, memoryview, str, os.PathLike)):
        return np.array([await encoded(value)], object)
    dtype = None
    if isinstance(value, (Sequence, int, float)):  # numbers without a type
        dtype = datatype_named(_input(await describe(), name).datatype).stored
    try:
        array = np.asarray(cast("ArrayLike", value), dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadTensor(f"input {name!r} is no array: {error}") from None
    if array.dtype == object and dtype is None:
        raise BadTensor(f"input {name!r} is no array but a {type(value).__name__}")
    return array


def _only(info: ModelInfo) -> TensorInfo:
    if len(info.inputs) != 1:
        names = ", ".join(repr(each.name) for each in info.inputs)
        raise BadTensor(f"{info.name} has {len(info.inputs)} inputs; give a mapping with {names}")
    return info.inputs[0]


def _input(info: ModelInfo, name: str) -> TensorInfo:
    for each in info.inputs:
        if each.name == name:
            return each
    raise BadTensor(f"{info.name} has no input {name!r}{did_you_mean(name, (each.name for each in info.inputs))}")
