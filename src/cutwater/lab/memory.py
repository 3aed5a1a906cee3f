"""How much resident memory a piece of work adds at its peak."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass
class Peak:
    """What `peak_memory` saw; complete when its block has ended."""

    added: int = 0
    """Bytes of resident memory at the highest point inside the block, less those before it."""


@contextlib.contextmanager
def peak_memory() -> Iterator[Peak]:
    """Watch this process's memory; where the system keeps no resettable peak, the end stands for the highest point."""
    gc.collect()
    _give_back_free_memory()
    process = psutil.Process()
    before = process.memory_info().rss
    reset = _reset_peak()
    peak = Peak()
    try:
        yield peak
    finally:
        highest = _peak_bytes() if reset else process.memory_info().rss
        peak.added = max(0, highest - before)


def _give_back_free_memory() -> None:
    """Memory freed earlier would be used again unseen, and the work would look smaller than it is."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _peak_bytes() -> int:
    """``VmHWM:   123456 kB`` -> bytes."""
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
