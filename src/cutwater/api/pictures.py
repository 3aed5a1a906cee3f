"""Work on pictures, beside the event loop: a bounded number at once, however many requests wait."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")

THREADS = min(4, os.cpu_count() or 1)
"""Pictures decoded, prepared or drawn on at once in one process. At the limit of its pixels each takes half a
gigabyte."""

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="picture")  # it has no thread before the first picture


async def aside(work: Callable[[*Args], T], *args: *Args) -> T:
    """What ``work`` returns or raises. While it waits for its turn, being cancelled withdraws it."""
    return await asyncio.get_running_loop().run_in_executor(_threads, work, *args)
