"""Stage: the sub-model between two Cuts: its own ONNX bytes, named inputs and outputs, hash."""

from dataclasses import dataclass, field

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.graph.graph import Tensor


@dataclass(frozen=True, slots=True)
class Stage:
    """A self-contained, checked sub-model.

    ``inputs`` and ``outputs`` are the tensors as they travel, in the order in which they travel: with `Form.INT8` a
    border tensor ``x`` travels as three (``x``'s codes, scale and zero point).
    """

    begin: Cut
    end: Cut
    enter: Form
    """How the tensors of ``begin.border`` arrive; the stage's graph restores them itself."""
    leave: Form
    """How the tensors of ``end.border`` are handed on; the stage's graph converts them itself."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    onnx: bytes = field(repr=False)
    weight_bytes: int
    flops: int
    batchable: bool
    """Whether every input and output has a dynamic batch axis."""
    hash: str
    """sha256 of ``onnx``, hex."""
