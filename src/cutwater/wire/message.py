"""What two ends of a link say to each other; each message is the header of one frame, tensors follow as raw buffers."""

from typing import Annotated

import msgspec

from cutwater.units import RequestId, Seconds, StageId

PROTOCOL = 2
"""Version of frames and messages; both ends must agree."""

Address = str
"""Where a worker listens: "unix:/path" or "tcp:host:port"."""

Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of things; the decoder refuses a negative one."""

Elapsed = Annotated[Seconds, msgspec.Meta(ge=0)]
"""Seconds since some start; the decoder refuses a negative number and NaN."""

ITEM_SIZE = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Element types that can travel, little-endian, and the bytes of one element. Text and objects cannot."""

MAX_RANK = 32
"""Most dimensions a tensor may have: what every numpy can hold."""


class TensorSpec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One tensor of a frame: what it is once unpacked, and how many bytes it takes here."""

    name: str
    dtype: str
    """A key of `ITEM_SIZE`."""
    shape: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MAX_RANK)]
    nbytes: Count
    """Bytes in this frame, packed."""


class Hop(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One step of a route: where to send, and how to pack what is sent there."""

    address: Address
    packing: str
    """Name of the Packing; the Form is part of the stage's own graph."""


class Mark(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What one stage did with one request, in seconds on that worker's own monotonic clock."""

    stage: StageId
    received: Elapsed
    """The last byte of the request was here."""
    started: Elapsed
    """Computing began."""
    finished: Elapsed
    sent: Elapsed
    """The frame for the next hop was handed to the link."""
    batch: Count
    """How many requests were computed together."""
    received_bytes: Count
    sent_bytes: Count
    decode: Elapsed
    encode: Elapsed
    cpu: Elapsed = 0.0
    """Processor time of the computing thread from ``started`` to ``finished``: less where it had to share its core."""


class Hello(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The first message on a link, from both ends."""

    protocol: int
    deployment: str
    """Both ends must belong to the same deployment."""
    name: str
    """Who speaks: a StageId or "gateway"."""
    credits: Count
    """How many requests the other end may have under way on this link."""
    max_frame: Count
    """Largest frame, in bytes, this end accepts."""


class Infer(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Compute this and pass it on."""

    request: RequestId
    attempt: int
    budget: Annotated[Seconds, msgspec.Meta(ge=-1e9)]
    """Time left until the deadline when this frame was sent; clocks need not agree. May be just over, never NaN."""
    route: tuple[Hop, ...]
    """Hops after this one; empty: answer back over this link."""
    reply_packing: str
    packing: str
    tensors: tuple[TensorSpec, ...]
    trail: tuple[Mark, ...] = ()
    priority: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] = 0
    """A client's wish, to its gateway: higher is sooner. Stages serve in the order of coming."""


class Answer(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The result, on its way back over the links the request came by."""

    request: RequestId
    attempt: int
    packing: str
    tensors: tuple[TensorSpec, ...]
    trail: tuple[Mark, ...]


class Failure(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The typed error that is this request's answer, on its way back."""

    request: RequestId
    attempt: int
    kind: str
    """Name of the class in `cutwater.errors`."""
    message: str
    where: str
    retryable: bool
    trail: tuple[Mark, ...] = ()
    suspect: Address = ""
    """The worker the reporter has lost, as the route names it; if empty and ``retryable``, the reporter itself."""


class Cancel(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Nobody waits for this attempt any more; drop it where it is."""

    request: RequestId
    attempt: int


class Credit(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The receiver has room for this many more requests."""

    count: Count


class Share(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Payloads may lie in this memory from now on, if you can open it; only between processes of one machine."""

    descriptor: Count
    """File descriptor in the process that says this."""
    nbytes: Count


class Release(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """These places of your shared memory are free again; none, the first time: your memory is open here."""

    places: tuple[Count, ...] = ()


class Ping(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Are you there? Also measures round trip; ``pad`` bytes of payload may follow."""

    token: int
    pad: Count = 0


class Pong(msgspec.Struct, frozen=True, tag=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Yes."""

    token: int


Message = Hello | Infer | Answer | Failure | Cancel | Credit | Share | Release | Ping | Pong
