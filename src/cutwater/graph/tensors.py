"""What an ONNX tensor is called, how large it is, and where its bytes lie: inside the file or beside it."""

import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto

from cutwater.errors import BadModel

UNSENDABLE = frozenset({"string", "sequence", "optional", "map"})
"""Types of values that have no fixed-size bytes: a cut never parts their producer from their consumers."""


def dtype_name(elem_type: int) -> str:
    """``TensorProto.FLOAT`` -> ``"float32"``. Raises BadModel for a number ONNX does not define."""
    if elem_type == TensorProto.STRING:
        return "string"
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type).name)
    except KeyError:
        raise BadModel(f"element type {elem_type} is unknown to this version of onnx; upgrade it") from None


def elem_type_of(dtype: str) -> int:
    """``"float32"`` -> ``TensorProto.FLOAT``: the inverse of `dtype_name`. Raises BadModel for an unknown name."""
    if dtype not in _ELEM_TYPES:
        raise BadModel(f"{dtype!r} is not a type of ONNX; use one of {', '.join(sorted(_ELEM_TYPES))}")
    return _ELEM_TYPES[dtype]


_ELEM_TYPES: dict[str, int] = {dtype_name(number): number for number in onnx.helper.get_all_tensor_dtypes()}


def item_bytes(elem_type: int) -> int:
    """Bytes of one element; 0 for strings, which have no fixed size."""
    if elem_type == TensorProto.STRING:
        return 0
    return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)


def weight_nbytes(tensor: TensorProto) -> int:
    """Bytes of a stored tensor, from its type and dimensions alone."""
    return int(prod(tensor.dims)) * item_bytes(tensor.data_type)


def is_external(tensor: TensorProto) -> bool:
    """Whether the payload lies in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


class ExternalData:
    """The payloads that lie beside a model file, mapped into memory only when they are asked for."""

    def __init__(self, source: str, folder: Path | None) -> None:
        """``folder`` is where the model file lies; None for a model that came as bytes."""
        self._source = source
        self._folder = folder

    def check(self, tensor: TensorProto) -> None:
        """Raises BadModel unless the payload is there, complete, and inside the model's folder."""
        self._locate(tensor)

    def view(self, tensor: TensorProto) -> memoryview:
        """The payload, read from disk page by page as it is used. Raises BadModel."""
        path, offset, length = self._locate(tensor)
        if length == 0:
            return memoryview(b"")
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), length + offset - start, offset=start, access=mmap.ACCESS_READ)
        return memoryview(mapped)[offset - start :]

    def embedded(self, tensor: TensorProto) -> TensorProto:
        """A copy of ``tensor`` that carries its payload. Raises BadModel."""
        if not is_external(tensor):
            return tensor
        return TensorProto(
            name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=bytes(self.view(tensor))
        )

    def chunks(self, tensor: TensorProto, size: int = 1 << 24) -> Iterator[bytes | memoryview]:
        """The payload in pieces of at most ``size`` bytes, for hashing without holding it. Raises BadModel."""
        if not is_external(tensor):
            yield tensor.raw_data or tensor.SerializeToString(deterministic=True)
            return
        view = self.view(tensor)
        for start in range(0, len(view), size):
            yield view[start : start + size]

    def _locate(self, tensor: TensorProto) -> tuple[Path, int, int]:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        where = f"{self._source}: weight {tensor.name!r}"
        if self._folder is None:
            raise BadModel(f"{where} lies in the file {location!r}, but the model came as bytes; read it from disk")
        folder = self._folder.resolve()
        path = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not path.is_relative_to(folder):
            raise BadModel(f"{where} points to {location!r}, outside the model's folder; save it beside the model")
        if not path.is_file():
            raise BadModel(f"{where} needs the file {location!r}, which is missing; put it beside the model")
        try:
            offset, length = int(entries.get("offset") or 0), int(entries.get("length") or weight_nbytes(tensor))
        except ValueError:
            raise BadModel(f"{where} has an offset or length that is no number; save the model again") from None
        if length != weight_nbytes(tensor) or offset < 0 or offset + length > path.stat().st_size:
            raise BadModel(
                f"{where} needs {weight_nbytes(tensor)} bytes at {offset} of {location!r}, which holds "
                f"{path.stat().st_size}; the file is truncated or belongs to another model"
            )
        return path, offset, length
