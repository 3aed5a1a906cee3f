"""Frames: how a Message and its tensors become bytes on a link, and how received bytes become frames or a FrameError.

A frame is a prefix of 30 bytes, little-endian, then the header, then the payload:

    magic "CTWR" | version u16 | header bytes u32 | payload bytes u64 | place i64 | crc32 u32 | header | payload

The header is one `Message` in msgpack. The payload is its tensors' buffers in the order of the header's specs, each
beginning at a multiple of `ALIGNMENT` from the payload's start, so that views of any element type are aligned. The
checksum covers prefix and header: everything that decides how many bytes to wait for and to allocate. It costs 0.2 us;
over the payload it would cost more than receiving it, and TCP's and TLS's own sums already guard that.

The payload of a frame with a place (from 0 up; else -1) does not follow: it lies there, in the memory the sender shares
with the receiver. Headers are never shared: what was checked must not change any more.

Nothing here does input or output. A link writes the buffers of `encode` with one gathering write, and lets the
operating system write into `FrameReader.get_buffer` what it receives.
"""

import math
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Protocol
from zlib import crc32

import msgspec
import numpy as np

from cutwater.errors import FrameError
from cutwater.wire.message import ITEM_SIZE, PROTOCOL, Answer, Infer, Message, Ping
from cutwater.wire.packings import Buffer

Frame = tuple[Message, list[memoryview]]
"""A message and one buffer per tensor spec (for a padded Ping: its padding), read-only and still packed."""

Spans = list[tuple[int, int]]
"""Where in a payload each buffer begins and ends."""

ALIGNMENT = 64
"""Bytes; a cache line, and a multiple of every element's size."""
MAX_HEADER = 32 * 1024
"""Bytes; a header with a route and a trail of a hundred stages is a quarter of it."""

_MAGIC = b"CTWR"
_GUARDED = Struct("<4sHIQq")
_SUM = Struct("<I")
_PREFIX = _GUARDED.size + _SUM.size
_READ_AHEAD = 64 * 1024
"""Bytes asked for while no payload is under way: several small frames in one read, little to copy of a large one."""
_INLINE = -1
"""The place of a payload that follows its header."""
_NOTHING = memoryview(b"")
_PADDING = tuple(bytes(n) for n in range(ALIGNMENT))

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message, buffers: Sequence[Buffer] = ()) -> list[Buffer]:
    """The buffers of one frame, to be written one after the other; those given are passed on, not copied.

    Args:
        message: the header.
        buffers: one per tensor spec, bytes or a view of bytes, of exactly the spec's ``nbytes``.

    Raises:
        FrameError: the header is larger than `MAX_HEADER`, or the buffers are not those the header describes.
    """
    header = _encoder.encode(message)
    if len(header) > MAX_HEADER:
        kind = type(message).__name__
        raise FrameError(f"the header of this {kind} has {len(header)} bytes; the limit is {MAX_HEADER}")
    described = _sizes(message)
    if described != [*map(len, buffers)]:
        kind = type(message).__name__
        raise FrameError(f"this {kind} comes with buffers of {[*map(len, buffers)]} bytes, and describes {described}")
    frame: list[Buffer] = [b""]
    size = 0
    for buffer, nbytes in zip(buffers, described, strict=True):
        if gap := -size % ALIGNMENT:
            frame.append(_PADDING[gap])
        frame.append(buffer)
        size += gap + nbytes
    guarded = _GUARDED.pack(_MAGIC, PROTOCOL, len(header), size, _INLINE)
    frame[0] = b"".join((guarded, _SUM.pack(crc32(header, crc32(guarded))), header))
    return frame


def placed(head: Buffer, place: int) -> bytes:
    """A frame whose payload lies at ``place`` of the shared memory; ``head`` is the first buffer of `encode`."""
    magic, version, header_size, size, _ = _GUARDED.unpack_from(head)
    guarded, header = _GUARDED.pack(magic, version, header_size, size, place), memoryview(head)[_PREFIX:]
    return b"".join((guarded, _SUM.pack(crc32(header, crc32(guarded))), header))


class Memory(Protocol):
    """What the other end shares with this one."""

    def view(self, place: int, nbytes: int) -> memoryview:
        """The payload at ``place``. Raises FrameError if it cannot be there."""
        ...


class FrameReader:
    """Turns received bytes into frames, for one direction of one link.

    Made to sit behind an `asyncio.BufferedProtocol`: the caller receives into `get_buffer` and then iterates over
    `buffer_updated` to its end. A payload that has not arrived yet is received straight into the one buffer its views
    will show; frames that arrive together are parsed out of one read. After a FrameError the stream has no meaning any
    more, and every further call raises that error again.
    """

    def __init__(self, max_frame: int) -> None:
        """``max_frame`` is the largest frame accepted, in bytes, as it travels and also with its tensors unpacked."""
        self.memory: Memory | None = None
        """Where payloads with a place lie; without it such a frame is an error."""
        self._max_frame = max_frame
        self._ahead = min(_READ_AHEAD, max_frame)  # a stranger, who may say little, gets little memory
        self._scratch = memoryview(bytearray(_PREFIX + min(MAX_HEADER, max_frame) + self._ahead))
        self._begin = 0
        self._end = 0
        self._message: Message | None = None
        self._spans: Spans = []
        self._payload = _NOTHING
        self._filled = 0
        self._error: FrameError | None = None

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where to receive next; never empty. ``sizehint`` is not used: what is needed is known."""
        if self._error is not None:
            raise self._error
        if self._message is not None:
            return self._payload[self._filled :]
        if self._begin:
            if rest := self._end - self._begin:
                self._scratch[:rest] = self._scratch[self._begin : self._end]
            self._begin, self._end = 0, rest
        return self._scratch[self._end : self._end + self._ahead]

    def buffer_updated(self, nbytes: int) -> Iterator[Frame]:
        """The frames that are complete now that ``nbytes`` more were received. Iterating raises FrameError."""
        if self._message is not None:
            self._filled += nbytes
        else:
            self._end += nbytes
        return self._frames()

    def end(self) -> None:
        """The peer has closed the stream. Raises FrameError if it did so within a frame."""
        if self._error is not None:
            raise self._error
        if self._message is not None:
            missing = len(self._payload) - self._filled
            raise FrameError(f"the stream ended {missing} bytes before the end of a {type(self._message).__name__}")
        if self._end > self._begin:
            raise FrameError(f"the stream ended {self._end - self._begin} bytes into the head of a frame")

    def _frames(self) -> Iterator[Frame]:
        try:
            if self._message is None:
                self._open()
            while self._message is not None and self._filled == len(self._payload):
                message, payload, spans = self._message, self._payload.toreadonly(), self._spans
                self._message, self._payload = None, _NOTHING
                yield message, [payload[start:stop] for start, stop in spans]
                self._open()
        except FrameError as error:
            self._error = error
            raise

    def _open(self) -> None:
        """Read the head of the next frame, if all of it is here, and move what is here of its payload."""
        scratch, begin = self._scratch, self._begin
        here = self._end - begin
        if here < _PREFIX:
            return
        magic, version, header_size, size, place = _GUARDED.unpack_from(scratch, begin)
        if magic != _MAGIC:
            raise FrameError(f"not a frame: it begins with {magic!r}; is the peer a Cutwater worker or gateway?")
        if version != PROTOCOL:
            raise FrameError(f"the peer speaks protocol {version}, this end {PROTOCOL}; run the same release on both")
        if header_size > MAX_HEADER:
            raise FrameError(f"a header of {header_size} bytes; the limit is {MAX_HEADER}")
        ahead = _PREFIX + header_size
        if ahead + size > self._max_frame:
            raise FrameError(f"a frame of {ahead + size} bytes; this end accepts {self._max_frame}")
        if here < ahead:
            return
        start = begin + ahead
        header = scratch[begin + _PREFIX : start]
        guarded = scratch[begin : begin + _GUARDED.size]
        if _SUM.unpack_from(scratch, begin + _GUARDED.size)[0] != crc32(header, crc32(guarded)):
            raise FrameError("the checksum of a frame's head does not match: it was damaged on the way")
        message = _decode(header)
        self._spans = _spans(message, size, self._max_frame)
        filled = min(here - ahead, size) if place == _INLINE else 0
        self._begin = start + filled
        if place != _INLINE:
            self._payload, filled = self._at(place, size), size
        elif filled == size:
            self._payload = memoryview(bytes(scratch[start : start + size]))
        else:
            # numpy leaves fresh memory as it is, where bytearray would fill it with zeros. A pool of buffers was
            # measured: it saves 5 % of receiving 784 KB, and would need to know which views are still in use.
            self._payload = np.empty(size, np.uint8).data
            self._payload[:filled] = scratch[start : start + filled]
        self._message, self._filled = message, filled

    def _at(self, place: int, size: int) -> memoryview:
        if self.memory is None:
            raise FrameError(f"a payload at place {place} of a memory that this end has not opened")
        return self.memory.view(place, size)


def _decode(header: memoryview) -> Message:
    try:
        return _decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"a frame's header is not a message: {error}") from error


def _sizes(message: Message) -> list[int]:
    """Bytes of each buffer that comes with ``message``."""
    if isinstance(message, (Infer, Answer)):  # a union would be built at each call
        return [spec.nbytes for spec in message.tensors]
    return [message.pad] if type(message) is Ping and message.pad else []


def _spans(message: Message, size: int, limit: int) -> Spans:
    """Raise FrameError unless the tensors make sense, fill ``size`` bytes exactly, and fit ``limit`` bytes unpacked."""
    spans = []
    stop = 0
    for nbytes in _sizes(message):
        start = stop + -stop % ALIGNMENT
        stop = start + nbytes
        spans.append((start, stop))
    if stop != size:
        raise FrameError(f"{type(message).__name__}: its buffers take {stop} bytes, its payload has {size}")
    unpacked = 0
    for spec in message.tensors if isinstance(message, (Infer, Answer)) else ():
        item_size = ITEM_SIZE.get(spec.dtype)
        if item_size is None:
            raise FrameError(
                f"tensor {spec.name!r}: element type {spec.dtype!r} cannot travel; use one of {[*ITEM_SIZE]}"
            )
        # The other lengths of an empty tensor are bounded too: their product must not overflow in whoever shapes it.
        unpacked += item_size * (math.prod(spec.shape) or math.prod([length for length in spec.shape if length]))
        if unpacked > limit:
            raise FrameError(f"tensor {spec.name!r} of shape {spec.shape}: over {limit} bytes unpacked, the limit here")
    return spans
