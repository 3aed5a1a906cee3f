"""Float16: a float32 tensor travels as IEEE 754 half-precision numbers, half the bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cutwater.cut.form import Form
from cutwater.wire.codecs.base import Array, codec_name, only_part
from cutwater.wire.packings import Packing

LARGEST = 65504.0
"""The largest finite float16; numbers beyond it, infinities too, become it."""


@dataclass(frozen=True, slots=True)
class Float16:
    """Rounded to the nearest half, saturating. NaN stays NaN."""

    packing: Packing
    form: ClassVar[Form] = Form.FLOAT16

    @property
    def name(self) -> str:
        """ "float16", "float16+lz4" or "float16+zstd"."""
        return codec_name(self.form, self.packing)

    def convert(self, tensor: Array) -> Sequence[Array]:
        """One float16 array of the same shape."""
        if tensor.dtype != np.float32:
            return (tensor,)
        return (np.asarray(np.clip(tensor, -LARGEST, LARGEST), np.float16),)

    def restore(self, parts: Sequence[Array], dtype: str = "float32") -> Array:
        """float32 again; exact from here on."""
        return only_part(parts).astype(dtype, copy=False)

    def bound(self, tensor: Array) -> NDArray[np.float32]:
        """Half a unit in the last place: max(2^-11 |x|, 2^-25), and what saturation takes beyond 65504."""
        if tensor.dtype != np.float32:
            return np.zeros((), np.float32)
        size = np.abs(tensor.astype(np.float32, copy=False))
        rounding = np.maximum(size * np.float32(2.0**-11), np.float32(2.0**-25))
        beyond = np.nextafter(size - np.float32(LARGEST), np.float32(np.inf))
        return np.where(size <= LARGEST, rounding, beyond)
