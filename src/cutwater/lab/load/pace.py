"""Pace: calls made when they are due, from one timer, whatever becomes of those before.

Event loops wait in whole milliseconds. Where the kernel has timers that are files (Linux), one such timer wakes the
loop within some 50 microseconds; elsewhere the loop is woken early and asked again and again for the last millisecond.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from typing import Protocol

from cutwater.drivers.live import clock
from cutwater.units import Seconds

_AT_ONCE = 64
"""Calls made before the loop may see to answers."""
_COARSE: Seconds = 2e-3
"""An event loop's own timers may be so late."""
_MONOTONIC, _ABSOLUTE = 1, 1
"""As in the kernel's headers."""


class _Timer(Protocol):
    def set(self, at: Seconds) -> None:
        """Ring then; at once if that is over."""
        ...

    def close(self) -> None: ...


async def pace(
    dues: Iterable[Seconds], began: Seconds, fire: Callable[[Seconds], None], now: Callable[[], Seconds] = clock
) -> None:
    """Call ``fire`` with each due time when it has come; returns when all have been.

    Args:
        dues: Seconds after ``began``, ascending; taken one by one.
        began: On the clock ``now``.
        fire: Must be quick; what it raises is raised here.
        now: Another clock must be that of the event loop.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = iter(dues)
    coming = next(left, None)

    def ring() -> None:
        nonlocal coming
        try:
            for _ in range(_AT_ONCE):
                if coming is None or began + coming > now():
                    break
                fire(coming)
                coming = next(left, None)
            if coming is not None:
                timer.set(began + coming)
            elif not done.done():
                done.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits here
            if not done.done():
                done.set_exception(error)

    timer = _timer(ring, now)
    try:
        ring()
        await done
    finally:
        timer.close()


def _timer(ring: Callable[[], None], now: Callable[[], Seconds]) -> _Timer:
    if now is not clock:
        return _LoopTimer(ring, now, 0.0)
    return _FileTimer(ring) if sys.platform == "linux" else _LoopTimer(ring, now, _COARSE)


class _Specification(ctypes.Structure):
    """The kernel's ``itimerspec``: every so long (never), and when."""

    _fields_ = (("every", ctypes.c_long * 2), ("at", ctypes.c_long * 2))


class _FileTimer:
    """A timer of the kernel that the event loop waits for as for a socket."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._wanted = _Specification()
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._rung)

    def set(self, at: Seconds) -> None:
        at = max(at, 1e-9)  # 0 would mean never
        seconds = int(at)
        self._wanted.at[0], self._wanted.at[1] = seconds, int((at - seconds) * 1e9)
        if self._libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(self._wanted), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _rung(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # it was set anew meanwhile
            return
        self._ring()


class _LoopTimer:
    """A timer of the event loop, and turns of it for what its timers are too coarse for."""

    def __init__(self, ring: Callable[[], None], now: Callable[[], Seconds], coarse: Seconds) -> None:
        self._ring, self._now, self._coarse = ring, now, coarse
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None

    def set(self, at: Seconds) -> None:
        early = at - self._now() - self._coarse
        self._handle = self._loop.call_later(early, self._ring) if early > 0 else self._loop.call_soon(self._ring)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
