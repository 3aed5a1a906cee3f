"""BlobCache: files by their sha256 in one process's folder, brought from the fabric, within a bound.

What was not used for longest makes room; what is in use never does, even if the bound is exceeded.
"""

import asyncio
import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cutwater.errors import BadBlob, BadFile
from cutwater.fabric.base import Blobs

PART = ".part"
"""Ending of a file that is on its way."""


class BlobCache:
    """A folder that belongs to one process."""

    def __init__(self, folder: Path, limit: int, blobs: Blobs) -> None:
        """``limit``: most bytes of files; the folder is made with the first one."""
        self.folder = folder
        self.limit = limit
        self._blobs = blobs
        self._held: Counter[str] = Counter()
        self._checked: set[str] = set()
        self._fetching: dict[str, asyncio.Task[Path]] = {}

    def path(self, blob: str) -> Path:
        """Where a blob lies, or would. Raises BadBlob for what is no hash, such as a path out of the folder."""
        if len(blob) != 64 or not set(blob) <= set("0123456789abcdef"):
            raise BadBlob(f"{blob[:80]!r} is no hash of a blob: 64 hexadecimal digits")
        return self.folder / blob

    async def fetch(self, blob: str, progress: Callable[[int, int], None] | None = None) -> Path:
        """The blob's file, brought here if need be; asked for twice at once it is brought once.

        Raises:
            BadBlob: there is no such blob.
            FabricLost: it is not here, and cannot be brought.
            BadFile: the folder does not take it; the disk may be full.
        """
        task = self._fetching.get(blob)
        if task is None:
            task = self._fetching[blob] = asyncio.create_task(self._fetch(blob, progress))
            task.add_done_callback(lambda _: self._fetching.pop(blob, None))
        return await asyncio.shield(task)

    @contextmanager
    def hold(self, *blobs: str) -> Iterator[None]:
        """While inside, these stay."""
        self._held.update(blobs)
        try:
            yield
        finally:
            self._held.subtract(blobs)

    def nbytes(self) -> int:
        """Of all files, those on their way included."""
        return sum(size for _, size, _ in self._files())

    def trim(self) -> None:
        """Remove what was not used for longest until the bound is kept."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.limit:
                return
            blob = path.name.removesuffix(PART)
            if not self._held[blob] and blob not in self._fetching:
                path.unlink(missing_ok=True)
                total -= size

    async def _fetch(self, blob: str, progress: Callable[[int, int], None] | None) -> Path:
        try:
            return await self._bring(blob, progress)
        except OSError as error:
            raise BadFile(f"cannot keep the blob {blob} in {self.folder}: {error}") from error

    async def _bring(self, blob: str, progress: Callable[[int, int], None] | None) -> Path:
        path = self.path(blob)
        with self.hold(blob):
            if path.exists() and blob not in self._checked and await asyncio.to_thread(_sha256, path) != blob:
                path.unlink()  # the machine went down before it was all on the disk
            if not path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                await self._blobs.fetch(blob, path, progress)
            self._checked.add(blob)
            os.utime(path)
            self.trim()
        return path

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(last use, bytes, path) of each."""
        if not self.folder.is_dir():
            return
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):  # one that was on its way has just got its name
                if entry.is_file():
                    found = entry.stat()
                    yield found.st_mtime, found.st_size, Path(entry.path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
