"""`cutwater study`: hold placements of many models against each other, in predicted time or on a cluster of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, progress, results, write_file
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.drivers.loop import run
from cutwater.errors import BadQuantity, BadSetting, did_you_mean
from cutwater.lab.studies.conduct import conduct_live, conduct_simulated
from cutwater.lab.studies.reading import load_study
from cutwater.lab.studies.results import FILE, Results, ResultsFolder
from cutwater.lab.studies.study import Study, Terms
from cutwater.report.study import study_csv, study_lines, study_markdown, study_tables
from cutwater.report.study_picture import draw_study
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.units import parse_seconds
from cutwater.zoo.packages import default_cache


@with_settings("", "node", "gateway")
def study(
    resolved: Resolved,
    file: Annotated[Path, typer.Argument(help="A study, such as experiments/two-models.yaml.", show_default=False)],
    live: Annotated[bool, typer.Option("--live/--simulated", help="On real nodes, or in predicted time.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for everything that is found; an unfinished one is gone on with.")
    ] = None,
    sweep: Annotated[list[str], typer.Option(help="Only this one; may be given several times.")] = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the study's.")] = None,
    for_: Annotated[str, typer.Option("--for", help="How long requests come, each time.", metavar="TIME")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="With what the study has for that: small models, less.")
    ] = False,
    json: Json = False,
) -> None:
    """Hold placements of many models against each other on the same requests.

    Ends with a table and a picture. Live, the cluster is the study's own, in a folder of the home, and is taken down at
    the end; each run is made again in virtual time, and both are compared. Ctrl-C keeps what was found.
    """
    wanted = _wanted(load_study(file), live, quick, for_, seed)
    wanted = _only(wanted, sweep)
    folder = ResultsFolder.open(out or Path(f"{wanted.name}-{'live' if live else 'simulated'}"), wanted, live)
    try:
        with _telling(wanted.name) as tell:
            if live:
                home = Home(resolved.home / f"study-{wanted.name}")
                run(conduct_live(folder, default_cache(), home, resolved.settings, tell))
            else:
                conduct_simulated(folder, default_cache(), tell)
    finally:
        _write(folder)
    if json:
        print_json(msgspec.json.decode(folder.encoded()))
        return
    for table in study_tables(folder.results):
        results.print(table)
    for line in study_lines(folder.results):
        results.print(f"\n{escape(line)}")
    messages.print(f"written: {folder.folder}/{{{FILE},table.md,table.csv,picture.svg}}", markup=False, soft_wrap=True)


@contextmanager
def _telling(name: str) -> Iterator[Callable[[str, float], None]]:
    """A progress bar; where nobody looks through a terminal, a line for whatever is done next."""
    last = ""

    def said(what: str, share: float) -> None:
        nonlocal last
        if what != last:
            messages.print(f"{share:4.0%}  {what}", markup=False, soft_wrap=True)
        last = what

    if messages.is_terminal:
        with progress(name) as tell:
            yield tell
    else:
        yield said


def _wanted(study: Study, live: bool, quick: bool, duration: str, seed: int | None) -> Study:
    """The study on this occasion. Raises BadQuantity."""
    occasions = [study.live] * live + [study.quick] * quick
    for terms in occasions:
        study = study.under(terms)
    if duration:
        seconds = parse_seconds(duration)
        if seconds <= 0:
            raise BadQuantity(f"--for {duration}: must be above 0")
        study = study.under(Terms(duration=seconds))
    return study if seed is None else msgspec.structs.replace(study, seed=seed)


def _only(study: Study, sweeps: list[str]) -> Study:
    """With some of its sweeps. Raises BadSetting."""
    for name in sweeps:
        if name not in study.sweeps:
            raise BadSetting(f"--sweep {name}: the study has none called so{did_you_mean(name, study.sweeps)}")
    kept = {name: each for name, each in study.sweeps.items() if name in sweeps}
    return msgspec.structs.replace(study, sweeps=kept or study.sweeps)


def _write(folder: ResultsFolder) -> None:
    """Table and picture of what was found so far, if anything was."""
    found: Results = folder.results
    if found.rows:
        write_file(folder.folder / "table.md", study_markdown(found))
        write_file(folder.folder / "table.csv", study_csv(found))
        write_file(folder.folder / "picture.svg", draw_study(found))
