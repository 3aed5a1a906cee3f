"""The event loop every process of Cutwater runs on: uvloop where it is installed, asyncio's own otherwise."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

from cutwater.drivers.memory import keep_freed_memory

T = TypeVar("T")
_GARBAGE = 50_000
"""Objects made and not freed before Python looks for cycles among them. Requests leave none, while a trace keeps many
objects alive, and at Python's own 700 they are looked through again and again."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end; an interrupt from the keyboard cancels it first, so that it can clean up."""
    keep_freed_memory()
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    thresholds = gc.get_threshold()
    gc.collect()  # or what is garbage by now would be frozen, too, with the descriptors it holds
    gc.freeze()  # what was loaded stays; nobody need look through it again
    gc.set_threshold(_GARBAGE)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(main)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
