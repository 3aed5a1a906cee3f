"""Keys in JetStream: each bucket is a stream that keeps the last message of every subject (NATS' own KV layout)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats.js.errors
from nats.js.api import RawStreamMsg, StorageType, StreamConfig

from cutwater.errors import Conflict
from cutwater.fabric.base import TIMEOUT, Entry
from cutwater.fabric.nats_line import Line, plainly
from cutwater.fabric.nats_streams import ensure_stream
from cutwater.fabric.nats_watch import Follower, is_end
from cutwater.fabric.subjects import check_name
from cutwater.units import Seconds

_EXPECT = "Nats-Expected-Last-Subject-Sequence"
_WRONG_REVISION = (10071, 10164)
"""The server's codes for an expectation that does not hold."""
_FORGET = "1h"
"""How long the server keeps the mark of a deleted key; a watch that was away for longer finds out by comparing."""


class NatsKeys:
    """One bucket."""

    def __init__(self, line: Line, bucket: str, ttl: Seconds | None) -> None:
        self._line = line
        self._stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._ttl = ttl

    async def ensure(self) -> None:
        """Make the bucket if need be."""
        await ensure_stream(
            self._line,
            StreamConfig(
                name=self._stream,
                subjects=[f"{self._prefix}>"],
                max_msgs_per_subject=1,
                max_age=self._ttl or 0,
                duplicate_window=min(120.0, self._ttl or 120.0),
                storage=StorageType.FILE,
                allow_direct=True,
                allow_rollup_hdrs=True,
                allow_msg_ttl=True,
                # A key that runs out leaves a mark, so that watches see its end.
                subject_delete_marker_ttl=None if self._ttl is None else max(1.0, self._ttl),
            ),
        )

    async def get(self, key: str) -> Entry | None:
        """See `KeyValue.get`."""
        last = await self._last(key)
        return None if last is None or last.value is None else last

    async def put(self, key: str, value: bytes) -> int:
        """See `KeyValue.put`."""
        return await self._write(key, value)

    async def create(self, key: str, value: bytes) -> int:
        """See `KeyValue.create`."""
        try:
            return await self._write(key, value, {_EXPECT: "0"})
        except Conflict:
            # The mark of an earlier end is no value.
            last = await self._last(key)
            if last is not None and last.value is not None:
                raise Conflict(f"the key {key} exists already") from None
            return await self._write(key, value, {_EXPECT: str(last.revision if last else 0)})

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """See `KeyValue.update`."""
        return await self._write(key, value, {_EXPECT: str(revision)})

    async def delete(self, key: str, revision: int | None = None) -> None:
        """See `KeyValue.delete`."""
        last = await self._last(key)
        if last is None or last.value is None:
            return
        headers = {"KV-Operation": "DEL", "Nats-TTL": _FORGET}
        if revision is not None:
            headers[_EXPECT] = str(revision)
        await self._write(key, b"", headers)

    async def entries(self, pattern: str = ">") -> dict[str, Entry]:
        """See `KeyValue.entries`."""
        follower = Follower(self._line, self._stream, self._prefix, pattern)
        with plainly(f"read the keys {pattern} of {self._stream}"):
            async with asyncio.timeout(TIMEOUT):
                return await follower.snapshot()

    @asynccontextmanager
    async def watch(self, pattern: str = ">") -> AsyncIterator[AsyncIterator[Entry]]:
        """See `KeyValue.watch`."""
        async with Follower(self._line, self._stream, self._prefix, pattern) as watch:
            yield watch

    async def _last(self, key: str) -> Entry | None:
        """The last message of this key: its value, or the mark of its end."""
        check_name(key)
        with plainly(f"read the key {key} of {self._stream}"):
            try:
                found: RawStreamMsg = await self._line.jetstream.get_msg(
                    self._stream, subject=self._prefix + key, direct=True
                )
            except nats.js.errors.NotFoundError:
                return None
        assert found.seq is not None
        return Entry(key, None if is_end(found.headers) else found.data or b"", found.seq)

    async def _write(self, key: str, value: bytes, headers: dict[str, Any] | None = None) -> int:
        check_name(key)
        with plainly(f"write the key {key} of {self._stream}"):
            try:
                confirmed = await self._line.jetstream.publish(
                    self._prefix + key, value, stream=self._stream, headers=headers
                )
            except nats.js.errors.APIError as error:
                if error.err_code in _WRONG_REVISION:
                    raise Conflict(f"the key {key} is not at the revision expected: {error.description}") from None
                raise
        return confirmed.seq
