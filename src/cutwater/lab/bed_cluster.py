"""BedCluster: a cluster spread over the devices of a bed, by the commands people give: up, invite, join, down.

The fabric and the coordinator run at the switch, a node agent on every device that joins, a gateway on one of them. All
is encrypted and measured as between machines, for nothing leads from one device to another but the bed's links.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from cutwater.errors import ProcessLost
from cutwater.lab.bed import SWITCH, Bed
from cutwater.services.cluster.cluster import GATEWAY, role_of
from cutwater.services.home import Home
from cutwater.wire.message import Address

START = "120 s"
"""For a process to serve: on a tenth of a core a Python program takes its time to begin."""
_LONG = 240.0
"""Seconds for any command."""


class BedCluster:
    """A context: inside it the fabric and a coordinator run; whatever has joined is down when it is left."""

    def __init__(self, bed: Bed, folder: Path, **flags: str) -> None:
        """Nothing runs yet.

        Args:
            bed: Where.
            folder: For the homes of all processes; it stays, with their logs.
            flags: For `cutwater up`, such as ``coordinators="2"``.
        """
        self.bed = bed
        self.folder = folder
        self.head = Home(folder / "head")
        self._flags = {"nodes": "0", "fabric-listen": bed.address(SWITCH), **_dashed(flags)}
        self._joined: list[tuple[str, str]] = []
        """Device and home of every member, in the order in which they joined."""

    def __enter__(self) -> Self:
        """Raises ProcessLost if it does not come up; nothing is left running then."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.give(SWITCH, "up", "--json", *_given(self._flags))
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything down."""
        self.down()

    def join(self, *devices: str, **flags: str) -> None:
        """Have nodes join, each called as its device, all at the same time.

        Args:
            devices: Where they run.
            flags: For `cutwater node join`, such as ``cluster_start_limit="60 s"``.

        Raises:
            ProcessLost: One did not come up.
        """
        for device in devices:
            self._invite(device, "node")
        with ThreadPoolExecutor(len(devices)) as pool:
            for _ in pool.map(
                lambda each: self._join(each, each, {"listen": self.bed.address(each), **flags}), devices
            ):
                pass

    def open_gateway(self, device: str) -> Address:
        """Run the gateway on a device whose node has joined; where clients of this machine come in.

        Raises:
            ProcessLost: It did not come up.
        """
        self._invite(GATEWAY, "gateway")
        self._join(device, GATEWAY, {"gateway-node": device})
        return Address(self._home(GATEWAY).alive()[GATEWAY].facts["socket"])

    def give(self, where: str, *words: str, home: Home | None = None) -> str:
        """Give a command, ``words`` after ``cutwater``, at the switch or on a device; what it prints.

        Raises:
            ProcessLost: It did not end well; says what it said.
        """
        settings = {**os.environ, "CUTWATER_HOME": str((home or self.head).folder)}
        command = self.bed.command(where, [sys.executable, "-m", "cutwater", *words])
        try:
            done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=_LONG, check=False)
        except subprocess.TimeoutExpired:
            raise ProcessLost(f"`cutwater {' '.join(words)}` on {where} did not end within {_LONG:g} s") from None
        if done.returncode:
            raise ProcessLost(f"`cutwater {' '.join(words)}` on {where}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    @contextmanager
    def still(self) -> Iterator[None]:
        """A context in which no coordinator decides anything, so that what is live stays as it is: all are stopped."""
        pids = [record.pid for name, record in self.head.alive().items() if role_of(name) == "coordinator"]
        _signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    def down(self) -> None:
        """Take down what runs, the last to join first; what does not end by itself is ended with the bed."""
        trouble: list[str] = []
        for device, name in (*reversed(self._joined), (SWITCH, "head")):
            try:
                self.give(device, "down", "--json", home=self._home(name))
            except ProcessLost as error:
                trouble.append(str(error))
        self._joined.clear()
        if trouble:
            raise ProcessLost("; ".join(trouble))

    def _home(self, name: str) -> Home:
        return Home(self.folder / name)

    def _invite(self, name: str, role: str) -> None:
        self.give(SWITCH, "node", "invite", name, f"--role={role}", f"--out={self._invitation(name)}", "--json")

    def _invitation(self, name: str) -> Path:
        return self.folder / f"{name}.toml"

    def _join(self, device: str, name: str, flags: Mapping[str, str]) -> None:
        self._joined.append((device, name))
        given = _given({"cluster-start-limit": START, **flags})
        home = self._home(name)
        self.give(device, "node", "join", str(self._invitation(name)), "--json", *given, home=home)


def _dashed(flags: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in flags.items()}


def _given(flags: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)
