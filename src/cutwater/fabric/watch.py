"""A watch: what one follower of a bucket has been told, so that he can be told the rest after an interruption."""

import asyncio
from collections.abc import AsyncIterator, Collection

from cutwater.fabric.base import Entry


class Watch(AsyncIterator[Entry]):
    """The entries that have not been read yet, in order."""

    def __init__(self) -> None:
        self._unread: asyncio.Queue[Entry] = asyncio.Queue()
        self._told: dict[str, int] = {}

    async def __anext__(self) -> Entry:
        return await self._unread.get()

    def tell(self, entry: Entry) -> None:
        """A change. The end of a key that was never told of is no news."""
        if entry.value is None:
            if self._told.pop(entry.key, None) is None:
                return
        else:
            self._told[entry.key] = entry.revision
        self._unread.put_nowait(entry)

    def reconcile(self, current: Collection[str]) -> None:
        """All of ``current`` has been told anew: whatever else was told of earlier ended meanwhile.

        Such an end is told with the last revision that was told.
        """
        for key in [key for key in self._told if key not in current]:
            self.tell(Entry(key, None, self._told[key]))
