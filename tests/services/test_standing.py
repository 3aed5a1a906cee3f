"""A standing process: told its settings by a file, it serves, logs in bounds and ends when asked to."""

import contextlib
import errno
import logging
import os
import sys
from pathlib import Path

import msgspec
import pytest

from cutwater.drivers.loop import run
from cutwater.errors import BadSetting, ProcessLost
from cutwater.services.background import Recipe, Record, last_lines, start, stop
from cutwater.services.standing import BoundedLog
from cutwater.settings.handover import write_handover
from cutwater.settings.settings import ClusterSettings, ObserveSettings, Settings

pytestmark = pytest.mark.slow

TALKATIVE = """
import logging, sys
from cutwater.services.standing import stand

async def serve(settings, say, stop):
    for k in range(100):
        logging.getLogger("it").info("line %d of %s", k, settings.home)
    say({"home": str(settings.home)})
    print("what libraries print on stdout")
    await stop.wait()
    logging.getLogger("it").info("asked to stop")

sys.exit(stand(serve))
"""
FAULTY = TALKATIVE.replace('say({"home": str(settings.home)})', "1 / 0")


def start_it(folder: Path, script: str, settings: Path) -> Record:
    command = (sys.executable, "-c", script, str(settings))
    recipe = Recipe(name="it", command=command, record=folder / "it.json", log=folder / "it.log", log_limit=2000)
    return run(start(recipe, 20.0))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    write_handover(tmp_path / "it.settings", Settings(home=tmp_path, cluster=ClusterSettings(log_limit=2000)))
    return tmp_path / "it.settings"


def test_it_knows_its_settings_and_its_log_stays_small(tmp_path: Path, settings: Path) -> None:
    assert start_it(tmp_path, TALKATIVE, settings).facts == {"home": str(tmp_path)}
    assert run(stop(tmp_path / "it.json", 20.0)) is False, "it ends by itself when asked"
    lines = last_lines(tmp_path / "it.log", 100)
    assert lines[-1].endswith("INFO it: asked to stop")
    assert "what libraries print on stdout" in [*last_lines(tmp_path / "it.log.1", 100), *lines]
    assert 2000 < (tmp_path / "it.log.1").stat().st_size < 2200
    assert (tmp_path / "it.log").stat().st_size < 2200


def test_where_json_is_wanted_every_line_is_an_object(tmp_path: Path) -> None:
    settings = tmp_path / "it.settings"
    write_handover(settings, Settings(home=tmp_path, observe=ObserveSettings(log_format="json", log_level="warning")))
    script = TALKATIVE.replace('print("what libraries', 'import warnings; warnings.warn("what libraries')
    start_it(tmp_path, script.replace("asked to stop", "info is not wanted"), settings)
    run(stop(tmp_path / "it.json", 20.0))
    (line,) = (msgspec.json.decode(line, type=dict[str, str]) for line in last_lines(tmp_path / "it.log", 100))
    assert (line["process"], line["level"], line["logger"]) == ("it", "WARNING", "py.warnings")
    assert "what libraries print on stdout" in line["message"]


def test_a_mistake_in_its_code_stands_in_its_log_even_if_that_is_full(tmp_path: Path) -> None:
    settings = tmp_path / "it.settings"
    write_handover(settings, Settings(home=tmp_path, cluster=ClusterSettings(log_limit=1)))
    with pytest.raises(ProcessLost, match=r"exit code 1 before it served(.|\n)*ZeroDivisionError"):
        start_it(tmp_path, FAULTY, settings)


def test_settings_it_cannot_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"none\.settings: cannot be read"):
        start_it(tmp_path, TALKATIVE, tmp_path / "none.settings")


def test_a_log_that_somebody_removed_is_begun_anew(tmp_path: Path, settings: Path) -> None:
    removed = TALKATIVE.replace(
        "    for k in range(100):", '    (settings.home / "it.log").unlink()\n    for k in range(100):'
    )
    start_it(tmp_path, removed, settings)
    assert run(stop(tmp_path / "it.json", 20.0)) is False
    assert last_lines(tmp_path / "it.log", 100)[-1].endswith("INFO it: asked to stop")


def test_a_line_that_cannot_be_written_does_not_stop_who_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = logging.Logger("it")
    log.addHandler(BoundedLog(tmp_path / "it.log", 2**40))
    with capfd.disabled(), monkeypatch.context() as patched, contextlib.redirect_stderr(sys.__stderr__):
        patched.setattr(logging, "raiseExceptions", False)
        patched.setattr(os, "write", full)
        log.error("a line")
