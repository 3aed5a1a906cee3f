"""Work on pictures off the event loop: a bounded number at once, however many requests wait."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")

THREADS = min(4, os.cpu_count() or 1)
"""Pictures decoded, prepared or drawn on at once. Each may take half a gigabyte, at the limit of its pixels."""


class PictureWork:
    """Threads that decode, prepare and draw; they start when the first picture comes, and are let go at the end."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")

    async def do(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """What ``work`` returns or raises. One that waits is withdrawn where its caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
