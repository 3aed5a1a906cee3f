"""`cutwater story`: tells in plain sentences what happened to one request, from the traces of the processes it met."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cutwater.cli.console import print_json, results
from cutwater.cli.options import Json
from cutwater.drivers.tracefile import read_trace
from cutwater.engine.story import tell
from cutwater.engine.trace import Step
from cutwater.errors import InputError, NotFound
from cutwater.units import parse_request


def story(
    request: Annotated[str, typer.Argument(help="The request, as an answer or an error names it: 5c1f03aa-42.")],
    trace: Annotated[list[Path], typer.Option("--trace", help="A trace file, or a folder of them; give all.")] = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Tell what happened to a request: asked, sent which way, computed where, lost, tried again, answered."""
    files = [file for given in trace for file in _files(given)]
    if not files:
        raise InputError("say with --trace where the traces are: a gateway records them where its setting `trace` says")
    steps = (line for file in files for line in read_trace(file) if type(line) is Step)
    sentences = tell(steps, parse_request(request))
    if not sentences:
        raise NotFound(f"no step in {len(files)} traces is about request {request}")
    if json:
        print_json([msgspec.to_builtins(sentence) for sentence in sentences])
        return
    began = sentences[0].now
    for sentence in sentences:
        results.print(
            f"{1e3 * (sentence.now - began):10.3f} ms  {sentence.who}: {sentence.text}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _files(given: Path) -> list[Path]:
    return sorted(given.glob("*.jsonl")) if given.is_dir() else [given]
