"""Freed memory stays in the process: else every large frame is mapped, zeroed page by page, and unmapped again."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 32 * 2**20
_KEPT = 128 * 2**20


def keep_freed_memory() -> None:
    """Let malloc keep up to 128 MiB for what comes next, in blocks of up to 32 MiB; does nothing without glibc.

    Measured on a chain of stages that pass 784 KB on: 100 page faults fewer per frame, and 30 % less CPU.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
