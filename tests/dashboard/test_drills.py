"""Drills: only a child of a node agent of this home is ever signalled, and whoever is stopped goes on again."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from clusters import cluster, node, worker

from cutwater.errors import Forbidden, NotFound
from cutwater.services.asking import ClusterStatus
from cutwater.services.background import Record, birth
from cutwater.services.dashboard.drills import Drills
from cutwater.services.home import Home

WORKER = "vit.1.0.0.0"


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does nothing, as a worker of the node agent that this test is."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """In which node ``a`` was started: this very process."""
    made = Home(tmp_path)
    made.make()
    record = Record(name="a", pid=os.getpid(), birth=birth(os.getpid()) or "", since="", serving=True)
    made.record("a").write_bytes(msgspec.json.encode(record))
    return made


def status(pid: int, on: str = "a") -> ClusterStatus:
    return cluster(node(on, workers=(worker(0, on, pid=pid),)))


def test_a_worker_is_killed(home: Home, child: "subprocess.Popen[bytes]") -> None:
    assert "was killed" in Drills(home, allowed=True).run("kill", WORKER, status(child.pid))
    assert child.wait(5.0) == -9


def changed(pid: int, how: int) -> None:
    """Wait until the signal that it was sent has had its effect."""
    os.waitpid(pid, how)


def test_a_worker_that_was_stopped_goes_on(home: Home, child: "subprocess.Popen[bytes]") -> None:
    async def story() -> None:
        drills, process = Drills(home, allowed=True), psutil.Process(child.pid)
        drills.run("hang", WORKER, status(child.pid))
        changed(child.pid, os.WUNTRACED)
        drills.run("hang", WORKER, status(child.pid))
        assert process.status() == psutil.STATUS_STOPPED
        drills.close()
        changed(child.pid, os.WCONTINUED)
        assert process.status() != psutil.STATUS_STOPPED

    asyncio.run(story())


def test_nobody_else_is_touched(home: Home, child: "subprocess.Popen[bytes]") -> None:
    drills = Drills(home, allowed=True)
    assert drills.workers(status(child.pid)) == {WORKER: child.pid}
    for seen in (status(child.pid, on="b"), status(os.getppid()), status(os.getpid()), status(2**22 + 1)):
        with pytest.raises(NotFound, match="no worker that runs on this machine"):
            drills.run("kill", WORKER, seen)
    assert child.poll() is None
    with pytest.raises(Forbidden, match="--gateway-drills on"):
        Drills(home, allowed=False).run("kill", WORKER, status(child.pid))
