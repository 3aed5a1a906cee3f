"""What this machine is and how it does: processor, cores and memory a process may use, load, temperature, identity."""

import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_MACHINE_ID = Path("/etc/machine-id")
_UNLIMITED = 2**60
"""Bytes from which on a memory limit is how version 1 of control groups says "none"."""
_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz")
"""What systems call the thermometer of their processor, the most exact ones first."""


def processor() -> str:
    """The processor, as the system calls it."""
    info = _PROC / "cpuinfo"
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> float:
    """Cores this process may keep busy: those it may run on, or the quota of its control group if that is less."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(present), *_cpu_quotas()])


def throttled() -> int:
    """How often the control groups of this process have been held back so far, for having used up their quota."""
    found = 0
    for folder in _groups("cpu"):
        facts = folder / "cpu.stat"
        if facts.exists():
            lines = (line.split() for line in facts.read_text(encoding="ascii").splitlines())
            found += sum(int(value) for name, value in lines if name == "nr_throttled")
    return found


def usable_memory() -> int:
    """Bytes this machine has, or the limit of this process's control group if that is less."""
    return min([psutil.virtual_memory().total, *_memory_limits()])


def temperature() -> float | None:
    """Degrees Celsius of the processor; None where the system does not say."""
    read = getattr(psutil, "sensors_temperatures", None)  # missing on some systems
    found = read() if read is not None else {}
    for name in (*_SENSORS, *found):
        if degrees := [entry.current for entry in found.get(name, ()) if entry.current is not None]:
            return float(max(degrees))
    return None


def host_id() -> str:
    """The same for processes that share this machine's cores and reach each other by loopback, and for no others.

    Two network namespaces of one machine count as two machines: nothing leads from one to the other but links.
    """
    try:
        machine = _MACHINE_ID.read_text(encoding="ascii").strip()
    except OSError:
        machine = ""
    try:
        network = str((_PROC / "self/ns/net").stat().st_ino)
    except OSError:
        network = ""
    return "-".join(part for part in (machine or socket.gethostname(), network) if part)


class Meter:
    """Share of the cores in use between one reading and the next."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # the first reading has nothing to compare with

    def read(self) -> float:
        """0 to 1, over all cores, since the last reading."""
        return psutil.cpu_percent() / 100


def _cpu_quotas() -> Iterator[float]:
    for folder in _groups("cpu"):
        unified, quota = folder / "cpu.max", folder / "cpu.cfs_quota_us"
        if unified.exists():
            granted, _, period = unified.read_text(encoding="ascii").partition(" ")
            if granted != "max":
                yield int(granted) / int(period)
        elif quota.exists() and (limit := int(quota.read_text(encoding="ascii"))) > 0:
            yield limit / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))


def _memory_limits() -> Iterator[int]:
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            path = folder / name
            if path.exists():
                limit = path.read_text(encoding="ascii").strip()
                if limit != "max" and int(limit) < _UNLIMITED:
                    yield int(limit)


def _groups(controller: str) -> Iterator[Path]:
    """The control groups this process is in, innermost first: of version 2, and of ``controller`` in version 1."""
    listing = _PROC / "self/cgroup"
    if not listing.exists():
        return
    for line in listing.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        inner = root / path.lstrip("/")
        # A container sees its own group as the root, whatever the path says.
        chain = [inner, *(parent for parent in inner.parents if parent.is_relative_to(root))]
        yield from (folder for folder in chain if folder.is_dir())
