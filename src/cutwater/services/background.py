"""Background processes: started in a session of their own, known by a record on disk, inspected and stopped later.

A record names the process by its id and its birth, so that a process that has got the same id later is never taken for
it. Whoever starts one learns by an event, a line on the process's stdout, that it serves.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from cutwater.engine.fault import Fault
from cutwater.errors import ProcessLost
from cutwater.services.standing import LOG
from cutwater.services.words import Serving, Unable
from cutwater.units import Seconds

MARK = "CUTWATER_PROCESS"
"""Variable by which a process and its children are found again: the path of the record."""
LAST_WORDS = 20
"""Lines of the log that an error shows."""
_LAST_MOMENT: Seconds = 1.0
"""How long a process that has closed its stdout may take to end."""
_LOOK: Seconds = 0.02
"""How often to look whether a process that is not a child has ended, where the system cannot tell."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a process is started."""

    name: str
    command: tuple[str, ...]
    record: Path
    log: Path
    log_limit: int
    environment: Mapping[str, str] = {}
    """On top of this process's."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A process that was started."""

    name: str
    pid: int
    birth: str
    """When the system started it; with the pid it names one process for good."""
    since: str
    """ISO 8601, UTC."""
    facts: dict[str, str] = {}
    """What it said when it served."""
    serving: bool = False

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return birth(self.pid) == self.birth


def birth(pid: int) -> str | None:
    """When the process was born, in the system's own words; None where there is none, or only its remains.

    Linux counts clock ticks since the machine started: unlike a time of day they do not move when the clock is set.
    """
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return None if Path("/proc/self/stat").exists() else _birth_elsewhere(pid)
    return None if words[0] in "ZX" else f"{boot}-{words[19]}"


def _birth_elsewhere(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def read_record(path: Path) -> Record | None:
    """The record, whether its process lives or not; None where there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def _write_record(path: Path, record: Record) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_bytes(msgspec.json.encode(record))
    draft.replace(path)


Answering = Callable[[int], Awaitable[dict[str, str]]]
"""Waits until a process (pid) that says nothing by itself answers; returns its facts, or raises CutwaterError."""


async def start(recipe: Recipe, limit: Seconds, answering: Answering | None = None) -> Record:
    """Start a process and wait until it serves; if it does not, nothing of it is left.

    Args:
        recipe: How it is started.
        limit: Seconds until it must serve.
        answering: For a program that does not say on stdout that it serves.

    Raises:
        ProcessLost: It ended during its start, or took longer than ``limit``; with the last lines of its log.
        CutwaterError: What it says it is unable to do.
    """
    if answering is None:  # other programs bound their logs by themselves
        _keep_one_old_log(recipe.log, recipe.log_limit)
    place = recipe.log.stat().st_size if recipe.log.exists() else 0
    reading, writing = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    try:
        try:
            process = _spawn(recipe, writing if answering is None else None)
        finally:
            os.close(writing)
        born = birth(process.pid) or ""
        since = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = Record(name=recipe.name, pid=process.pid, birth=born, since=since)
        _write_record(recipe.record, record)
        async with asyncio.timeout(limit):
            if answering is None:
                facts = _understand(recipe, process, await _first_line(reading), place)
            else:
                facts = await answering(process.pid)
        record = msgspec.structs.replace(record, facts=facts, serving=True)
        _write_record(recipe.record, record)
    except TimeoutError:
        _abandon(recipe, process)
        words = _last_words(recipe.log, place)
        raise ProcessLost(f"{recipe.name} did not serve within {limit:g} s (cluster.start_limit){words}") from None
    except BaseException:
        _abandon(recipe, process)
        raise
    finally:
        os.close(reading)
    return record


def _spawn(recipe: Recipe, stdout: int | None) -> "subprocess.Popen[bytes]":
    log = os.open(recipe.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    marks = {MARK: str(recipe.record), LOG: str(recipe.log), "PYTHONUNBUFFERED": "1"}
    try:
        return subprocess.Popen(
            recipe.command,
            stdin=subprocess.DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
            env={**os.environ, **recipe.environment, **marks},
            cwd=recipe.record.parent,
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessLost(f"cannot start {recipe.name}: {recipe.command[0]}: {error.strerror}") from error
    finally:
        os.close(log)


async def _first_line(descriptor: int) -> bytes:
    """What comes on a pipe until a line ends, or the pipe does."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    said = bytearray()

    def take() -> None:
        piece = os.read(descriptor, 65536)
        said.extend(piece)
        if (not piece or b"\n" in piece) and not done.done():
            done.set_result(bytes(said))

    loop.add_reader(descriptor, take)
    try:
        return await done
    finally:
        loop.remove_reader(descriptor)


def _understand(recipe: Recipe, process: "subprocess.Popen[bytes]", line: bytes, place: int) -> dict[str, str]:
    if not line.strip():
        raise _stillborn(recipe, process, place)
    try:
        said = msgspec.json.decode(line, type=Serving | Unable)
    except msgspec.MsgspecError as error:
        raise ProcessLost(f"{recipe.name} said {line[:200]!r} where it should say that it serves") from error
    if isinstance(said, Unable):
        raise Fault(said.kind, f"{recipe.name}: {said.message}", recipe.name).error()
    assert isinstance(said, Serving)
    return said.facts


def _stillborn(recipe: Recipe, process: "subprocess.Popen[bytes]", place: int) -> ProcessLost:
    try:
        code = process.wait(_LAST_MOMENT)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    except subprocess.TimeoutExpired:
        how = "closed its stdout"
    return ProcessLost(f"{recipe.name} {how} before it served{_last_words(recipe.log, place)}")


def _abandon(recipe: Recipe, process: "subprocess.Popen[bytes] | None") -> None:
    if process is not None:
        process.kill()
        process.wait()
    recipe.record.unlink(missing_ok=True)


async def stop(path: Path, limit: Seconds) -> bool:
    """End the process of a record: asked first, killed after ``limit``. Whether it had to be killed.

    Harmless if it has ended; the record is gone afterwards.
    """
    record = read_record(path)
    killed = False
    if record is not None:
        try:
            async with asyncio.timeout(limit):
                _signal(record, signal.SIGTERM)
                await _ended(record)
        except TimeoutError:
            killed = True
            _signal(record, signal.SIGKILL)
            await _ended(record)
    path.unlink(missing_ok=True)  # noqa: ASYNC240
    return killed


def _signal(record: Record, number: signal.Signals) -> None:
    if record.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, number)


async def _ended(record: Record) -> None:
    """Wait for its end; the system tells it where it can."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except (AttributeError, OSError):
        while record.alive:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(_LOOK)
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        if record.alive:
            await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def marked(folder: Path) -> list[psutil.Process]:
    """Processes that belong to records in ``folder``: those that were started, and their children."""
    return [process for process in psutil.process_iter() if _marked(process, folder)]


def kill_leftovers(folder: Path) -> None:
    """See that nothing is left of a home that was taken down. Raises ProcessLost, once it is killed, where it was."""
    left = marked(folder)
    for process in left:
        process.kill()
    if left:
        raise ProcessLost(f"left running: {', '.join(f'pid {each.pid}' for each in left)}; killed now")


def _marked(process: psutil.Process, folder: Path) -> bool:
    try:
        mark = process.environ().get(MARK)
        return mark is not None and Path(mark).parent == folder and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # somebody else's, or it has just ended
        return False


def last_lines(log: Path, count: int, place: int = 0) -> list[str]:
    """The last lines of a log, of those after ``place`` bytes; none where there is no log."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(place)
            return [line.rstrip("\n") for line in deque(lines, maxlen=count)]
    except FileNotFoundError:
        return []


def _last_words(log: Path, place: int) -> str:
    """The end of an error's message: what the log says last, of what was written after ``place``."""
    lines = last_lines(log, LAST_WORDS, place)
    return "; the end of its log:\n" + "\n".join(lines) if lines else f"; it wrote nothing to {log}"


def _keep_one_old_log(log: Path, limit: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > limit:
            log.replace(log.with_name(log.name + ".1"))


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of this installation."""
    return (sys.executable, "-m", module, *arguments)
