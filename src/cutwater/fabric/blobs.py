"""Blobs in JetStream: the chunks of a file as messages of one stream, and a manifest that says how many there are.

    blob.HASH.0, blob.HASH.1, ...   the bytes, CHUNK each but for the last
    blob.HASH.manifest              {"hash", "nbytes", "chunk"}, written last: with it the blob is whole

They travel over a connection of their own, so that heartbeats never queue behind them.
"""

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import nats.js.errors
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from cutwater.errors import BadBlob, FabricLost
from cutwater.fabric.base import BlobRef, Progress
from cutwater.fabric.nats_line import Line, NatsOptions, plainly
from cutwater.fabric.nats_streams import ensure_stream
from cutwater.fabric.part import receive
from cutwater.fabric.subjects import check_hash
from cutwater.units import Seconds

CHUNK = 128 * 1024
"""Bytes of a message: small enough for any server (1 MB is the usual limit), large enough not to cost."""
STREAM = "BLOBS"
IN_FLIGHT: Seconds = 0.5
"""The window is what the way carries in so long: a slow link is kept busy, and never holds seconds of backlog."""
NARROW, WIDE = 2, 64
"""Fewest and most chunks under way."""
CHUNK_TIMEOUT: Seconds = 30.0
PING: Seconds = 10.0
"""Between two signs of life: on a slow link they queue behind chunks."""
OUTAGE: Seconds = 30.0
"""How long one transfer waits for a lost connection to come back."""
_EXISTS = 10077
"""The server's code for a subject that has its message already."""
_STREAM = StreamConfig(
    name=STREAM,
    subjects=["blob.*.*"],
    max_msgs_per_subject=1,
    discard=DiscardPolicy.NEW,
    discard_new_per_subject=True,
    storage=StorageType.FILE,
    allow_direct=True,
    duplicate_window=1.0,
)

T = TypeVar("T")
U = TypeVar("U")
_log = logging.getLogger(__name__)


class Manifest(msgspec.Struct, frozen=True):
    """What is written once all chunks are there."""

    hash: str
    nbytes: int
    chunk: int

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.nbytes // self.chunk)


class NatsBlobs:
    """The blobs, over a connection that is opened when it is first needed."""

    def __init__(self, options: NatsOptions) -> None:
        self._line = Line(msgspec.structs.replace(options, name=f"{options.name} blobs"), PING)
        self._opening = asyncio.Lock()
        self._open = False
        self._made = False
        """Whether the stream was seen to be there on this connection: the next one may lead to an empty store."""
        self._line.listeners.append(self._changed)

    async def close(self) -> None:
        """Hang up; harmless if nothing was opened."""
        self._open = self._made = False
        await self._line.close()

    async def put(self, source: Path | bytes, progress: Progress | None = None) -> BlobRef:
        """See `Blobs.put`; chunks that an earlier attempt stored are not sent again."""
        await self._ready()
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            ref = await asyncio.to_thread(_measure, file)
            if await self.find(ref.hash) is None:
                await self._upload(file, ref, progress)
        if progress is not None:
            progress(ref.nbytes, ref.nbytes)
        return ref

    async def fetch(self, hash: str, target: Path, progress: Progress | None = None) -> BlobRef:
        """See `Blobs.fetch`."""
        check_hash(hash)
        await self._ready()
        manifest = await self._persist(lambda: self._manifest(hash))
        if manifest is None:
            raise BadBlob(f"there is no blob {hash}")

        async def pieces(start: int) -> AsyncGenerator[bytes, None]:
            indices = range(start // manifest.chunk, manifest.chunks)
            async with aclosing(flow(indices, lambda index: self._persist(lambda: self._chunk(hash, index)))) as coming:
                async for _, data in coming:
                    yield data

        return await receive(BlobRef(hash, manifest.nbytes), target, manifest.chunk, pieces, progress)

    async def find(self, hash: str) -> BlobRef | None:
        """See `Blobs.find`."""
        check_hash(hash)
        await self._ready()
        manifest = await self._manifest(hash)
        return None if manifest is None else BlobRef(manifest.hash, manifest.nbytes)

    async def delete(self, hash: str) -> None:
        """See `Blobs.delete`."""
        check_hash(hash)
        await self._ready()
        with plainly(f"delete the blob {hash}"):
            # The manifest first: without it there is no blob, whatever happens in between.
            await self._line.jetstream.purge_stream(STREAM, subject=f"blob.{hash}.manifest")
            await self._line.jetstream.purge_stream(STREAM, subject=f"blob.{hash}.*")

    async def _ready(self) -> None:
        async with self._opening:
            if self._line.failure is not None:
                await self.close()
            if not self._open:
                await self._line.open()
                self._open = True
            if not self._made and self._line.connected:
                await ensure_stream(self._line, _STREAM)  # its server may not be ready yet; the next one tries again
                self._made = True

    def _changed(self, connected: bool) -> None:
        self._made = False

    async def _upload(self, file: BinaryIO, ref: BlobRef, progress: Progress | None) -> None:
        manifest = Manifest(ref.hash, ref.nbytes, CHUNK)
        stored = await self._persist(lambda: self._stored(ref.hash))
        digest = hashlib.sha256()
        done = 0

        async def send(item: tuple[int, bytes]) -> None:
            index, data = item
            if index not in stored:
                await self._persist(lambda: self._store(f"blob.{ref.hash}.{index}", data))

        async with aclosing(flow(enumerate(iter(lambda: file.read(CHUNK), b"")), send)) as sending:
            async for (_, data), _ in sending:
                digest.update(data)
                done += len(data)
                if progress is not None:
                    progress(done, ref.nbytes)
        if digest.hexdigest() != ref.hash:
            await self.delete(ref.hash)
            raise BadBlob(f"the file changed while it was stored as {ref.hash}; store it again")
        await self._persist(lambda: self._store(f"blob.{ref.hash}.manifest", msgspec.json.encode(manifest)))

    async def _manifest(self, hash: str) -> Manifest | None:
        with plainly(f"find the blob {hash}"):
            try:
                found = await self._line.jetstream.get_msg(STREAM, subject=f"blob.{hash}.manifest", direct=True)
            except nats.js.errors.NotFoundError:
                return None
        try:
            manifest = msgspec.json.decode(found.data or b"", type=Manifest)
        except msgspec.DecodeError as error:
            raise BadBlob(f"the manifest of blob {hash} cannot be read: {error}") from None
        if manifest.hash != hash or manifest.nbytes < 0 or not 0 < manifest.chunk <= WIDE * CHUNK:
            raise BadBlob(f"the manifest of blob {hash} is of something else: {manifest}")
        return manifest

    async def _stored(self, hash: str) -> set[int]:
        """Chunks that are there already."""
        with plainly(f"find the blob {hash}"):
            info = await self._line.jetstream.stream_info(STREAM, subjects_filter=f"blob.{hash}.*")
        words = (subject.rpartition(".")[2] for subject in info.state.subjects or {})
        return {int(word) for word in words if word.isdigit()}

    async def _store(self, subject: str, data: bytes) -> None:
        with plainly(f"store {subject}"):
            try:
                await self._line.jetstream.publish(subject, data, stream=STREAM, timeout=CHUNK_TIMEOUT)
            except nats.js.errors.APIError as error:
                if error.err_code != _EXISTS:
                    raise

    async def _chunk(self, hash: str, index: int) -> bytes:
        with plainly(f"fetch chunk {index} of blob {hash}"):
            subject = f"$JS.API.DIRECT.GET.{STREAM}.blob.{hash}.{index}"
            answer = await self._line.connection.request(subject, b"", CHUNK_TIMEOUT)
        status = (answer.headers or {}).get("Status")
        if status == "404":
            raise BadBlob(f"chunk {index} of blob {hash} is missing; store it again")
        if status is not None:
            raise FabricLost(f"fetch chunk {index} of blob {hash}: the server answers {status}")
        return answer.data

    async def _persist(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do it, and again after a lost connection has come back. Raises FabricLost after OUTAGE without one."""
        while True:
            try:
                await self._ready()
                return await step()
            except FabricLost as error:
                _log.info("a transfer waits: %s", error)
                await asyncio.sleep(0.1)
                try:
                    async with asyncio.timeout(OUTAGE):
                        await self._line.back()
                except TimeoutError:
                    raise error from None


async def flow(items: Iterable[T], work: Callable[[T], Awaitable[U]]) -> AsyncGenerator[tuple[T, U], None]:
    """Do ``work`` on a bounded number of items at once, and give the results in order.

    How many depends on how fast they are done: what IN_FLIGHT's time gets done, between NARROW and WIDE.
    """
    source = iter(items)
    under_way: deque[tuple[T, asyncio.Task[U]]] = deque()
    window = float(NARROW)
    began = time.monotonic()
    done = 0
    try:
        while True:
            for item in islice(source, max(0, int(window) - len(under_way))):
                under_way.append((item, asyncio.ensure_future(_run(work, item))))
            if not under_way:
                return
            item, task = under_way.popleft()
            result = await task
            yield item, result
            done += 1
            rate = done / max(time.monotonic() - began, 1e-6)
            # Grow step by step, as a window that is too small also looks like a slow way.
            window = min(max(NARROW, rate * IN_FLIGHT), window + 1, WIDE)
            if done >= WIDE:
                began, done = time.monotonic() - done / rate / 2, done // 2
    finally:
        for _, task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait([task for _, task in under_way])


async def _run(work: Callable[[T], Awaitable[U]], item: T) -> U:
    return await work(item)


def _measure(file: BinaryIO) -> BlobRef:
    digest, nbytes = hashlib.sha256(), 0
    while data := file.read(1 << 20):
        digest.update(data)
        nbytes += len(data)
    file.seek(0)
    return BlobRef(digest.hexdigest(), nbytes)
