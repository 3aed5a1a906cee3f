"""Background: an event loop in a thread of its own, for callers that have none."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from cutwater.errors import InputError

T = TypeVar("T")


class Background:
    """Runs coroutines; its thread begins with the first one, and ends with `close`."""

    def __init__(self, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """``at_end`` is awaited in the loop when it is closed, before what still runs is cancelled."""
        self._at_end = at_end
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "Future[T]":
        """Run what ``work`` makes; cancelling the future cancels it. Raises InputError once it is closed."""
        with self._lock:
            if self._closed:
                raise InputError("this client is closed")
            loop = self._loop or self._begin()
            return asyncio.run_coroutine_threadsafe(work(), loop)

    def close(self) -> None:
        """Cancel what runs, and end the thread; may be said again."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    def _begin(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = _new_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="cutwater-client", daemon=True)
        self._thread.start()
        return loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()
            runner.run(self._at_end())  # and the runner cancels whatever else there is


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        from uvloop import new_event_loop
    except ImportError:
        from asyncio import new_event_loop
    loop: asyncio.AbstractEventLoop = new_event_loop()
    return loop
