"""How much of this machine's cores other processes took meanwhile: a prediction knows nothing of them."""

import contextlib
import os
from collections.abc import Collection

import psutil

from cutwater.drivers.live import clock
from cutwater.lab.timing import usable_cores
from cutwater.units import Seconds


class Strangers:
    """Watches the usable cores from now on."""

    def __init__(self, own: Collection[int]) -> None:
        """``own``: the processes that do not count, besides this one."""
        self._own = [os.getpid(), *own]
        self._began, self._busy, self._ours = clock(), _busy(), self._used()

    def share(self) -> float:
        """Of the cores, taken by others since; 0 to 1."""
        cores = len(usable_cores()) * max(clock() - self._began, 1e-9)
        others = (_busy() - self._busy) - (self._used() - self._ours)
        return min(max(others / cores, 0.0), 1.0)

    def _used(self) -> Seconds:
        used = 0.0
        for pid in self._own:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = psutil.Process(pid).cpu_times()
                used += times.user + times.system
        return used


def _busy() -> Seconds:
    """Processor time that anybody used of the cores this process may use."""
    every = psutil.cpu_times(percpu=True)
    usable = [every[core] for core in usable_cores() if core < len(every)]
    return sum(sum(times) - times.idle - getattr(times, "iowait", 0.0) for times in usable)
