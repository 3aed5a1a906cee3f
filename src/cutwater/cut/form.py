"""Form: how a border tensor is represented on a hop, before its bytes are packed.

The splitter appends the conversion to the sending stage's graph and its inverse to the receiving stage's, where the
inference engine fuses and vectorises it; `wire/codecs` holds the same conversions in numpy for opsets without the ops.
"""

from enum import StrEnum


class Form(StrEnum):
    """A representation of a float32 tensor. Tensors of any other type always travel RAW."""

    RAW = "raw"
    FLOAT16 = "float16"
    INT8 = "int8"
    """uint8 with one scale and zero point for the tensor."""
    INT8_CHANNEL = "int8-channel"
    """uint8 with a scale and zero point for each index of axis 1."""
