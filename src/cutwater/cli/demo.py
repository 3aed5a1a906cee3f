"""`cutwater demo`: the main job on real input, in one command."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cutwater.cli.console import messages, print_json, progress, results, write_file
from cutwater.cli.live import LiveView
from cutwater.cli.options import Json
from cutwater.lab.demo import Demo, prepare_demo
from cutwater.lab.trial import Trial
from cutwater.report.demo_page import VERDICT_HEADERS, add_verdicts, verdict_rows
from cutwater.report.table import filled
from cutwater.report.tables import plan_summary, plan_table, trial_tables
from cutwater.report.trial_page import trial_page
from cutwater.zoo.packages import default_cache


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page.")] = Path("demo"),
    repeat: Annotated[int, typer.Option(min=1, help="How many times each picture goes through.")] = 50,
    json: Json = False,
) -> None:
    """Cut a trained classifier into three stages, stream twenty labelled pictures through them, and show the result.

    Ends with 1 unless every answer equals the uncut model's.
    """
    messages.print("fetching weights and pictures, building the model")
    ready = prepare_demo(default_cache(), repeat)
    with progress("planning") as report:
        plan = ready.plan(default_cache(), report)
    if not json:
        results.print(plan_table(plan))
        results.print(plan_summary(plan))
    with LiveView(plan, ready.items.total) as view:
        trial = ready.run(plan, view.show)
    path = _write_page(ready, trial, out)
    _tell(ready, trial, path, json)
    if trial.failures or not all(verdict.equal for verdict in ready.verdicts.values()):
        raise typer.Exit(1)


def _write_page(ready: Demo, trial: Trial, out: Path) -> Path:
    page = trial_page(ready.graph, ready.lattice, trial)
    add_verdicts(page, ready.verdicts.values())
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    write_file(path, page.render())
    return path


def _tell(ready: Demo, trial: Trial, path: Path, json: bool) -> None:
    verdicts = list(ready.verdicts.values())
    right, equal = sum(verdict.right for verdict in verdicts), sum(verdict.equal for verdict in verdicts)
    if json:
        facts = msgspec.to_builtins(trial)
        del facts["trails"]
        print_json({**facts, "pictures": len(verdicts), "right": right, "equal": equal, "page": str(path)})
        return
    marked = [[{True: "yes", False: "no"}.get(cell, cell) for cell in row] for row in verdict_rows(verdicts)]  # type: ignore[call-overload]
    results.print()
    results.print(filled("Pictures", VERDICT_HEADERS, marked))
    for made in trial_tables(trial):
        results.print()
        results.print(made)
    results.print(f"\n{right} of {len(verdicts)} right at top-1, {equal} of {len(verdicts)} equal to the uncut model")
    results.print(f"the cut model and the timeline of requests: {path}")
