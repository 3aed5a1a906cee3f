"""Home: the folder of a cluster on this machine, and what lies where in it.

HOME/
  lock                 held while something starts or stops processes
  wishes.json          what `cutwater up` was asked for last
  run/NAME.json        the process NAME: pid, birth, facts
  run/NAME.settings    what it was told when it was started
  logs/NAME.log        what it says; NAME.log.1 is what it said before
  data/NAME/           what it keeps
  sockets              a folder for Unix sockets, or a link to one where the home's path is too long for them
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cutwater.errors import BadSetting
from cutwater.fabric.secret_files import write_secret
from cutwater.services.background import Record, read_record

SOCKET_LIMIT = 103
"""Bytes of a Unix socket's path: 107 on Linux, 103 elsewhere."""
SOCKET_NAME = 40
"""Bytes of a path that belong to the socket's own name."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What `cutwater up` was told last, so that the next one need not be told again."""

    flags: dict[str, str] = {}
    """Setting -> what was given on the command line."""
    config: str = ""
    """The settings file, absolute."""


class Home:
    """The folder of one cluster; made when something is first started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.logs = folder / "logs"

    def record(self, name: str) -> Path:
        """Where the record of a process lies."""
        return self.run / f"{name}.json"

    def handover(self, name: str) -> Path:
        """Where the settings of a process lie."""
        return self.run / f"{name}.settings"

    def log(self, name: str) -> Path:
        """Where a process's log lies."""
        return self.logs / f"{name}.log"

    def existing_logs(self) -> dict[str, Path]:
        """The logs there are, by process."""
        return {path.stem: path for path in sorted(self.logs.glob("*.log"))}

    def data(self, name: str) -> Path:
        """The folder of what a process keeps; not made here."""
        return self.folder / "data" / name

    def records(self) -> dict[str, Record]:
        """The processes that were started here, dead or alive, by name."""
        found = {path.stem: read_record(path) for path in sorted(self.run.glob("*.json"))}
        return {name: record for name, record in found.items() if record is not None}

    def alive(self) -> dict[str, Record]:
        """The processes of the cluster that run and serve, by name."""
        return {name: record for name, record in self.records().items() if record.serving and record.alive}

    def wishes(self) -> Wishes | None:
        """What was asked for last; None while the cluster is down."""
        try:
            return msgspec.json.decode((self.folder / "wishes.json").read_bytes(), type=Wishes)
        except (OSError, msgspec.MsgspecError):
            return None

    def wish(self, wishes: Wishes | None) -> None:
        """Remember what was asked for, or that nothing is any more."""
        path = self.folder / "wishes.json"
        if wishes is None:
            path.unlink(missing_ok=True)
        else:
            write_secret(path, msgspec.json.encode(wishes))  # a token may be among them

    def make(self) -> None:
        """Make the folders. Raises BadSetting where that cannot be."""
        try:
            for folder in (self.folder, self.run, self.logs):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_sockets()
        except OSError as error:
            raise BadSetting(f"home: cannot make {error.filename}: {error.strerror}; set CUTWATER_HOME") from error

    @property
    def sockets(self) -> Path:
        """The folder for Unix sockets; its path leaves room for `SOCKET_NAME` bytes."""
        folder = self.folder / "sockets"
        return folder.readlink() if folder.is_symlink() else folder

    def _make_sockets(self) -> None:
        folder = self.folder / "sockets"
        if folder.is_symlink():
            folder = folder.readlink()
        elif len(os.fsencode(folder)) + 1 + SOCKET_NAME > SOCKET_LIMIT:
            link, folder = folder, _short_folder(folder)
            link.symlink_to(folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            raise BadSetting(f"{folder} should be a folder that only you can enter; remove it, or set CUTWATER_HOME")

    def remove_sockets(self) -> None:
        """Remove the sockets and, if it lies outside, their folder."""
        folder = self.sockets
        for path in folder.glob("*"):
            path.unlink(missing_ok=True)
        if folder != self.folder / "sockets" and folder.is_dir():
            folder.rmdir()
            (self.folder / "sockets").unlink()

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Nobody else starts or stops processes here meanwhile; ``waiting`` is called if somebody does at first."""
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _short_folder(folder: Path) -> Path:
    """A folder of this user's whose path is short, another one for each home."""
    mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(own) if own and len(os.fsencode(own)) < 40 and Path(own).is_dir() else Path("/tmp")
    return base / f"cutwater-{os.getuid()}-{mark}"
