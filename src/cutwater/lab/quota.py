"""Quota: a control group of this machine whose processes get a share of a core, however idle or busy the others are.

Version 1 and 2 of control groups look alike from here: a folder, a file with the limit, a file to join by.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cutwater.errors import Unprivileged
from cutwater.units import Seconds

PERIOD_US = 10_000
"""Of the quota, in microseconds. With the kernel's 100 ms, a computation of 30 ms at a quarter of a core would be
slowed down by far less than four times: most of it fits in what a period grants at once."""
LEAST_US = 1_000
"""What the kernel grants at least in each period."""
WEIGHT = 20
"""How many times more the group counts than another, as long as it keeps within its quota: a device's processor is its
own, and slow because it is, not because of what else runs on this machine."""
_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Quota:
    """One group. Whoever makes it removes it; what still runs in it is not ended by that."""

    folder: Path
    unified: bool
    """Version 2."""

    @classmethod
    def make(cls, name: str, cores: float, root: Path = _ROOT, own: Path = _OWN) -> Self:
        """A new group.

        Args:
            name: Of its folder; one that is left over is taken over.
            cores: What its processes may use together, such as 0.25.
            root: Where control groups are mounted.
            own: The file in which the kernel says which groups this process is in.

        Raises:
            Unprivileged: The kernel, or who runs this machine, does not let this process make one.
        """
        parent, unified = _parent(root, own)
        quota = cls(parent / name, unified)
        try:
            quota.folder.mkdir(exist_ok=True)
            quota.limit(cores)
            quota._weigh()
        except OSError as error:
            raise Unprivileged(
                f"{quota.folder}: cannot make a control group with a limit on its processor time ({error.strerror}); "
                "be root, or leave devices without one"
            ) from error
        return quota

    def limit(self, cores: float) -> None:
        """From now on ``cores`` of a core."""
        granted = max(LEAST_US, round(cores * PERIOD_US))
        period = max(PERIOD_US, round(granted / cores))
        if self.unified:
            self._write("cpu.max", f"{granted} {period}")
        else:
            # The kernel refuses a quota above what the period now in force allows: unlimited first.
            self._write("cpu.cfs_quota_us", "-1")
            self._write("cpu.cfs_period_us", str(period))
            self._write("cpu.cfs_quota_us", str(granted))

    def _weigh(self) -> None:
        if self.unified:
            self._write("cpu.weight", str(100 * WEIGHT))
        else:
            self._write("cpu.shares", str(1024 * WEIGHT))

    @property
    def door(self) -> Path:
        """The file that a process writes its pid to, to be in the group."""
        return self.folder / "cgroup.procs"

    def pids(self) -> list[int]:
        """Who is in it."""
        try:
            return [int(line) for line in self.door.read_text(encoding="ascii").split()]
        except FileNotFoundError:
            return []

    def throttled(self) -> Seconds:
        """How long its processes were held back since it was made."""
        facts = dict(line.split() for line in (self.folder / "cpu.stat").read_text(encoding="ascii").splitlines())
        return int(facts["throttled_usec"]) / 1e6 if self.unified else int(facts["throttled_time"]) / 1e9

    def remove(self) -> bool:
        """Whether it is gone; it is not while processes are in it."""
        with contextlib.suppress(FileNotFoundError):
            try:
                self.folder.rmdir()
            except OSError:
                return False
        return True

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="ascii")


def _parent(root: Path, own: Path) -> tuple[Path, bool]:
    """The folder for new groups, and whether it is of version 2. Raises Unprivileged."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        lines = []
    for _, controllers, path in lines:
        if "cpu" in controllers.split(","):
            folder = root / "cpu" / path.lstrip("/")
            return (folder if folder.is_dir() else root / "cpu"), False
    for _, controllers, path in lines:
        if not controllers and (group := _delegating(root, path)) is not None:
            return group, True
    raise Unprivileged(f"{root}: no control groups for processor time here; leave devices without a limit on it")


def _delegating(root: Path, path: str) -> Path | None:
    """The innermost group around this process below which the processor may be shared out (version 2)."""
    folder = root / path.lstrip("/")
    for group in (folder, *folder.parents):
        if not group.is_relative_to(root):
            return None
        shared = group / "cgroup.subtree_control"
        if shared.exists() and "cpu" in shared.read_text(encoding="ascii").split() and os.access(group, os.W_OK):
            return group
    return None
