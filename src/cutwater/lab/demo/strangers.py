"""How much of this machine's cores other processes took meanwhile: a prediction knows nothing of them."""

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
        self._began, self._busy = clock(), _busy()
        self._own = {pid: used for pid in (os.getpid(), *own) if (used := _used(pid)) is not None}

    def share(self) -> float:
        """Of the cores, taken by others since; 0 to 1."""
        cores = len(usable_cores()) * max(clock() - self._began, 1e-9)
        ours = sum(used - before for pid, before in self._own.items() if (used := _used(pid)) is not None)
        return min(max((_busy() - self._busy - ours) / cores, 0.0), 1.0)


def _used(pid: int) -> Seconds | None:
    """Processor time of a process so far; None: it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return None
    return times.user + times.system


def _busy() -> Seconds:
    """Processor time that anybody used of the cores this process may use."""
    every = psutil.cpu_times(percpu=True)
    usable = [every[core] for core in usable_cores() if core < len(every)]
    return sum(sum(times) - times.idle - getattr(times, "iowait", 0.0) for times in usable)
