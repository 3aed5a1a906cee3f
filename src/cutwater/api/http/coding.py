"""Bodies that come or go packed by gzip or deflate; what comes is unpacked up to a limit and no further."""

import asyncio
import gzip
import zlib
from collections.abc import Sequence

from cutwater.api.datatypes import Buffer
from cutwater.errors import InputError, TooLarge, Unsupported

EITHER = 32 + zlib.MAX_WBITS
"""zlib's word for: gzip's wrapping or zlib's own, whichever it is."""
SMALL = 64 * 2**10
"""Bytes up to which the event loop packs and unpacks by itself."""
WORTH = 1024
"""Bytes from which packing is."""
DENSEST = 1032
"""Bytes that deflate can make of one, at most."""
LEVEL = 1
"""Tensors hardly shrink, and do not shrink more for more effort."""


async def unpack(body: bytes, coding: bytes, limit: int) -> bytes:
    """A body as it was before it was packed.

    Raises:
        Unsupported: it is packed by something else.
        InputError: it is not packed as it says.
        TooLarge: it is over ``limit`` when unpacked.
    """
    name = coding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"x-gzip", b"deflate"):
        raise Unsupported(f"Content-Encoding {name[:40].decode('latin-1')!r} is not offered; use gzip or deflate")
    if len(body) <= SMALL and limit <= SMALL:
        return _unpack(body, limit)
    return await asyncio.to_thread(_unpack, body, limit)


def _unpack(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(EITHER)
    try:
        found = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InputError(f"the body is not what its Content-Encoding says: {error}") from None
    if len(found) > limit:
        raise TooLarge(f"the body unpacks to more than the {limit} bytes that are taken")
    if not unpacker.eof or unpacker.unused_data:
        raise InputError("the body is not what its Content-Encoding says: it ends too early or goes on too long")
    return found


def choose(accept: bytes, nbytes: int, plain: bool) -> str:
    """How to pack an answer of ``nbytes``; empty: not at all.

    Libraries name all codings they know by default, and tensors hardly shrink: those are packed only for clients
    that name one coding alone. ``plain`` says that the answer is JSON, which shrinks well, and is packed for any.
    """
    if nbytes < WORTH or not (b"gzip" in accept or b"deflate" in accept):
        return ""
    named = [part.split(b";")[0].strip().lower() for part in accept.split(b",") if not part.endswith(b"q=0")]
    known = [name.decode() for name in named if name in (b"gzip", b"deflate")]
    return known[0] if known and (plain or len(named) == 1) else ""


async def pack(parts: Sequence[Buffer], coding: str) -> bytes:
    """Parts one after the other, packed by "gzip" or "deflate"."""
    whole = b"".join(parts)
    if len(whole) <= SMALL:
        return _pack(whole, coding)
    return await asyncio.to_thread(_pack, whole, coding)


def _pack(whole: bytes, coding: str) -> bytes:
    return gzip.compress(whole, LEVEL) if coding == "gzip" else zlib.compress(whole, LEVEL)
