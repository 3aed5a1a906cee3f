"""Bed: devices on one machine, each a network namespace of its own on a common switch, with the link it shall have.

    with Bed([Device("camera", rate=20e6, cores=0.25), Device("server", rate=100e6)]) as bed:
        bed.run("camera", ["ping", "-c", "1", bed.address("server")])
        bed.cut("server")

The switch is a namespace too, so nothing is to be seen of a bed outside it. A device's rate holds in both directions;
its processor time is limited by a control group where ``cores`` says so. Linux only, and only for root.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from asyncio import sleep
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cutwater.errors import InputError, Unprivileged
from cutwater.lab.quota import Quota
from cutwater.units import Seconds, check_name

SWITCH = "switch"
"""The namespace in the middle: what runs there is reached by all devices, at the rate of each."""
PROGRAMS = ("ip", "tc", "nsenter", "sh")
_PREFIX = "cutwater"
_BRIDGE = "bridge"
_FACE = "eth0"
_BURST = 8 * 1024
"""Bytes a token bucket lets through at once: enough for 100 Mbit/s, and so little that small messages are slow too."""
_QUEUE = "400ms"
_NAMES = 40
"""Most characters of a device's name."""
_LEAVE: Seconds = 3.0
"""How long processes may take to end when the bed is removed."""
_LOOK: Seconds = 0.02
_NEWNET = 0x40000000
"""CLONE_NEWNET."""
_JOIN = 'for door; do case "$door" in --) shift; break;; esac; echo $$ > "$door"; shift; done; exec "$@"'
"""Joins the control groups whose doors are the arguments up to ``--``, then becomes the command."""


@dataclass(frozen=True)
class Device:
    """What a device of the bed is like."""

    name: str
    rate: float | None = None
    """Bits per second of its link, each way; None: as fast as it goes."""
    cores: float | None = None
    """Of a core, that its processes may use together; None: no limit."""


class Bed:
    """A context: inside it the devices are there. Whatever runs in them is ended when it is left."""

    def __init__(self, devices: Sequence[Device], *, network: str = "10.77.0") -> None:
        """Nothing is made yet.

        Args:
            devices: In the order of their addresses, from ``NETWORK.11`` on.
            network: The first three numbers of all addresses; the switch is ``NETWORK.1``.

        Raises:
            InputError: Two devices of one name, a name that cannot be one, or too many.
        """
        names = [device.name for device in devices]
        for name in names:
            check_name("device", name)
            if len(name) > _NAMES or name == SWITCH or names.count(name) > 1:
                raise InputError(f"device {name!r}: give each device a name of its own, other than {SWITCH!r}, short")
        if len(names) > 200:
            raise InputError(f"a bed has room for 200 devices, not for {len(names)}")
        self.devices = {device.name: device for device in devices}
        self._addresses = {SWITCH: f"{network}.1"} | {name: f"{network}.{11 + k}" for k, name in enumerate(names)}
        self._ports = {name: f"port{k}" for k, name in enumerate(names)}
        self._quotas: dict[str, Quota] = {}

    def __enter__(self) -> Self:
        """Make it; what is left of beds whose makers were killed is removed first.

        Raises:
            Unprivileged: This process may not, or a program is missing.
        """
        _check_able()
        clear()
        try:
            self._make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.remove()

    # What it is made of

    def _make(self) -> None:
        switch = self.namespace(SWITCH)
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", _BRIDGE, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        _ip("-n", switch, "addr", "add", f"{self._addresses[SWITCH]}/24", "dev", _BRIDGE)
        _ip("-n", switch, "link", "set", _BRIDGE, "up")
        for device in self.devices.values():
            self._plug_in(device, switch)

    def _plug_in(self, device: Device, switch: str) -> None:
        here, port = self.namespace(device.name), self._ports[device.name]
        _ip("netns", "add", here)
        _ip("link", "add", "name", port, "netns", switch, "type", "veth", "peer", "name", _FACE, "netns", here)
        _ip("-n", switch, "link", "set", port, "master", _BRIDGE, "up")
        _ip("-n", here, "link", "set", "lo", "up")
        _ip("-n", here, "addr", "add", f"{self._addresses[device.name]}/24", "dev", _FACE)
        _ip("-n", here, "link", "set", _FACE, "up")
        if device.rate is not None:
            self.limit(device.name, device.rate)
        if device.cores is not None:
            self._quotas[device.name] = Quota.make(here, device.cores)

    def namespace(self, name: str) -> str:
        """What the system calls the namespace of a device, or of the switch. Raises InputError for a stranger."""
        if name not in self._addresses:
            raise InputError(f"no device {name!r} in this bed; there are {', '.join(self._addresses)}")
        return f"{_PREFIX}-{os.getpid()}-{name}"

    def address(self, name: str) -> str:
        """Where a device, or the switch, is reached from within the bed."""
        self.namespace(name)
        return self._addresses[name]

    def remove(self) -> None:
        """End what runs in it, and leave nothing of it; harmless if it is gone."""
        _remove([self.namespace(name) for name in self._addresses], list(self._quotas.values()))
        self._quotas.clear()

    # Running

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` on a device, or at the switch, within its limits."""
        inside = ["nsenter", f"--net=/run/netns/{self.namespace(name)}", "--", *command]
        quota = self._quotas.get(name)
        return inside if quota is None else ["sh", "-c", _JOIN, "sh", str(quota.door), "--", *inside]

    def run(self, name: str, command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run it there and wait; ``options`` as `subprocess.run` takes them. Raises CalledProcessError."""
        options = {"check": True, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.run(self.command(name, command), **options)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """A context in which what this thread opens or starts is on a device's network, or at the switch."""
        with Path("/proc/thread-self/ns/net").open("rb") as here:
            with Path("/run/netns", self.namespace(name)).open("rb") as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def pids(self, name: str) -> list[int]:
        """What runs on a device."""
        return _pids(self.namespace(name))

    def throttled(self, name: str) -> Seconds:
        """How long what runs on a device was held back for its limit on processor time; 0 where it has none."""
        return self._quotas[name].throttled() if name in self._quotas else 0.0

    # Changing

    def limit(self, name: str, rate: float) -> None:
        """From now on the device's link carries ``rate`` bits per second, each way."""
        ends = ((self.namespace(name), _FACE), (self.namespace(SWITCH), self._ports[name]))
        for namespace, face in ends:
            bucket = ("tbf", "rate", f"{rate:.0f}bit", "burst", str(_BURST), "latency", _QUEUE)
            _do("tc", "-n", namespace, "qdisc", "replace", "dev", face, "root", *bucket)

    def limit_cores(self, name: str, cores: float) -> None:
        """From now on a device that had a limit on its processor time has this one."""
        self._quotas[name].limit(cores)

    def cut(self, name: str) -> None:
        """Take the device's cable out: nothing gets through, and nobody is told."""
        _ip("-n", self.namespace(SWITCH), "link", "set", self._ports[name], "nomaster")

    def mend(self, name: str) -> None:
        """Put it in again."""
        _ip("-n", self.namespace(SWITCH), "link", "set", self._ports[name], "master", _BRIDGE)

    @asynccontextmanager
    async def partition(self, name: str) -> AsyncIterator[None]:
        """A context in which the device is cut off."""
        self.cut(name)
        try:
            yield
        finally:
            self.mend(name)


async def partition(bed: Bed, name: str, seconds: Seconds) -> None:
    """Cut a device off for so long."""
    async with bed.partition(name):
        await sleep(seconds)


def clear() -> None:
    """Remove what is left of beds whose makers have ended without removing them."""
    dead = [name for name in _namespaces() if _is_orphan(name)]
    _remove(dead, [])


# The system


def _check_able() -> None:
    if sys.platform != "linux":
        raise Unprivileged(f"a bed of network namespaces needs Linux; this is {sys.platform}")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise Unprivileged(f"a bed of network namespaces needs the programs {', '.join(missing)}; install iproute2")
    if os.geteuid() != 0:
        raise Unprivileged("a bed of network namespaces can be made by root only; run this with sudo")


def _enter(descriptor: int) -> None:
    """Python has a function for it from 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> str:
    return _do("ip", *words)


def _do(*command: str) -> str:
    """What a command prints. Raises Unprivileged."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise Unprivileged(f"`{' '.join(command)}`: {said}; this machine does not let a bed of namespaces be made")
    return done.stdout


def _namespaces() -> Iterator[str]:
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0] if line.strip() else ""
        if name.startswith(f"{_PREFIX}-"):
            yield name


def _is_orphan(namespace: str) -> bool:
    pid = namespace.split("-")[1]
    return pid.isdecimal() and not Path(f"/proc/{pid}").exists()


def _pids(namespace: str) -> list[int]:
    if not Path("/run/netns", namespace).exists():
        return []
    return [int(pid) for pid in _ip("netns", "pids", namespace).split()]


def _remove(namespaces: Sequence[str], quotas: Sequence[Quota]) -> None:
    there = [name for name in namespaces if Path("/run/netns", name).exists()]
    found = {name: _pids(name) for name in there}
    _end({pid for pids in found.values() for pid in pids} | {pid for quota in quotas for pid in quota.pids()})
    for name in there:
        _ip("netns", "del", name)
    until = time.monotonic() + _LEAVE
    for quota in quotas:
        while not quota.remove() and time.monotonic() < until:
            time.sleep(_LOOK)


def _end(pids: set[int]) -> None:
    """Ask them to end, then kill them."""
    until = time.monotonic() + _LEAVE
    _signal(pids, signal.SIGTERM)
    while (pids := _alive(pids)) and time.monotonic() < until:
        time.sleep(_LOOK)
    _signal(pids, signal.SIGKILL)
    while (pids := _alive(pids)) and time.monotonic() < until + _LEAVE:
        time.sleep(_LOOK)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _alive(pids: set[int]) -> set[int]:
    def lives(pid: int) -> bool:
        with contextlib.suppress(OSError, ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # one that this process started is not gone before it is asked for
        try:
            return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return {pid for pid in pids if lives(pid)}
