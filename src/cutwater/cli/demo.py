"""`cutwater demo`: a cluster on this machine, a node killed in the middle of a stream, and every answer right."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, results, write_file
from cutwater.cli.options import Json, parse_timeout
from cutwater.lab.demo.claims import Claim, claims
from cutwater.lab.demo.exam import prepare_exam
from cutwater.lab.demo.run import Played, play
from cutwater.lab.demo.scene import Audience, Glance
from cutwater.report.demo_page import VERDICT_HEADERS, demo_page, disturbance, throughput_picture, verdict_rows
from cutwater.report.table import filled
from cutwater.report.tables import plan_summary, trial_tables
from cutwater.services.home import Home
from cutwater.units import Seconds, format_seconds
from cutwater.zoo.packages import default_cache

EVERY: Seconds = 2.0
"""How often it is said how the stream stands where nobody looks through a terminal."""


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page.")] = Path("demo"),
    steady: Annotated[
        str, typer.Option(help="How long pictures stream before the kill, and after the survivors took over.")
    ] = "6 s",
    json: Json = False,
) -> None:
    """Kill a node of a cluster that answers for a real model, and show that every answer comes all the same.

    Brings up three nodes, deploys a trained classifier over them, streams twenty labelled pictures, kills a node with
    -9 in the middle, and takes everything down again.

    Ends with 1 unless every answer came once and equals the uncut model's, the survivors took over by a plan of their
    own, and nothing is left running.
    """
    seconds = parse_timeout(steady)
    messages.print("fetching weights and pictures, building the model")
    exam = prepare_exam(default_cache())
    with _own_home() as home:
        with _stage() as audience:
            played = play(exam, home, default_cache(), seconds, audience)
        held = claims(played)
        page = out / "index.html"
        out.mkdir(parents=True, exist_ok=True)
        write_file(page, demo_page(played, held).render())
        write_file(out / "throughput.svg", throughput_picture(played.streamed))
        if json:
            print_json(_facts(played, held, page))
        else:
            _tell(played, held, page)
        if not all(claim.holds for claim in held):
            shutil.copytree(home.logs, out / "logs", dirs_exist_ok=True)
            messages.print(f"[red]not everything held[/]; the logs of the cluster are in {escape(str(out / 'logs'))}")
            raise typer.Exit(1)


@contextmanager
def _own_home() -> Iterator[Home]:
    """A home that nobody else uses, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cutwater-demo-") as folder:
        yield Home(Path(folder).resolve())


@contextmanager
def _stage() -> Iterator[Audience]:
    """Tells what happens as it happens: steps as commands, the stream in a line that changes."""
    told = 0.0
    with messages.status("") as status:

        def glance(seen: Glance) -> None:
            nonlocal told
            status.update(_line(seen))
            if not messages.is_terminal and seen.elapsed >= told + EVERY:
                told = seen.elapsed
                messages.print(_line(seen))

        def step(command: str) -> None:
            status.update("")
            messages.print(f"[bold]$ {escape(command)}[/]")

        yield Audience(
            step=step,
            tell=lambda what: messages.print(f"  {escape(what)}", soft_wrap=True),
            progress=lambda what, share: status.update(f"measuring {escape(what)}: {share:.0%}"),
            glance=glance,
        )


def _line(seen: Glance) -> str:
    degraded = f", {seen.degraded} of them by the gateway itself" if seen.degraded else ""
    failed = f", [red]{seen.failed} failed[/]" if seen.failed else ""
    return f"{seen.elapsed:5.1f} s  {seen.rate:6.1f} answers/s  {seen.answered} answered{degraded}{failed}"


def _tell(played: Played, held: list[Claim], page: Path) -> None:
    verdicts = list(played.exam.verdicts.values())
    marked = [[{True: "yes", False: "no"}.get(cell, cell) if isinstance(cell, bool) else cell for cell in row]
              for row in verdict_rows(verdicts)]  # fmt: skip
    results.print()
    results.print(filled("Pictures", VERDICT_HEADERS, marked))
    for title, trial in (("Before the kill", played.streamed.before), ("By the survivors", played.streamed.after)):
        if trial is not None:
            results.print(f"\n[bold]{title}[/]: {escape(plan_summary(trial.plan))}")
            for made in trial_tables(trial):
                results.print()
                results.print(made)
    results.print()
    results.print(
        filled("What had to hold", ("", "", ""), [(c.what, "yes" if c.holds else "NO", c.seen) for c in held])
    )
    results.print(f"\n{disturbance(played.streamed)}")
    results.print(f"all of it in {format_seconds(played.took)}; with pictures: {page}")


def _facts(played: Played, held: list[Claim], page: Path) -> dict[str, object]:
    streamed, since = played.streamed, played.streamed.killed
    moments = {"missed": streamed.missed, "planned": streamed.planned, "switched": streamed.switched}
    trials = {"before": streamed.before, "after": streamed.after}
    facts = {name: msgspec.to_builtins(trial) for name, trial in trials.items() if trial is not None}
    for each in facts.values():
        del each["trails"]
    return {
        "claims": [claim._asdict() for claim in held],
        "asked": streamed.asked,
        "answered": len(streamed.answers),
        "degraded": streamed.degraded,
        "retried": streamed.tally.retried if streamed.tally is not None else None,
        "duplicated": streamed.repeated,
        "victim": streamed.victim,
        "silence": streamed.silence[1] - streamed.silence[0],
        "seconds_after_kill": {name: at - since for name, at in moments.items() if at is not None},
        "cores_taken_by_others": {"before": streamed.taken[0], "after": streamed.taken[1]},
        **facts,
        "elapsed": played.took,
        "page": str(page),
    }
