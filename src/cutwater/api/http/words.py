"""The JSON of the Open Inference Protocol and of Triton's extensions to it, as types: read by these, written by these.

The description at /openapi.json is made from them, so their docstrings and bounds are what clients read. What clients
say besides is for others, and is ignored.
"""

from typing import Annotated, Any

import msgspec

from cutwater.wire.message import MAX_RANK

Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Shape = Annotated[list[Size], msgspec.Meta(max_length=MAX_RANK)]
Parameters = Annotated[dict[str, Any], msgspec.Meta(max_length=64)]
MOST = 256
"""Tensors in one request."""


# What clients ask


class InputParameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an input's elements are."""

    binary_data_size: Size | None = None
    """Bytes it takes behind the JSON, in the order of the inputs; without it the elements are in ``data``."""
    shared_memory_region: str | None = None
    """Not offered."""


class InputTensor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One input."""

    name: str
    shape: Shape
    datatype: str
    """One of BOOL, UINT8 .. UINT64, INT8 .. INT64, FP16, FP32, FP64, BF16, BYTES."""
    parameters: InputParameters = InputParameters()
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Elements row by row, or lists in lists as the shape says."""


class OutputParameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How an output is wanted."""

    binary_data: bool | None = None
    """Behind the JSON rather than in it."""
    classification: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    """Instead of the elements, the so many largest of each row as BYTES "score:index:label"; 0: the elements."""
    shared_memory_region: str | None = None
    """Not offered."""


class RequestedOutput(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One output that is wanted."""

    name: str
    parameters: OutputParameters = OutputParameters()


class InferRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One inference."""

    inputs: Annotated[list[InputTensor], msgspec.Meta(max_length=MOST)]
    id: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    """What the client calls it; comes back. The same id with the same content is computed once."""
    parameters: Parameters = {}
    """``timeout`` in microseconds; ``priority``, 1 is the highest, 5 is like none at all; ``binary_data_output``."""
    outputs: Annotated[list[RequestedOutput], msgspec.Meta(max_length=MOST)] = []
    """Those that are wanted, in this order; none: all."""


class IndexRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which models to tell of."""

    ready: bool = False
    """Only those that can be asked."""


class LoadRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How to deploy it."""

    parameters: Parameters = {}
    """Options of the deployment, such as ``stages``; ``config``: the same as the text of a JSON object."""


# What they are told


class Error(msgspec.Struct, frozen=True):
    """Why it did not work, and what to change."""

    error: str


class Live(msgspec.Struct, frozen=True):
    """The server lives."""

    live: bool


class Ready(msgspec.Struct, frozen=True):
    """The server takes requests in."""

    ready: bool


class ModelReady(msgspec.Struct, frozen=True):
    """The model can be asked."""

    name: str
    ready: bool


class ServerMetadata(msgspec.Struct, frozen=True):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct, frozen=True):
    """One input or output."""

    name: str
    datatype: str
    shape: list[int]
    """-1 where a request may choose."""


class ModelMetadata(msgspec.Struct, frozen=True):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexEntry(msgspec.Struct, frozen=True):
    """One model the cluster knows."""

    name: str
    version: str
    state: str
    reason: str


class OutputSize(msgspec.Struct, frozen=True, gc=False):
    """Where an output's elements are."""

    binary_data_size: int


class OutputTensor(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One output."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: OutputSize | None = None
    data: list[Any] | None = None
    """Elements row by row, where they are not behind the JSON, which is where NaN and infinities have to be."""


class InferAnswer(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One inference's outputs."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensor]
