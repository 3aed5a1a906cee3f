"""Inbox: from the bytes of a call to its messages, each after a byte that says whether it is packed and its length."""

import asyncio
import zlib
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from cutwater.api.datatypes import Buffer
from cutwater.api.http.body import Room
from cutwater.api.http.coding import DENSEST, EITHER
from cutwater.errors import InputError, TooLarge, Unsupported

PREFIX = Struct(">BI")
CODINGS = b"identity,gzip,deflate"
"""How messages may be packed."""
SMALL = 4096
"""Bytes of a packed message up to which the event loop unpacks by itself."""


class Framed(NamedTuple):
    """A message as it came."""

    message: bytes
    packed: bool


class Inbox:
    """What came of a call so far."""

    __slots__ = ("_limit", "_parts", "held")

    def __init__(self, limit: int) -> None:
        """``limit``: of one message, in bytes."""
        self._limit = limit
        self._parts: list[Buffer] = []
        self.held = 0
        """Bytes that are no whole message yet."""

    def feed(self, data: bytes) -> Iterator[Framed]:
        """The messages that are complete now. Raises TooLarge, InputError."""
        self._parts.append(data)
        self.held += len(data)
        while self.held >= PREFIX.size:
            packed, length = PREFIX.unpack(self._head())
            if length > self._limit:
                raise TooLarge(f"a message of {length} bytes is over the {self._limit} that are taken")
            if packed > 1:
                raise InputError("a message begins with 0 or 1: plain or packed")
            if self.held < PREFIX.size + length:
                return
            yield Framed(self._take(PREFIX.size + length), bool(packed))

    def _head(self) -> bytes:
        """The prefix, which may have come in pieces."""
        if len(self._parts[0]) < PREFIX.size:
            self._parts = [b"".join(self._parts)]
        return bytes(self._parts[0][: PREFIX.size])

    def _take(self, end: int) -> bytes:
        """A message from behind its prefix to ``end``, in one copy; the last part may hold more than it."""
        self.held -= end
        parts, self._parts = self._parts, []
        if self.held:
            last = memoryview(parts[-1])
            self._parts = [last[len(last) - self.held :]]
            parts[-1] = last[: len(last) - self.held]
        parts[0] = memoryview(parts[0])[PREFIX.size :]
        return b"".join(parts)


async def unpacked(framed: Framed, coding: bytes, limit: int, room: Room) -> bytes:
    """A message as it was before it was packed; beside the event loop, where that may take long.

    Args:
        framed: As it came.
        coding: What ``grpc-encoding`` says.
        limit: Of the message, in bytes.
        room: For the most that it may unpack to, while that is not known.

    Raises:
        Unsupported: it is packed by something else.
        InputError: it is not packed as it says.
        TooLarge: it is over ``limit`` when unpacked.
        Refused: there is no room.
    """
    message, packed = framed
    if not packed:
        return message
    if coding not in (b"gzip", b"deflate"):
        name = coding[:40].decode("latin-1")
        raise Unsupported(f"a message is packed, and grpc-encoding is {name!r}; use gzip or deflate")
    if len(message) <= SMALL:
        return _unpack(message, limit)
    most = min(limit, DENSEST * len(message))
    room.take(most)
    try:
        return await asyncio.to_thread(_unpack, message, limit)
    finally:
        room.held -= most


def _unpack(message: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(EITHER)
    try:
        found = unpacker.decompress(message, limit + 1)
    except zlib.error as error:
        raise InputError(f"a message is not packed as its grpc-encoding says: {error}") from None
    if len(found) > limit:
        raise TooLarge(f"a message unpacks to more than the {limit} bytes that are taken")
    if not unpacker.eof:
        raise InputError("a message ends before what it is packed as does")
    return found
