"""Stream: what is shown, sent to every page that is open, as server-sent events: all of it first, then what changes.

Each change is written once, whoever many pages there are. A page that does not keep up is not waited for and costs no
memory: it is sent everything anew as soon as it takes something again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from cutwater.services.dashboard.view import Entries
from cutwater.units import Seconds

EVERY: Seconds = 0.25
"""Least time between two changes."""
HEARTBEAT: Seconds = 5.0
"""A page hears at least so often that this gateway is there."""
BEHIND = 8
"""Changes a page may be behind before it is sent everything anew."""
PAGES = 256
"""Most pages at once."""

_encode = msgspec.json.Encoder().encode


class Changes:
    """What differs between one look and the next."""

    def __init__(self) -> None:
        self._said: dict[str, bytes] = {}

    def all(self) -> dict[str, msgspec.Raw]:
        """Every entry as it was seen last."""
        return {key: msgspec.Raw(value) for key, value in self._said.items()}

    def see(self, entries: Entries) -> dict[str, Any]:
        """``{"set": {key: value}, "gone": [keys]}``; empty where nothing has changed."""
        fresh = {key: _encode(value) for key, value in entries.items()}
        changed = {key: msgspec.Raw(value) for key, value in fresh.items() if self._said.get(key) != value}
        gone = [key for key in self._said if key not in fresh]
        self._said = fresh
        return ({"set": changed} if changed else {}) | ({"gone": gone} if gone else {})


class Page:
    """One page that is open."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.anew = True
        """It is to be sent everything."""
        self.woken = asyncio.Event()

    def offer(self, event: bytes) -> None:
        """One more event, if it keeps up."""
        if self.anew:
            return
        if len(self.waiting) >= BEHIND:
            self.waiting.clear()
            self.anew = True
        else:
            self.waiting.append(event)
        self.woken.set()


class Stream:
    """All pages that are open."""

    def __init__(self, everything: Callable[[], dict[str, Any]]) -> None:
        """``everything``: what a page is told first."""
        self._everything = everything
        self._pages: set[Page] = set()
        self.opened = asyncio.Event()
        """Somebody looks."""
        self._over = False

    @property
    def full(self) -> bool:
        """Whether no further page can be taken."""
        return len(self._pages) >= PAGES

    def end(self) -> None:
        """Let all pages go: each of them is an answer that is still being sent."""
        self._over = True
        for page in self._pages:
            page.woken.set()

    def tell(self, kind: str, data: object) -> None:
        """Send it to everybody."""
        written = event(kind, data)
        for page in self._pages:
            page.offer(written)

    async def follow(self) -> AsyncIterator[bytes]:
        """One page's events, for as long as it wants them."""
        page = Page()
        self._pages.add(page)
        page.woken.set()
        self.opened.set()
        try:
            while not self._over:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await page.woken.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                page.woken.clear()
                if page.anew:
                    written = event("everything", self._everything())
                    page.anew = False
                    yield written
                while page.waiting:
                    yield page.waiting.popleft()
        finally:
            self._pages.discard(page)
            if not self._pages:
                self.opened.clear()


def event(kind: str, data: object) -> bytes:
    """As server-sent events are written."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(data))
