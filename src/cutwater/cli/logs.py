"""`cutwater logs`: what the processes of the cluster on this machine have written."""

import re
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cutwater.cli.console import print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.errors import NotFound, did_you_mean
from cutwater.services.background import last_lines
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved

PERIOD = 0.2
"""Seconds between two looks at the logs that are followed; files tell nobody, everywhere, that they have grown."""

_STAMP = re.compile(r'(?:\[\d+\] |\{"time":")?(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d\.\d{3})')


@with_settings()
def logs(
    resolved: Resolved,
    who: Annotated[str, typer.Argument(help="A process, such as node-1; without it, all of them.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what they write from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines, of each.")] = 20,
    json: Json = False,
) -> None:
    """Print what the processes write, oldest line first."""
    home = Home(resolved.home)
    chosen = _chosen(home, who)
    found = {name: last_lines(path, lines) for name, path in chosen.items()}
    if json:
        print_json(found)
        return
    width = max(map(len, chosen))
    for name, line in _by_time(found):
        _print(name, line, width, len(chosen) > 1)
    if follow:
        for name, line in _growing(chosen):
            _print(name, line, width, len(chosen) > 1)


def _chosen(home: Home, who: str) -> dict[str, Path]:
    """The logs asked for, by process. Raises NotFound."""
    known = home.existing_logs()
    if not known:
        raise NotFound(f"nothing was ever started in {home.folder}; start a cluster with `cutwater up`")
    if not who:
        return known
    if who not in known:
        raise NotFound(f"there is no log of {who!r}{did_you_mean(who, known)}")
    return {who: known[who]}


def _by_time(found: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """All lines in the order of their time stamps; a line without one belongs to the one before it."""
    stamped: list[tuple[str, str, str]] = []
    for name, lines in found.items():
        stamp = ""
        for line in lines:
            stamp = _stamp(line) or stamp
            stamped.append((stamp, name, line))
    stamped.sort(key=lambda each: each[0])
    return ((name, line) for _, name, line in stamped)


def _stamp(line: str) -> str:
    """Date and time at the line's beginning, in one form for ours and the NATS server's; empty where there is none."""
    found = _STAMP.match(line)
    return f"{'-'.join(found.group(1, 2, 3))}T{found[4]}" if found else ""


def _print(name: str, line: str, width: int, several: bool) -> None:
    results.print(f"{name:{width}}  {line}" if several else line, markup=False, soft_wrap=True)


def _growing(chosen: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Lines as they are written, until interrupted; a log that is begun anew is read from its beginning."""
    places = {name: (path.stat().st_ino, path.stat().st_size) for name, path in chosen.items()}
    while True:
        for name, path in chosen.items():
            inode, place = places[name]
            facts = path.stat() if path.exists() else None
            if facts is None:
                continue
            if facts.st_ino != inode or facts.st_size < place:
                place = 0
            with path.open("rb") as file:
                file.seek(place)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    place += len(line)
                    yield name, line.decode(errors="replace").rstrip("\n")
            places[name] = (facts.st_ino, place)
        select.select([], [], [], PERIOD)
