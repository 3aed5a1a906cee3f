"""Packings: lossless ways to make a tensor's bytes fewer for a hop.

A packing says for itself what it did: bytes are replaced only by strictly fewer, so a packed tensor as long as the
unpacked one *is* the unpacked one. Compressors are imported when first used; a worker that is not told to compress
never loads one.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import CodecError

Buffer = bytes | bytearray | memoryview
"""Bytes, or a view of bytes (format "B")."""

_WORTH = 128
"""Bytes below which compressing is not tried: scales, zero points and shapes."""
_LZ4_LARGEST = 0x7E000000
"""Bytes; what one LZ4 block can hold."""


class Packing(Protocol):
    """A lossless transformation of one tensor's bytes. May be used from several threads at once."""

    name: str

    def pack(self, data: memoryview, itemsize: int) -> Buffer:
        """The bytes to send, never more than ``data``; ``itemsize`` is the size of one element, for shuffling."""
        ...

    def unpack(self, data: memoryview, nbytes: int, itemsize: int) -> Buffer:
        """The original ``nbytes`` bytes. Raises CodecError; never allocates beyond ``nbytes``."""
        ...


class Plain:
    """The bytes as they are."""

    name = "plain"

    def pack(self, data: memoryview, itemsize: int) -> Buffer:
        """``data`` itself."""
        return data

    def unpack(self, data: memoryview, nbytes: int, itemsize: int) -> Buffer:
        """``data`` itself. Raises CodecError if it is not ``nbytes`` long."""
        if len(data) != nbytes:
            raise CodecError(f"a plain tensor of {nbytes} bytes came as {len(data)}")
        return data


class Lz4:
    """LZ4 blocks: quick to pack what repeats (the zeros behind a ReLU), quicker to give up on what does not.

    Bytes are not shuffled: on dense activations it would save 8 % at ten times the price, and sparse ones come out
    up to a fifth larger (`benchmarks/codecs.py`).
    """

    name = "lz4"

    def pack(self, data: memoryview, itemsize: int) -> Buffer:
        """A block, where that is smaller than ``data``."""
        if not _WORTH <= len(data) <= _LZ4_LARGEST:
            return data
        from lz4 import block

        return _smaller(block.compress(data, store_size=False), data)

    def unpack(self, data: memoryview, nbytes: int, itemsize: int) -> Buffer:
        """The original bytes. Raises CodecError."""
        if _stored(data, nbytes):
            return data
        if nbytes > _LZ4_LARGEST:
            raise CodecError(f"an LZ4 block holds at most {_LZ4_LARGEST} bytes, not {nbytes}")
        from lz4 import block

        try:
            unpacked: bytes = block.decompress(data, uncompressed_size=nbytes)
        except block.LZ4BlockError as error:
            raise CodecError(f"an LZ4 block of {len(data)} bytes does not unpack to {nbytes}: {error}") from error
        return _exactly(unpacked, nbytes)


class Zstd:
    """Zstandard, level 1, on shuffled bytes: the most compression that pays on links below a gigabit.

    Shuffling makes dense float32 activations 7 % smaller and unpacks a third faster; sparse ones do not care.

    Making a context takes 15 us, using one 1 us. A context serves one thread at a time, so idle ones are kept in a
    list, whose ``pop`` and ``append`` are atomic.
    """

    name = "zstd"
    level = 1

    def __init__(self) -> None:
        self._compressors: list[Any] = []
        self._decompressors: list[Any] = []

    def pack(self, data: memoryview, itemsize: int) -> Buffer:
        """A frame that states its content's size, where that is smaller than ``data``."""
        if len(data) < _WORTH:
            return data
        import zstandard

        compressor = _borrow(self._compressors, lambda: zstandard.ZstdCompressor(level=self.level))
        try:
            return _smaller(compressor.compress(_shuffled(data, itemsize)), data)
        finally:
            self._compressors.append(compressor)

    def unpack(self, data: memoryview, nbytes: int, itemsize: int) -> Buffer:
        """The original bytes. Raises CodecError, before anything is allocated if the frame states another size."""
        if _stored(data, nbytes):
            return data
        import zstandard

        decompressor = _borrow(self._decompressors, zstandard.ZstdDecompressor)
        try:
            stated = zstandard.get_frame_parameters(data).content_size
            if stated != nbytes:
                raise CodecError(f"a zstd frame states {stated} bytes of content, its tensor has {nbytes}")
            unpacked: bytes = decompressor.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CodecError(f"a zstd frame of {len(data)} bytes does not unpack to {nbytes}: {error}") from error
        finally:
            self._decompressors.append(decompressor)
        return _restored(_exactly(unpacked, nbytes), itemsize)


PACKINGS: dict[str, Packing] = {packing.name: packing for packing in (Plain(), Lz4(), Zstd())}
"""Every packing by name. All of them may be used from several threads at once."""


def get_packing(name: str) -> Packing:
    """The packing called ``name``. Raises CodecError."""
    try:
        return PACKINGS[name]
    except KeyError:
        raise CodecError(f"no packing is called {name!r}; there are {', '.join(PACKINGS)}") from None


def _borrow(idle: list[Any], make: Callable[[], Any]) -> Any:
    try:
        return idle.pop()
    except IndexError:
        return make()


def _smaller(packed: bytes, data: memoryview) -> Buffer:
    return packed if len(packed) < len(data) else data


def _stored(data: memoryview, nbytes: int) -> bool:
    if len(data) > nbytes:
        raise CodecError(f"{len(data)} packed bytes for a tensor of {nbytes}; packing never adds any")
    return len(data) == nbytes


def _exactly(unpacked: bytes, nbytes: int) -> bytes:
    if len(unpacked) != nbytes:
        raise CodecError(f"a tensor of {nbytes} bytes unpacked to {len(unpacked)}")
    return unpacked


def _shuffled(data: memoryview, itemsize: int) -> memoryview:
    """First byte of every element, then the second of every one, ...: exponents lie together, and repeat."""
    if itemsize == 1:
        return data
    items = np.frombuffer(data, np.uint8).reshape(-1, itemsize)
    return np.ascontiguousarray(items.T).reshape(-1).data


def _restored(data: bytes, itemsize: int) -> Buffer:
    if itemsize == 1:
        return data
    planes = np.frombuffer(data, np.uint8).reshape(itemsize, -1)
    items: NDArray[np.uint8] = np.empty((planes.shape[1], itemsize), np.uint8)
    for k, plane in enumerate(planes):  # three times as fast as copying the transposed array
        items[:, k] = plane
    return items.reshape(-1).data
