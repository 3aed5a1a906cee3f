"""Processes in the background: real ones, each a few lines of Python."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from cutwater.errors import BadSetting, ProcessLost
from cutwater.services.background import MARK, Recipe, Record, birth, last_lines, marked, read_record, start, stop

pytestmark = pytest.mark.slow

SERVES = """
import signal, sys
print('{"type": "Serving", "facts": {"url": "here"}}', flush=True)
signal.pause()
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVES
DIES = "raise SystemExit('the disk is on fire')"
UNABLE = """print('{"type": "Unable", "kind": "BadSetting", "message": "no such store"}', flush=True)"""
SILENT = "import signal\nsignal.pause()"
CHILD = """
import subprocess, sys
child = "import signal; print('here', flush=True); signal.pause()"
subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE).stdout.readline()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def recipe(home: Path, script: str) -> Recipe:
    command = (sys.executable, "-c", script)
    return Recipe(name="it", command=command, record=home / "it.json", log=home / "it.log", log_limit=1000)


def start_it(home: Path, script: str, limit: float = 20.0) -> Record:
    return asyncio.run(start(recipe(home, script), limit))


def stop_it(home: Path, limit: float = 20.0) -> bool:
    return asyncio.run(stop(home / "it.json", limit))


def test_it_is_started_found_again_and_stopped(home: Path) -> None:
    record = start_it(home, SERVES)
    assert record == read_record(home / "it.json")
    assert (record.alive, record.serving, record.facts) == (True, True, {"url": "here"})
    assert os.getsid(record.pid) == record.pid, "an interrupt in our terminal must not reach it"
    assert stop_it(home) is False
    assert not record.alive
    assert read_record(home / "it.json") is None
    assert stop_it(home) is False, "stopping what has ended is harmless"


def test_who_does_not_listen_is_killed(home: Path) -> None:
    record = start_it(home, STUBBORN)
    assert stop_it(home, limit=0.1) is True
    assert not record.alive


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (DIES, ProcessLost, "it ended with exit code 1 before it served; the end of its log:\nthe disk is on fire"),
        (UNABLE, BadSetting, "it: no such store"),
        (SILENT, ProcessLost, "it did not serve within 0.5 s (cluster.start_limit)"),
        ("print('hello')", ProcessLost, "it said b'hello\\n' where it should say that it serves"),
        ("import os, signal; os.close(1); signal.pause()", ProcessLost, "it closed its stdout before it served"),
        ("import os; os.kill(os.getpid(), 9)", ProcessLost, "it was killed by SIGKILL before it served"),
    ],
)
def test_who_does_not_come_to_serve_leaves_an_error_and_nothing_else(
    script: str, kind: type[Exception], says: str, home: Path
) -> None:
    with pytest.raises(kind) as caught:
        start_it(home, script, limit=0.5 if script == SILENT else 20.0)
    assert says in str(caught.value)
    assert read_record(home / "it.json") is None
    assert marked(home) == []


def test_an_interrupted_start_leaves_nothing(home: Path) -> None:
    async def interrupted() -> None:
        starting = asyncio.create_task(start(recipe(home, SILENT), 20.0))
        while not marked(home):  # noqa: ASYNC110 - it says nothing that could be waited for
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])

    asyncio.run(interrupted())
    assert marked(home) == []
    assert read_record(home / "it.json") is None


def test_a_pid_that_was_given_out_again_is_not_taken_for_the_process(home: Path) -> None:
    record = start_it(home, SERVES)
    other = msgspec.structs.replace(record, birth="another time")
    (home / "it.json").write_bytes(msgspec.json.encode(other))
    assert not other.alive
    stop_it(home)
    assert record.alive, "it is another process, as far as the record knows"
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)
    assert birth(record.pid) is None


def test_children_are_found_by_the_mark_they_inherit(home: Path) -> None:
    record = start_it(home, CHILD + SERVES)
    child = psutil.Process(record.pid).children()[0]
    assert child.environ()[MARK] == str(home / "it.json")
    stop_it(home)
    assert marked(home) == [child]
    child.kill()
    child.wait()


def test_a_log_that_is_too_long_is_begun_anew_and_the_old_one_kept(home: Path) -> None:
    (home / "it.log").write_text("old words\n" * 200)
    with pytest.raises(ProcessLost):
        start_it(home, DIES)
    assert last_lines(home / "it.log", 5) == ["the disk is on fire"]
    assert last_lines(home / "it.log.1", 1) == ["old words"]
    assert last_lines(home / "none.log", 1) == []
