"""Int8: a float32 tensor travels as uint8 codes with one scale and zero point, per tensor or per index of axis 1.

The arithmetic is that of ONNX's DynamicQuantizeLinear (operator set 11): the range is stretched to include 0,

    scale = (max - min) / 255    zero = rint(-min / scale)    code = saturate(rint(x / scale) + zero)

so a stage that converts inside its own graph and one that converts here send the same codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cutwater.cut.form import Form
from cutwater.errors import CodecError
from cutwater.wire.codecs.base import Array, codec_name, only_part
from cutwater.wire.packings import Packing

_SMALLEST_RANGE = np.float32(255 * 2.0**-126)
"""Below this the scale is not a normal number any more, and the declared error is the range itself, rounded up."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Int8:
    """uint8 codes, a float32 scale and a uint8 zero point, both of shape ()."""

    packing: Packing
    form: ClassVar[Form] = Form.INT8

    @property
    def name(self) -> str:
        """The form's, and the packing's: "int8", "int8-channel+lz4"."""
        return codec_name(self.form, self.packing)

    def convert(self, tensor: Array) -> Sequence[Array]:
        """Codes, scales, zero points. Raises CodecError where a range is not finite."""
        if tensor.dtype != np.float32:
            return (tensor,)
        return _quantise(tensor.astype(np.float32, copy=False), self._axes(tensor))

    def restore(self, parts: Sequence[Array], dtype: str = "float32") -> Array:
        """(code - zero) * scale. Raises CodecError unless the three parts fit together."""
        return _dequantise(parts) if dtype == "float32" else only_part(parts)

    def bound(self, tensor: Array) -> Floats:
        """One step, (max - min) / 255, of what shares the element's scale."""
        return _bound(tensor, self._axes(tensor))

    def _axes(self, tensor: Array) -> tuple[int, ...] | None:
        """Those along which one scale serves; None: all."""
        return None


@dataclass(frozen=True, slots=True)
class Int8Channel(Int8):
    """uint8 codes, and a float32 scale and uint8 zero point of shape (C,), C being the length of axis 1.

    A tensor of fewer than two dimensions has no axis 1 and is treated as `Int8` would.
    """

    form: ClassVar[Form] = Form.INT8_CHANNEL

    def _axes(self, tensor: Array) -> tuple[int, ...] | None:
        return (0, *range(2, tensor.ndim)) if tensor.ndim >= 2 else None


def _range(tensor: Floats, axes: tuple[int, ...] | None) -> tuple[Floats, Floats]:
    """Smallest and largest value over ``axes`` (None: all), 0 included; the reduced axes are kept, with length 1."""
    keep = axes is not None
    low = np.min(tensor, axis=axes, keepdims=keep, initial=0)
    high = np.max(tensor, axis=axes, keepdims=keep, initial=0)
    return np.asarray(low, np.float32), np.asarray(high, np.float32)


def _quantise(tensor: Floats, axes: tuple[int, ...] | None) -> tuple[Array, Array, Array]:
    low, high = _range(tensor, axes)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (high - low) / np.float32(255)
    if not np.isfinite(scale).all():
        raise CodecError("a tensor with NaN, infinite or too large values has no 8-bit form; send it raw or as float16")
    # All zeros, or so small that the scale is none: 1 keeps the codes 0, as the operator does for all zeros.
    scale = np.where(scale == 0, np.float32(1), scale)
    zero = np.asarray(np.rint(-low / scale))
    work = np.divide(tensor, scale, out=np.empty_like(tensor))
    np.rint(work, out=work)
    work += zero
    np.clip(work, 0, 255, out=work)
    shape = () if axes is None else (-1,)
    return work.astype(np.uint8), scale.reshape(shape), zero.astype(np.uint8).reshape(shape)


def _dequantise(parts: Sequence[Array]) -> Array:
    if len(parts) != 3:
        raise CodecError(f"an 8-bit tensor travels as codes, scale and zero point; {len(parts)} parts came")
    codes, scale, zero = parts
    types = [part.dtype.name for part in parts]
    if types != ["uint8", "float32", "uint8"]:
        raise CodecError(f"the parts of an 8-bit tensor are uint8, float32 and uint8, not {', '.join(types)}")
    if scale.shape != zero.shape or scale.shape not in ((), codes.shape[1:2]):
        raise CodecError(f"scale {scale.shape} and zero point {zero.shape} do not fit codes of shape {codes.shape}")
    if not np.isfinite(scale).all():
        raise CodecError("an 8-bit tensor came with a scale that is not finite: the sender's values were not")
    if scale.ndim:
        channels = (1, -1, *(1,) * (codes.ndim - 2))
        scale, zero = scale.reshape(channels), zero.reshape(channels)
    values: Floats = codes.astype(np.float32)
    values -= zero.astype(np.float32)  # of one type throughout: twice as fast as letting the subtraction convert
    values *= scale.astype(np.float32, copy=False)
    return values


def _bound(tensor: Array, axes: tuple[int, ...] | None) -> Floats:
    if tensor.dtype != np.float32:
        return np.zeros((), np.float32)
    low, high = _range(tensor.astype(np.float32, copy=False), axes)
    width = high - low
    return np.where(width >= _SMALLEST_RANGE, width / np.float32(255), _SMALLEST_RANGE)
