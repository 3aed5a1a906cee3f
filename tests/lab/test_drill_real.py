"""Short drills as a person runs them: real processes, really killed. How fast things went is not asserted here."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cutwater.services.background import marked

pytestmark = pytest.mark.slow

CERTAIN = {"lost", "duplicated", "wrong", "unexpected", "answered without error", "faults happened"}
"""Criteria that no busy machine may break."""


@pytest.fixture
def home(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path; what a drill leaves running in it fails the test."""
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        monkeypatch.setenv("CUTWATER_HOME", folder)
        monkeypatch.setenv("CUTWATER_CACHE", str(shared_cache))
        yield Path(folder)
        left = [process for run in Path(folder).glob("*/run") for process in marked(run)]
        for process in left:
            process.kill()
        assert left == []


def start(*words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cutwater", "drill", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def drill(*words: object) -> dict[str, Any]:
    """The report."""
    said, trouble = start(*words, "--json").communicate(timeout=120)
    assert said, trouble
    report: dict[str, Any] = json.loads(said)
    assert "verdict" in report, report
    return report


def broken(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in report["verdict"]["criteria"] if each["name"] in CERTAIN and not each["held"]]


def test_a_worker_is_killed_and_every_request_is_answered_once(home: Path, vit_tiny: Path) -> None:
    report = drill("kill-stage", "--model", vit_tiny, "--rate", 0.1, "--every", "4s", "--for", "10s")
    assert broken(report) == []
    assert report["verdict"]["happened"] == len(report["findings"]["faults"]) == 2
    assert report["verdict"]["answered"] == report["verdict"]["attempts"] > 0
    assert all(fault["noticed"] is not None for fault in report["findings"]["faults"])


def test_the_coordinator_is_killed_and_another_one_leads(home: Path, vit_tiny: Path) -> None:
    words = ("--model", vit_tiny, "--nodes", 2, "--rate", 0.1, "--every", "5s", "--for", "10s")
    report = drill("coordinator", *words)
    assert broken(report) == []
    (fault,) = report["findings"]["faults"]
    loser = fault["victim"]
    winner = {"coordinator-1": "coordinator-2", "coordinator-2": "coordinator-1"}[loser]
    assert fault["by"] == f"{winner} leads"


def test_an_interrupt_ends_everything(home: Path, vit_tiny: Path) -> None:
    process = start("hang", "--model", vit_tiny, "--nodes", 1, "--rate", 0.1, "--every", "1s", "--for", "10min")
    assert process.stderr is not None
    for line in process.stderr:
        if "measuring" in line:  # then all is up, and asked
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert [run for run in home.glob("*/run") if marked(run)] == []
