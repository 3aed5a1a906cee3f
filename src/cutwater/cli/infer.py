"""`cutwater infer`: ask a deployed model, one line per answer."""

import json as json_
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cutwater.api.tasks import DEFAULT_THRESHOLD
from cutwater.cli.answers import Reader
from cutwater.cli.asking import Ask, asked
from cutwater.cli.console import messages, print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json, parse_timeout
from cutwater.drivers.live import clock
from cutwater.drivers.loop import run
from cutwater.errors import BadFile, BadQuantity, CutwaterError
from cutwater.lab.annotate import drawing_target
from cutwater.lab.inputs import VIDEO_SUFFIXES, Item, need_video, video_facts
from cutwater.services.workers.outcome import Outcome
from cutwater.settings.resolve import Resolved
from cutwater.units import Seconds, format_seconds, parse_seconds

Name = Annotated[str, typer.Argument(help="Its name in the cluster.", show_default=False)]
Inputs = Annotated[
    list[str], typer.Argument(help='Pictures, folders, videos, .npy, .npz; or "synthetic:N".', show_default=False)
]
Repeat = Annotated[int | None, typer.Option(min=1, help="How many times to go through all inputs.")]
For = Annotated[str, typer.Option("--for", help="Go through them for so long.", metavar="TIME")]
Rate = Annotated[float | None, typer.Option(min=0.001, help="Requests per second; default: as fast as can be.")]
Timeout = Annotated[str, typer.Option(help="How long one request may take.")]
Top = Annotated[int, typer.Option(min=1, help="How many classes to name.")]
Threshold = Annotated[float, typer.Option(min=0.0, max=1.0, help="Smallest score of a detection.")]
Annotate = Annotated[
    Path | None,
    typer.Option(help="Draw what a detector sees: a folder, or for one video an .mp4, .mov or .mkv.", metavar="PATH"),
]
GatewayAddress = Annotated[str, typer.Option(help="Address of the gateway to ask; default: one of the cluster.")]
Jsonl = Annotated[
    str,
    typer.Option(help="Write one JSON object per line and answer into a file; - is standard output.", metavar="FILE"),
]


@with_settings("", "fabric")
def infer(
    resolved: Resolved,
    model: Name,
    inputs: Inputs,
    repeat: Repeat = None,
    for_: For = "",
    rate: Rate = None,
    timeout: Timeout = "30 s",
    top: Top = 3,
    threshold: Threshold = DEFAULT_THRESHOLD,
    annotate: Annotate = None,
    gateway: GatewayAddress = "",
    jsonl: Jsonl = "",
    json: Json = False,
) -> None:
    """Ask a deployed model and print its answers, in the order of the inputs; ends with 1 if any has none.

    Videos go through frame by frame, with no more of them in memory than are under way.
    """
    ask = Ask(
        model=model,
        inputs=inputs,
        repeat=repeat if repeat is not None or for_ else 1,
        duration=_duration(for_),
        rate=rate,
        timeout=parse_timeout(timeout),
        gateway=gateway,
        top=top,
        threshold=threshold,
        annotate=drawing_target(annotate, inputs) if annotate is not None else None,
    )
    answers: list[dict[str, Any]] = []
    quiet = jsonl not in ("", "-") or (ask.annotate is not None and ask.annotate.one_video)
    with _lines(jsonl) as write, _counting(ask, shown=quiet and not json) as count:

        def told(item: Item, outcome: Outcome | CutwaterError, reader: Reader) -> None:
            count()
            if json:
                answers.append(reader.facts(item, outcome))
            if write is not None:
                write(json_.dumps(reader.facts(item, outcome)))
            elif not json and not quiet:
                results.print(_line(item, outcome, reader), soft_wrap=True)

        tally = run(asked(resolved, ask, told))
    found = tally.facts()
    if json:
        print_json({**found, "answers": answers})
    else:
        messages.print(
            f"{tally.answered} answered, {tally.degraded} of them degraded, {tally.failed} failed; "
            f"{found['rate']:.4g}/s, latency p50 {format_seconds(found['p50'])}, p99 {format_seconds(found['p99'])}"
        )
    if tally.failed:
        raise typer.Exit(1)


def _line(item: Item, outcome: Outcome | CutwaterError, reader: Reader) -> str:
    if isinstance(outcome, CutwaterError):
        said = str(outcome).removeprefix(f"{item.name}: ")
        return f"{escape(item.name)}: [red]{outcome.kind}[/] {escape(said)}"
    mark = " [yellow]degraded[/]" if outcome.degraded else ""
    return f"{escape(item.name)}: {escape(reader.words(item, outcome))} ({format_seconds(outcome.latency)}){mark}"


@contextmanager
def _lines(jsonl: str) -> Iterator[Callable[[str], None] | None]:
    """Where lines of JSON go; None: nowhere. Raises BadFile."""
    if not jsonl:
        yield None
        return
    if jsonl == "-":
        yield lambda line: results.print(line, soft_wrap=True, markup=False)
        return
    try:
        with Path(jsonl).open("w", encoding="utf-8", buffering=1) as file:
            yield lambda line: print(line, file=file)
    except OSError as error:
        raise BadFile(f"--jsonl {jsonl}: cannot be written: {error.strerror}") from error


@contextmanager
def _counting(ask: Ask, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error that counts answers, with their rate."""
    total = None
    if ask.repeat == 1 and len(ask.inputs) == 1 and Path(ask.inputs[0]).suffix.lower() in VIDEO_SUFFIXES:
        need_video(ask.inputs[0])
        total = video_facts(Path(ask.inputs[0])).frames
    rate = TextColumn("{task.fields[rate]:.1f}/s")
    columns = (TextColumn(escape(ask.model)), BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn())
    began = clock()
    with Progress(*columns, console=messages, disable=not shown) as bar:
        task = bar.add_task("", total=total, rate=0.0)
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, rate=done / max(clock() - began, 1e-3))

        yield count


def _duration(text: str) -> Seconds | None:
    if not text:
        return None
    seconds = parse_seconds(text)
    if seconds <= 0:
        raise BadQuantity(f"--for {text}: give a time above 0, such as '10 s'")
    return seconds
