"""Messages that wait for their handler, which is told one after the other."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from cutwater.fabric.base import Message

LIMIT = 65_536
"""Messages kept for a handler that does not keep up; beyond it the oldest are dropped."""

_log = logging.getLogger(__name__)


class Inbox:
    """What one subscriber has still to be told."""

    def __init__(self, pattern: str, told: Callable[[Message], Awaitable[None]]) -> None:
        self.pattern = pattern
        self._told = told
        self._waiting: deque[Message] = deque()
        self._more = asyncio.Event()
        self._closed = False
        self._task = asyncio.create_task(self._deliver(), name=f"inbox {pattern}")

    def put(self, message: Message) -> None:
        """Add a message."""
        if len(self._waiting) >= LIMIT:
            self._waiting.popleft()
            _log.warning("the handler of %s does not keep up; the oldest message is dropped", self.pattern)
        self._waiting.append(message)
        self._more.set()

    async def _deliver(self) -> None:
        while not self._closed:
            await self._more.wait()
            self._more.clear()
            while self._waiting and not self._closed:
                message = self._waiting.popleft()
                try:
                    await self._told(message)
                except Exception:  # noqa: BLE001 - one message that breaks its handler must not end the subscription
                    _log.exception("the handler of %s failed on %s", self.pattern, message.subject)

    async def close(self) -> None:
        """Tell nothing more; what is being told right now is broken off, unless it is what closes the inbox."""
        self._closed = True
        if self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])
