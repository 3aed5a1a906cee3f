"""What this machine is, read where systems say it."""

import os
from pathlib import Path

import pytest

from cutwater.services import hardware
from cutwater.services.hardware import Meter, host_id, processor, throttled, usable_cores, usable_memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system's files, to be written by the test."""
    monkeypatch.setattr(hardware, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(hardware, "_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_this_machine_is_something() -> None:
    assert processor()
    assert 0 < usable_cores() <= (os.cpu_count() or 1)
    assert usable_memory() > 2**28
    assert host_id() == host_id() != ""
    assert 0.0 <= Meter().read() <= 1.0


def test_a_quota_of_the_unified_hierarchy_counts_wherever_it_is_set(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/outer/inner\n")
    write(system / "cgroup/outer/cpu.max", "25000 100000\n")
    write(system / "cgroup/outer/inner/cpu.max", "max 100000\n")
    write(system / "cgroup/outer/inner/memory.max", f"{2**20}\n")
    assert usable_cores() == 0.25
    assert usable_memory() == 2**20


def test_a_container_sees_its_limits_at_the_root_whatever_its_path_says(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/system.slice/docker-123.scope\n")
    write(system / "cgroup/cpu.max", "50000 100000\n")
    assert usable_cores() == 0.5


def test_every_group_that_holds_this_process_back_counts(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/outer/inner\n")
    write(system / "cgroup/outer/cpu.stat", "usage_usec 9\nnr_periods 5\nnr_throttled 3\nthrottled_usec 700\n")
    write(system / "cgroup/outer/inner/cpu.stat", "nr_periods 5\nnr_throttled 1\n")
    assert throttled() == 4


def test_where_nobody_is_held_back_nothing_is_counted(system: Path) -> None:
    assert throttled() == 0


def test_quotas_of_separate_hierarchies_count_too(system: Path) -> None:
    write(system / "proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n")
    write(system / "cgroup/cpu/job/cpu.cfs_quota_us", "50000\n")
    write(system / "cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    write(system / "cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(system / "cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n")
    write(system / "cgroup/memory/memory.limit_in_bytes", f"{2**30}\n")
    assert usable_cores() == 0.5
    assert usable_memory() == 2**30
