"""Quotas: shares of a core, by either version of control groups; what cannot be made says why."""

import os
from pathlib import Path

import pytest

from cutwater.errors import Unprivileged
from cutwater.lab.quota import Quota

pytestmark = pytest.mark.alone


def first_version(folder: Path) -> tuple[Path, Path]:
    """A mounted hierarchy of version 1, and what the kernel says of this process."""
    (folder / "cpu" / "mine").mkdir(parents=True)
    own = folder / "own"
    own.write_text("3:memory:/other\n2:cpu,cpuacct:/mine\n0::/\n")
    return folder, own


def second_version(folder: Path) -> tuple[Path, Path]:
    """Version 2: the processor is shared out among the groups below ``slice``, not below the group of this process."""
    (folder / "slice" / "mine").mkdir(parents=True)
    (folder / "slice" / "cgroup.subtree_control").write_text("cpu memory\n")
    (folder / "slice" / "mine" / "cgroup.subtree_control").write_text("\n")
    own = folder / "own"
    own.write_text("0::/slice/mine\n")
    return folder, own


def test_a_quarter_of_a_core_is_a_quarter_of_every_period(tmp_path: Path) -> None:
    quota = Quota.make("camera", 0.25, *first_version(tmp_path))
    assert quota.folder == tmp_path / "cpu" / "mine" / "camera"
    assert (quota.folder / "cpu.cfs_quota_us").read_text() == "2500"
    assert (quota.folder / "cpu.cfs_period_us").read_text() == "10000"


def test_the_second_version_says_the_same_in_one_line(tmp_path: Path) -> None:
    quota = Quota.make("camera", 1.5, *second_version(tmp_path))
    assert quota.folder == tmp_path / "slice" / "camera"
    assert (quota.folder / "cpu.max").read_text() == "15000 10000"


def test_a_very_small_share_takes_a_longer_period(tmp_path: Path) -> None:
    quota = Quota.make("camera", 0.05, *second_version(tmp_path))
    assert (quota.folder / "cpu.max").read_text() == "1000 20000", "the kernel grants no less than a millisecond"


def test_where_nobody_shares_out_the_processor_it_says_so(tmp_path: Path) -> None:
    root, own = second_version(tmp_path)
    (root / "slice" / "cgroup.subtree_control").write_text("memory\n")
    with pytest.raises(Unprivileged, match="no control groups for processor time"):
        Quota.make("camera", 0.25, root, own)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_where_it_may_not_be_made_it_says_so(tmp_path: Path) -> None:
    root, own = first_version(tmp_path)
    (root / "cpu" / "mine").chmod(0o500)
    with pytest.raises(Unprivileged, match="cannot make a control group"):
        Quota.make("camera", 0.25, root, own)
