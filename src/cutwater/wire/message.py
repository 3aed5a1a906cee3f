"""What two ends of a link say to each other; each message is the header of one frame, tensors follow as raw buffers."""

import msgspec

from cutwater.units import RequestId, Seconds, StageId

PROTOCOL = 1
"""Version of frames and messages; both ends must agree."""

Address = str
"""Where a worker listens: "unix:/path" or "tcp:host:port"."""


class TensorSpec(msgspec.Struct, frozen=True, array_like=True):
    """One tensor of a frame: what it is once unpacked, and how many bytes it takes here."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    """Bytes in this frame, packed."""


class Hop(msgspec.Struct, frozen=True, array_like=True):
    """One step of a route: where to send, and how to pack what is sent there."""

    address: Address
    packing: str
    """Name of the Packing; the Form is part of the stage's own graph."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What one stage did with one request, in seconds on that worker's own monotonic clock."""

    stage: StageId
    received: Seconds
    """The last byte of the request was here."""
    started: Seconds
    """Computing began."""
    finished: Seconds
    sent: Seconds
    """The frame for the next hop was handed to the link."""
    batch: int
    """How many requests were computed together."""
    received_bytes: int
    sent_bytes: int
    decode: Seconds
    encode: Seconds


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The first message on a link, from both ends."""

    protocol: int
    deployment: str
    """Both ends must belong to the same deployment."""
    name: str
    """Who speaks: a StageId or "gateway"."""
    credits: int
    """How many requests the other end may have under way on this link."""
    max_frame: int
    """Largest frame, in bytes, this end accepts."""


class Infer(msgspec.Struct, frozen=True, tag=True):
    """Compute this and pass it on."""

    request: RequestId
    attempt: int
    budget: Seconds
    """Time left until the deadline when this frame was sent; clocks need not agree."""
    route: tuple[Hop, ...]
    """Hops after this one; empty: answer back over this link."""
    reply_packing: str
    packing: str
    tensors: tuple[TensorSpec, ...]
    trail: tuple[Mark, ...] = ()


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The result, on its way back over the links the request came by."""

    request: RequestId
    attempt: int
    packing: str
    tensors: tuple[TensorSpec, ...]
    trail: tuple[Mark, ...]


class Failure(msgspec.Struct, frozen=True, tag=True):
    """The typed error that is this request's answer, on its way back."""

    request: RequestId
    attempt: int
    kind: str
    """Name of the class in `cutwater.errors`."""
    message: str
    where: str
    retryable: bool
    trail: tuple[Mark, ...] = ()


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for this attempt any more; drop it where it is."""

    request: RequestId
    attempt: int


class Credit(msgspec.Struct, frozen=True, tag=True):
    """The receiver has room for this many more requests."""

    count: int


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Are you there? Also measures round trip; ``pad`` bytes of payload may follow."""

    token: int
    pad: int = 0


class Pong(msgspec.Struct, frozen=True, tag=True):
    """Yes."""

    token: int


Message = Hello | Infer | Answer | Failure | Cancel | Credit | Ping | Pong
