"""Codec: how tensors are written for a hop; a Form (what the numbers become) and a Packing (how bytes shrink)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cutwater.cut.form import Form

Buffer = bytes | bytearray | memoryview


class Packing(Protocol):
    """A lossless transformation of one tensor's bytes."""

    name: str

    def pack(self, data: memoryview, itemsize: int) -> Buffer:
        """The bytes to send; ``itemsize`` is the size of one element, for shuffling."""
        ...

    def unpack(self, data: memoryview, nbytes: int, itemsize: int) -> Buffer:
        """The original ``nbytes`` bytes. Raises CodecError; never allocates beyond ``nbytes``."""
        ...


class Codec(Protocol):
    """A named pair of Form and Packing: "raw", "raw+zstd", "float16", "int8+lz4", "int8-channel+zstd", ..."""

    name: str
    form: Form
    packing: Packing

    def convert(self, tensor: NDArray[np.generic]) -> Sequence[NDArray[np.generic]]:
        """The tensor in this codec's Form, in numpy (one array for RAW and FLOAT16, three for INT8 forms)."""
        ...

    def restore(self, parts: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        """The inverse of `convert`, to within `bound`."""
        ...

    def bound(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """The declared largest absolute error for each element of ``tensor``, broadcastable to its shape."""
        ...
