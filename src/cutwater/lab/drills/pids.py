"""Pids: what the system says of processes that a drill has killed or stopped."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from cutwater.services.background import birth
from cutwater.units import Seconds

_LOOK: Seconds = 0.01


def signal_to(pid: int, number: signal.Signals) -> None:
    """Send it; harmless if the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def died(pid: int, born: str | None, limit: Seconds = 3.0) -> bool:
    """Whether the process that was born then is dead within ``limit``."""
    return await _soon(lambda: birth(pid) != born, limit)


async def stopped(pid: int, limit: Seconds = 1.0) -> bool:
    """Whether the process is stopped within ``limit``."""
    return await _soon(lambda: state(pid) == "T", limit)


def state(pid: int) -> str:
    """One letter, as /proc has it; empty where there is no process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


async def _soon(is_so: Callable[[], bool], limit: Seconds) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            while not is_so():  # noqa: ASYNC110 - the system tells this of no other process's child
                await asyncio.sleep(_LOOK)
            return True
    return False
