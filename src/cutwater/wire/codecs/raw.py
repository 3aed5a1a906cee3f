"""Raw: a tensor travels as it is, bit by bit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cutwater.cut.form import Form
from cutwater.wire.codecs.base import Array, codec_name, only_part
from cutwater.wire.packings import Packing


@dataclass(frozen=True, slots=True)
class Raw:
    """No conversion, no error."""

    packing: Packing
    form: ClassVar[Form] = Form.RAW

    @property
    def name(self) -> str:
        """ "raw", "raw+lz4" or "raw+zstd"."""
        return codec_name(self.form, self.packing)

    def convert(self, tensor: Array) -> Sequence[Array]:
        """The tensor itself."""
        return (tensor,)

    def restore(self, parts: Sequence[Array], dtype: str = "float32") -> Array:
        """The tensor itself."""
        return only_part(parts)

    def bound(self, tensor: Array) -> NDArray[np.float32]:
        """Zero."""
        return np.zeros((), np.float32)
