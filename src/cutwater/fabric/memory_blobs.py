"""Blobs in memory."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from cutwater.errors import BadBlob
from cutwater.fabric.base import BlobRef, Progress
from cutwater.fabric.part import receive
from cutwater.fabric.subjects import check_hash

_STEP = 1 << 20
"""Bytes between two reports of progress."""


class MemoryBlobs:
    """One connection's view of the blobs."""

    def __init__(self, stored: dict[str, bytes], check: Callable[[], None]) -> None:
        self._stored = stored
        self._check = check

    async def put(self, source: Path | bytes, progress: Progress | None = None) -> BlobRef:
        """See `Blobs.put`."""
        self._check()
        data = source if isinstance(source, bytes) else await asyncio.to_thread(source.read_bytes)
        ref = BlobRef(hashlib.sha256(data).hexdigest(), len(data))
        self._stored.setdefault(ref.hash, data)
        if progress is not None:
            progress(ref.nbytes, ref.nbytes)
        return ref

    async def fetch(self, hash: str, target: Path, progress: Progress | None = None) -> BlobRef:
        """See `Blobs.fetch`."""
        check_hash(hash)
        self._check()
        data = self._stored.get(hash)
        if data is None:
            raise BadBlob(f"there is no blob {hash}")

        async def pieces(start: int) -> AsyncGenerator[bytes, None]:
            for offset in range(start, len(data), _STEP):
                self._check()
                yield data[offset : offset + _STEP]

        return await receive(BlobRef(hash, len(data)), target, _STEP, pieces, progress)

    async def find(self, hash: str) -> BlobRef | None:
        """See `Blobs.find`."""
        check_hash(hash)
        self._check()
        return BlobRef(hash, len(self._stored[hash])) if hash in self._stored else None

    async def delete(self, hash: str) -> None:
        """See `Blobs.delete`."""
        check_hash(hash)
        self._check()
        self._stored.pop(hash, None)
