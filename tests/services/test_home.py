"""The folder of a cluster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cutwater.errors import BadSetting
from cutwater.services.home import SOCKET_LIMIT, SOCKET_NAME, Home, Wishes


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path."""
    with TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_sockets_lie_in_the_home_where_their_path_is_short_enough(short: Path) -> None:
    home = Home(short)
    home.make()
    assert home.sockets == short / "sockets"
    assert home.sockets.stat().st_mode & 0o777 == 0o700


def test_a_home_with_a_long_path_has_its_sockets_elsewhere_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    home = Home(tmp_path / ("deep-" * 12) / ("deeper-" * 12))
    home.make()
    sockets = home.sockets
    assert len(str(sockets)) + 1 + SOCKET_NAME <= SOCKET_LIMIT
    assert sockets.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    home.make()
    assert home.sockets == sockets, "what is recorded stays, whatever the environment says later"
    (sockets / "gateway").touch()
    home.remove_sockets()
    assert not sockets.exists()
    home.make()
    assert home.sockets.exists()
    home.remove_sockets()


def test_a_socket_folder_that_others_can_enter_is_refused(short: Path) -> None:
    (short / "sockets").mkdir()
    (short / "sockets").chmod(0o755)
    with pytest.raises(BadSetting, match="only you can enter"):
        Home(short).make()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match=r"file.*CUTWATER_HOME"):
        Home(tmp_path / "file" / "home").make()


def test_what_was_wished_is_remembered_until_it_is_taken_back(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.wishes() is None
    home.wish(Wishes(flags={"cluster.nodes": "4"}, config="/etc/cw.yaml"))
    assert home.wishes() == Wishes(flags={"cluster.nodes": "4"}, config="/etc/cw.yaml")
    assert (tmp_path / "wishes.json").stat().st_mode & 0o777 == 0o600, "a token may be among them"
    home.wish(None)
    assert home.wishes() is None


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    input()
"""


def test_only_one_may_change_what_runs(short: Path) -> None:
    home = Home(short)
    home.make()
    command = [sys.executable, "-c", HOLDER, str(short / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        waited: list[str] = []

        def let_go() -> None:
            waited.append("waited")
            holder.communicate("\n")

        with home.locked(let_go):
            assert waited == ["waited"]
    with home.locked(lambda: waited.append("again")):
        assert waited == ["waited"]
