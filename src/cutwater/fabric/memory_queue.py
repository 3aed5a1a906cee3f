"""Work queues in memory."""

import asyncio
from collections import deque
from collections.abc import Callable

from cutwater.fabric.clock import Clock, Timer, within
from cutwater.units import Seconds

DEDUP: Seconds = 120.0
"""How long the id of an item is remembered."""


class Item:
    """One piece of work on its way."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.attempt = 0
        self.timer: Timer | None = None


class Items:
    """What waits, what somebody works on, and what was set aside."""

    def __init__(self, clock: Clock) -> None:
        self.ack_wait: Seconds = 30.0
        self.attempts = 5
        self.waiting: deque[Item] = deque()
        self.taken: set[Item] = set()
        self.dead: list[bytes] = []
        self._clock = clock
        self._ids: dict[str, Seconds] = {}
        self._takers: deque[asyncio.Future[Item]] = deque()

    def add(self, data: bytes, id: str | None) -> None:
        """Add an item unless its id is known from the last two minutes."""
        now = self._clock.time()
        self._ids = {known: at for known, at in self._ids.items() if now - at < DEDUP}
        if id is not None and id in self._ids:
            return
        if id is not None:
            self._ids[id] = now
        self._offer(Item(data))

    async def take(self, timeout: Seconds) -> Item | None:  # noqa: ASYNC109
        """The next item; None if none came in time."""
        if self.waiting:
            return self._hand_out(self.waiting.popleft())
        taker: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._takers.append(taker)
        try:
            return self._hand_out(await within(self._clock, timeout, taker))
        except TimeoutError:
            return None
        finally:
            if taker in self._takers:
                self._takers.remove(taker)

    def done(self, item: Item) -> None:
        """It will not come again."""
        self._stop(item)
        self.taken.discard(item)

    def again(self, item: Item, delay: Seconds) -> None:
        """Offer it anew after ``delay``."""
        if item in self.taken:
            self._after(item, delay, self._back)

    def hold(self, item: Item) -> None:
        """It stays with its taker for another ``ack_wait``."""
        if item in self.taken:
            self._after(item, self.ack_wait, self._back)

    def _hand_out(self, item: Item) -> Item:
        item.attempt += 1
        self.taken.add(item)
        self.hold(item)
        return item

    def _back(self, item: Item) -> None:
        self.taken.discard(item)
        if item.attempt >= self.attempts:
            self.dead.append(item.data)
        else:
            self._offer(item)

    def _offer(self, item: Item) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(item)
                return
        self.waiting.append(item)

    def _after(self, item: Item, delay: Seconds, call: Callable[[Item], None]) -> None:
        self._stop(item)
        if delay <= 0:
            call(item)
        else:
            item.timer = self._clock.call_at(self._clock.time() + delay, lambda: call(item))

    def _stop(self, item: Item) -> None:
        if item.timer is not None:
            item.timer.cancel()


class MemoryDelivery:
    """One item in the hands of one taker."""

    def __init__(self, items: Items, item: Item, check: Callable[[], None]) -> None:
        self.data = item.data
        self.attempt = item.attempt
        self._items = items
        self._item = item
        self._check = check

    async def ack(self) -> None:
        """See `Delivery.ack`."""
        self._check()
        if self._mine():
            self._items.done(self._item)

    async def nack(self, delay: Seconds = 0.0) -> None:
        """See `Delivery.nack`."""
        self._check()
        if self._mine():
            self._items.again(self._item, delay)

    async def working(self) -> None:
        """See `Delivery.working`."""
        self._check()
        if self._mine():
            self._items.hold(self._item)

    def _mine(self) -> bool:
        """A delivery whose time ran out has no say any more: the item may be somebody else's."""
        return self._item.attempt == self.attempt


class MemoryQueue:
    """One connection's view of a queue."""

    def __init__(self, items: Items, check: Callable[[], None]) -> None:
        self._items = items
        self._check = check

    async def put(self, data: bytes, id: str | None = None) -> None:
        """See `WorkQueue.put`."""
        self._check()
        self._items.add(data, id)

    async def take(self, timeout: Seconds) -> MemoryDelivery | None:  # noqa: ASYNC109
        """See `WorkQueue.take`."""
        self._check()
        item = await self._items.take(timeout)
        return None if item is None else MemoryDelivery(self._items, item, self._check)

    async def depth(self) -> int:
        """See `WorkQueue.depth`."""
        self._check()
        return len(self._items.waiting) + len(self._items.taken)

    async def dead(self) -> list[bytes]:
        """See `WorkQueue.dead`."""
        self._check()
        return list(self._items.dead)
