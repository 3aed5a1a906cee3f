"""The demonstration's own measures: silence, leftovers, and what must hold."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cutwater.lab.demo.leftovers import births, leftovers
from cutwater.lab.demo.stream import Answer, longest_silence
from cutwater.services.background import MARK
from cutwater.services.home import Home
from cutwater.services.workers.outcome import Outcome


def answers(*moments: float) -> list[Answer]:
    return [Answer(0.0, at, Outcome({}, 0.1, ())) for at in moments]


def test_the_longest_silence_lies_between_two_answers_or_at_an_end() -> None:
    assert longest_silence(answers(1.0, 2.0, 5.0, 6.0), 1.5, 7.0) == (2.0, 5.0)
    assert longest_silence(answers(1.0, 2.0), 1.5, 7.0) == (2.0, 7.0)
    assert longest_silence(answers(), 1.0, 2.0) == (1.0, 2.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.make()
    return made


@pytest.mark.slow
def test_a_process_that_is_left_is_found_until_it_has_ended(home: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={MARK: str(home.record("node-1"))},
    )
    assert process.stdout is not None
    process.stdout.readline()
    known = births(home)
    assert list(known) == [process.pid]
    assert leftovers(home, known, []) == [f"process {process.pid} runs"]
    assert leftovers(home, {}, []) == [f"process {process.pid} runs"]
    process.communicate(b"\n")
    assert leftovers(home, known, []) == []


def test_sockets_and_ports_that_are_left_are_found(home: Home) -> None:
    path = home.sockets / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as port:
        unix.bind(str(path))
        number = port.getsockname()[1]
        found = leftovers(home, {}, [f"nats://127.0.0.1:{number}"])
        assert found == [f"{path} exists", f"{path} is bound", f"port {number} listens"]
    assert leftovers(home, {}, [f"nats://127.0.0.1:{number}"]) == [f"{path} exists"]
    path.unlink()
    assert leftovers(home, {}, [f"nats://127.0.0.1:{number}"]) == []
