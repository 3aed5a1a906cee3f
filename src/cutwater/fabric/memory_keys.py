"""Buckets of keys in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cutwater.errors import Conflict
from cutwater.fabric.base import Entry
from cutwater.fabric.clock import Clock, Timer
from cutwater.fabric.subjects import check_name, matches
from cutwater.fabric.watch import Watch
from cutwater.units import Seconds


class Bucket:
    """The values, who watches them, and when they run out."""

    def __init__(self, clock: Clock, up: Callable[[], bool]) -> None:
        self.ttl: Seconds | None = None
        self.values: dict[str, Entry] = {}
        self.watches: list[tuple[str, Watch]] = []
        self._clock = clock
        self._up = up
        self._timers: dict[str, Timer] = {}
        self._revision = 0

    def write(self, key: str, value: bytes) -> int:
        """Set a value; its time begins anew."""
        self._stop_timer(key)
        if self.ttl is not None:
            self._timers[key] = self._clock.call_at(self._clock.time() + self.ttl, lambda: self.remove(key))
        return self._change(key, value)

    def remove(self, key: str) -> None:
        """End a key; harmless if there is none."""
        self._stop_timer(key)
        if key in self.values:
            self._change(key, None)

    def repeat(self) -> None:
        """Tell every watch all current values again, after an interruption."""
        for pattern, watch in self.watches:
            current = self.matching(pattern)
            for entry in sorted(current.values(), key=lambda entry: entry.revision):
                watch.tell(entry)
            watch.reconcile(current)

    def matching(self, pattern: str) -> dict[str, Entry]:
        """The current values whose key matches."""
        return {key: entry for key, entry in self.values.items() if matches(pattern, key)}

    def _change(self, key: str, value: bytes | None) -> int:
        self._revision += 1
        entry = Entry(key, value, self._revision)
        if value is None:
            del self.values[key]
        else:
            self.values[key] = entry
        if self._up():
            for pattern, watch in self.watches:
                if matches(pattern, key):
                    watch.tell(entry)
        return self._revision

    def _stop_timer(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()


class MemoryKeys:
    """One connection's view of a bucket."""

    def __init__(self, bucket: Bucket, check: Callable[[], None]) -> None:
        self._bucket = bucket
        self._check = check

    async def get(self, key: str) -> Entry | None:
        """See `KeyValue.get`."""
        self._check()
        return self._bucket.values.get(key)

    async def put(self, key: str, value: bytes) -> int:
        """See `KeyValue.put`."""
        self._check()
        check_name(key)
        return self._bucket.write(key, value)

    async def create(self, key: str, value: bytes) -> int:
        """See `KeyValue.create`."""
        self._check()
        if key in self._bucket.values:
            raise Conflict(f"the key {key} exists already")
        check_name(key)
        return self._bucket.write(key, value)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """See `KeyValue.update`."""
        self._check()
        self._expect(key, revision)
        return self._bucket.write(key, value)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """See `KeyValue.delete`."""
        self._check()
        if revision is not None and key in self._bucket.values:
            self._expect(key, revision)
        self._bucket.remove(key)

    async def entries(self, pattern: str = ">") -> dict[str, Entry]:
        """See `KeyValue.entries`."""
        self._check()
        return self._bucket.matching(pattern)

    @asynccontextmanager
    async def watch(self, pattern: str = ">") -> AsyncIterator[AsyncIterator[Entry]]:
        """See `KeyValue.watch`."""
        self._check()
        watch = Watch()
        for entry in sorted(self._bucket.matching(pattern).values(), key=lambda entry: entry.revision):
            watch.tell(entry)
        self._bucket.watches.append((pattern, watch))
        try:
            yield watch
        finally:
            self._bucket.watches.remove((pattern, watch))

    def _expect(self, key: str, revision: int) -> None:
        found = self._bucket.values.get(key)
        if found is None or found.revision != revision:
            now = "is gone" if found is None else f"is at revision {found.revision}"
            raise Conflict(f"the key {key} {now}, not at revision {revision}")
