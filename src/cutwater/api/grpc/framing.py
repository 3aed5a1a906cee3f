"""Inbox: from the bytes of a call to its messages, each after a byte that says whether it is packed and its length."""

import zlib
from collections.abc import Iterator
from struct import Struct

from cutwater.api.datatypes import Buffer
from cutwater.errors import InputError, TooLarge, Unsupported

PREFIX = Struct(">BI")
CODINGS = b"identity,gzip,deflate"
"""How messages may be packed."""
_EITHER = 32 + zlib.MAX_WBITS


class Inbox:
    """What came of a call so far."""

    __slots__ = ("_coding", "_limit", "_parts", "held")

    def __init__(self, coding: bytes, limit: int) -> None:
        """``coding``: how messages are packed that say so; ``limit``: of one, in bytes, packed or not."""
        self._coding = coding
        self._limit = limit
        self._parts: list[Buffer] = []
        self.held = 0
        """Bytes that are no whole message yet."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now. Raises TooLarge, InputError, Unsupported."""
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
            message = self._take(PREFIX.size + length)
            yield self._unpack(message) if packed else message

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

    def _unpack(self, message: bytes) -> bytes:
        if self._coding not in (b"gzip", b"deflate"):
            name = self._coding[:40].decode("latin-1")
            raise Unsupported(f"a message is packed, and grpc-encoding is {name!r}; use gzip or deflate")
        unpacker = zlib.decompressobj(_EITHER)
        try:
            found = unpacker.decompress(message, self._limit + 1)
        except zlib.error as error:
            raise InputError(f"a message is not packed as its grpc-encoding says: {error}") from None
        if len(found) > self._limit:
            raise TooLarge(f"a message unpacks to more than the {self._limit} bytes that are taken")
        if not unpacker.eof:
            raise InputError("a message ends before what it is packed as does")
        return found
