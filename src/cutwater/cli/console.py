"""Where a command speaks: results on standard output, progress and messages on standard error."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cutwater.errors import BadFile

NARROWEST = 120
"""Columns of a table where nobody looks through a terminal."""

results = Console(highlight=False, width=None if sys.stdout.isatty() else NARROWEST)
messages = Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    results.print(json.dumps(value, indent=2), soft_wrap=True, markup=False)


def write_file(path: Path, content: str | bytes) -> None:
    """Write what the user asked for where they asked for it. Raises BadFile where that cannot be."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, float], None]]:
    """A progress bar on standard error; yields a callback ``(what, share done)``."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True) as bar:
        task = bar.add_task(title, total=1.0)

        def report(what: str, share: float) -> None:
            bar.update(task, description=f"{title}: {what}", completed=share)

        yield report


Speak = Callable[[str], None]


@contextmanager
def speaking(rarely: int) -> Iterator[tuple[Speak, Speak]]:
    """Two ways to tell of something long: what is done now, and how it stands.

    On a terminal both are one line at the bottom that is written over; elsewhere each thing that is done gets a line of
    its own, and every ``rarely``-th time how it stands.
    """
    if messages.is_terminal:
        with messages.status("starting") as status:
            yield status.update, status.update
        return
    times = 0

    def stands(text: str) -> None:
        nonlocal times
        times += 1
        if times % rarely == 0:
            messages.print(text, markup=False, soft_wrap=True)

    yield lambda text: messages.print(text, markup=False, soft_wrap=True), stands
