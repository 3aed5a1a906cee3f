"""Codec: how tensors are written for a hop; a Form (what the numbers become) and a Packing (how bytes shrink)."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cutwater.cut.form import Form
from cutwater.errors import CodecError
from cutwater.wire.packings import Buffer as Buffer
from cutwater.wire.packings import Packing as Packing

Array = NDArray[np.generic]


class Codec(Protocol):
    """A named pair of Form and Packing: "raw", "raw+zstd", "float16", "int8+lz4", "int8-channel+zstd", ...

    Only float32 tensors take on a Form; those of any other type are one part, as they are, and come back so.
    """

    form: ClassVar[Form]

    @property
    def packing(self) -> Packing:
        """How the parts' bytes shrink."""
        ...

    @property
    def name(self) -> str:
        """The form's name, and the packing's after a "+" unless it is plain."""
        ...

    def convert(self, tensor: Array) -> Sequence[Array]:
        """The tensor in this codec's Form, in numpy: one array for RAW and FLOAT16, three for the INT8 forms."""
        ...

    def restore(self, parts: Sequence[Array], dtype: str = "float32") -> Array:
        """The inverse of `convert` for a tensor that was of type ``dtype``, to within `bound`. Raises CodecError."""
        ...

    def bound(self, tensor: Array) -> NDArray[np.float32]:
        """The declared largest absolute error for each element of ``tensor``, broadcastable to its shape."""
        ...


def codec_name(form: Form, packing: Packing) -> str:
    """``(FLOAT16, Zstd())`` -> ``"float16+zstd"``."""
    return form.value if packing.name == "plain" else f"{form.value}+{packing.name}"


def only_part(parts: Sequence[Array]) -> Array:
    """The part of a tensor that travels as one. Raises CodecError if there are more."""
    if len(parts) != 1:
        raise CodecError(f"a tensor that travels as one part came as {len(parts)}")
    return parts[0]
