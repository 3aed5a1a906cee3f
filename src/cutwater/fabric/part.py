"""The file that a blob is written to on its way in: one writer at a time, resumable, verified, then renamed."""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from cutwater.errors import BadBlob
from cutwater.fabric.base import BlobRef, Progress
from cutwater.units import Seconds

_POLL: Seconds = 0.05
"""Between two looks at a lock that somebody else holds; the system tells nobody when a file lock gets free."""


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def holds(path: Path, ref: BlobRef) -> bool:
    """Whether ``path`` is there with exactly these bytes."""
    return path.is_file() and path.stat().st_size == ref.nbytes and hash_file(path) == ref.hash


async def receive(
    ref: BlobRef,
    target: Path,
    step: int,
    pieces: Callable[[int], AsyncGenerator[bytes, None]],
    progress: Progress | None,
) -> BlobRef:
    """Write the blob to ``target``, which appears only when complete and verified.

    Args:
        ref: What is to come.
        target: Where it shall be; meanwhile ``TARGET.part`` grows, and a later call goes on where it ends.
        step: Bytes of a piece; a resumed file goes on at a multiple of it.
        pieces: Gives the bytes from an offset on, in order.
        progress: Told after each piece.

    Raises:
        BadBlob: What came does not have the hash; nothing is left then.
    """
    async with _writing(target) as part:
        if await asyncio.to_thread(holds, target, ref):
            await asyncio.to_thread(part.remove)
            return ref
        await asyncio.to_thread(part.resume, step, ref.nbytes)
        while True:
            fresh = part.nbytes == 0
            async with aclosing(pieces(part.nbytes)) as coming:
                async for data in coming:
                    await asyncio.to_thread(part.write, data)
                    if progress is not None:
                        progress(part.nbytes, ref.nbytes)
            if part.ref == ref:
                await asyncio.to_thread(part.publish, target)
                return ref
            if fresh:
                await asyncio.to_thread(part.remove)
                raise BadBlob(f"what came as blob {ref.hash} are {part.nbytes} bytes with hash {part.ref.hash}")
            # What an earlier attempt left behind may be what is wrong: all of it once more.
            await asyncio.to_thread(part.resume, step, 0)


class _Part:
    """``TARGET.part``, locked against other writers of any process of this machine."""

    def __init__(self, file: BinaryIO) -> None:
        self.nbytes = 0
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def ref(self) -> BlobRef:
        """What has been written so far."""
        return BlobRef(self._digest.hexdigest(), self.nbytes)

    def resume(self, step: int, most: int) -> None:
        """Keep the whole steps of what is there, up to ``most`` bytes, and drop the rest."""
        self.nbytes = min(os.fstat(self._file.fileno()).st_size, most) // step * step
        self._digest = hashlib.sha256()
        self._file.seek(0)
        left = self.nbytes
        while left:
            data = self._file.read(min(left, 1 << 20))
            self._digest.update(data)
            left -= len(data)
        self._file.truncate(self.nbytes)
        self._file.seek(self.nbytes)

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self._digest.update(data)
        self.nbytes += len(data)

    def publish(self, target: Path) -> None:
        """Let the target appear, durably."""
        self._file.flush()
        os.fsync(self._file.fileno())
        Path(self._file.name).replace(target)

    def remove(self) -> None:
        """Leave nothing behind."""
        Path(self._file.name).unlink()


@asynccontextmanager
async def _writing(target: Path) -> AsyncIterator[_Part]:
    """Wait until no other writer is at this target, and keep others away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    file = await _lock(target.with_name(target.name + ".part"))
    try:
        yield _Part(file)
    finally:
        file.close()


async def _lock(path: Path) -> BinaryIO:
    while True:
        file = path.open("a+b")
        try:
            while not _try_lock(file):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(_POLL)
            # Whoever held it may have renamed or removed the file meanwhile: then this lock guards nothing.
            if _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
