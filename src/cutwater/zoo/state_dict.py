"""Reads PyTorch state dict files (zip and legacy) without PyTorch and without executing what they say.

A state dict is a pickle, and a pickle is a program. Two walls stand between it and this process: only the opcodes that
a state dict needs are let through, and of all of Python only an ordered dict and inert descriptions of tensors can be
named. Tensors become numpy arrays after the pickle has been read, by code in this file alone.
"""

import io
import math
import pickle
import pickletools
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadModel

Array = NDArray[np.generic]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_PICKLE = 64 * 2**20
"""Largest pickle; it holds names and shapes only, the numbers are outside of it."""

_DTYPES = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
    "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip

_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "EMPTY_TUPLE",
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM",
    "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "BUILD", "BINPERSID",
}  # fmt: skip


def load_state_dict(path: Path) -> dict[str, Array]:
    """Tensors by name, as read-only views of the file's bytes where they are contiguous.

    Raises:
        BadModel: Not a state dict, truncated, corrupt, or it names anything but tensors (the message says what).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModel(f"{path}: cannot be read ({error.strerror})") from None
    try:
        entries, storages = _read_zip(data) if data[:4] == b"PK\x03\x04" else _read_legacy(data)
        return {name: tensor.resolve(storages) for name, tensor in _named_tensors(entries)}
    except _Unfit as error:
        raise BadModel(f"{path}: {error}") from None


class _Unfit(Exception):
    """The file is not a state dict, or not a sound one; becomes a BadModel with the path in front."""


@dataclass(frozen=True, slots=True)
class _StorageType:
    """Stands in for ``torch.FloatStorage`` and its siblings."""

    dtype: np.dtype[np.generic]


@dataclass(frozen=True, slots=True)
class _Storage:
    """A run of numbers that lies outside the pickle, by its key."""

    key: str
    dtype: np.dtype[np.generic]
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A window into a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def resolve(self, storages: Mapping[str, memoryview]) -> Array:
        """The numbers. Raises _Unfit when the window reaches outside its storage."""
        if self.storage.key not in storages:
            raise _Unfit(f"storage {self.storage.key!r} is missing; the file is truncated")
        raw = storages[self.storage.key]
        dtype = self.storage.dtype
        if self.storage.count * dtype.itemsize > len(raw):
            raise _Unfit(f"storage {self.storage.key!r} holds {len(raw)} bytes, too few; the file is truncated")
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if last >= self.storage.count:
            raise _Unfit(f"a tensor of shape {list(self.shape)} reaches outside storage {self.storage.key!r}")
        numbers = np.frombuffer(raw, dtype, count=self.storage.count)[self.offset :]
        byte_strides = tuple(stride * dtype.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(numbers, self.shape, byte_strides, writeable=False)


@dataclass(frozen=True, slots=True)
class _Rebuild:
    """Stands in for ``torch._utils._rebuild_tensor_v2``."""

    def __call__(self, storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
        if not isinstance(storage, _Storage) or not _is_count(offset) or not _are_counts(shape, strides):
            raise _Unfit("a tensor is described by something other than a storage, an offset, a shape and strides")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))  # type: ignore[arg-type]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _are_counts(shape: object, strides: object) -> bool:
    return (
        isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= 16
        and all(map(_is_count, shape + strides))
    )


class _Reader(pickle.Unpickler):
    """An interpreter for state dicts alone."""

    def find_class(self, module: str, name: str) -> object:
        """The inert stand-in for the few names a state dict needs; _Unfit for any other."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Rebuild()
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _StorageType(np.dtype(_DTYPES[name]))
        raise _Unfit(f"refused: it names {module}.{name}, which no state dict needs")

    def persistent_load(self, pid: object) -> _Storage:
        """The description of a storage."""
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(count)) if _is_count(count):
                return _Storage(key, dtype, count)
            case ("storage", _StorageType(dtype), str(key), str(), int(count), None) if _is_count(count):
                return _Storage(key, dtype, count)
        raise _Unfit(f"refused: a persistent id of an unknown form, {str(pid)[:80]}")


def _unpickle(data: bytes, begin: int) -> tuple[object, int]:
    """One pickle that starts at ``begin``: what it describes, and where it ends."""
    stream = io.BytesIO(data)
    stream.seek(begin)
    try:
        slots = 0
        for opcode, argument, position in pickletools.genops(stream):
            if opcode.name not in _OPCODES:
                raise _Unfit(f"refused: pickle opcode {opcode.name}, which no state dict needs")
            # The C unpickler allocates its memo up to the largest index named; keep that in proportion to the file.
            if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > (slots := slots + 1) + 2**20:
                raise _Unfit("refused: a pickle memo index out of all proportion")
            if position is not None and position - begin > _MAX_PICKLE:
                raise _Unfit(f"refused: a pickle of more than {_MAX_PICKLE} bytes")
        end = stream.tell()
        return _Reader(io.BytesIO(data[begin:end])).load(), end
    except _Unfit:
        raise
    except (
        pickle.UnpicklingError, ValueError, TypeError, AttributeError, KeyError, IndexError, EOFError, UnicodeError,
        OverflowError, RecursionError, MemoryError,
    ) as error:  # fmt: skip
        # Each of these is what the interpreter says to one or another kind of nonsense.
        raise _Unfit(f"not a state dict, or corrupt ({error or type(error).__name__})") from None


def _read_legacy(data: bytes) -> tuple[object, dict[str, memoryview]]:
    """Five pickles (magic, protocol, platform, tensors, storage keys), then each storage: its count, its numbers."""
    magic, at = _unpickle(data, 0)
    if magic != _LEGACY_MAGIC:
        raise _Unfit("not a state dict: the magic number is missing")
    protocol, at = _unpickle(data, at)
    platform, at = _unpickle(data, at)
    if protocol != _LEGACY_PROTOCOL or not isinstance(platform, dict) or platform.get("little_endian") is not True:
        raise _Unfit("a state dict of an unknown protocol or byte order; save it again with a current PyTorch")
    entries, at = _unpickle(data, at)
    keys, at = _unpickle(data, at)
    sizes = {tensor.storage.key: tensor.storage for _, tensor in _named_tensors(entries)}
    if not isinstance(keys, list):
        raise _Unfit("corrupt: the list of storages is missing")
    storages: dict[str, memoryview] = {}
    view = memoryview(data)
    for key in keys:
        if not isinstance(key, str) or key not in sizes:
            raise _Unfit(f"corrupt: storage {str(key)[:80]!r} belongs to no tensor")
        count = int.from_bytes(view[at : at + 8], "little")
        if count != sizes[key].count:
            raise _Unfit(f"truncated or corrupt: storage {key!r} announces {count} numbers, not {sizes[key].count}")
        length = count * sizes[key].dtype.itemsize
        storages[key] = view[at + 8 : at + 8 + length]
        at += 8 + length
    return entries, storages


def _read_zip(data: bytes) -> tuple[object, dict[str, memoryview]]:
    """An archive of ``NAME/data.pkl`` and stored (never compressed) ``NAME/data/KEY``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
            if root is None:
                raise _Unfit("not a state dict: the archive has no data.pkl")
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise _Unfit("refused: a compressed archive; PyTorch stores state dicts uncompressed")
            if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != sys.byteorder.encode():
                raise _Unfit("a state dict of another byte order; save it again on this kind of machine")
            entries, _ = _unpickle(archive.read(f"{root}data.pkl"), 0)
            prefix = f"{root}data/"
            storages = {
                name.removeprefix(prefix): memoryview(archive.read(name)) for name in names if name.startswith(prefix)
            }
            return entries, storages
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _Unfit(f"truncated or corrupt archive ({error})") from None


def _named_tensors(entries: object) -> list[tuple[str, _Tensor]]:
    if not isinstance(entries, dict):
        raise _Unfit(f"holds a {type(entries).__name__}, not a state dict (tensors by name)")
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _Unfit(f"entry {str(name)[:80]!r} is not a tensor; save `model.state_dict()` alone")
    return list(entries.items())
