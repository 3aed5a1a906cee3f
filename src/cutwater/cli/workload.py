"""`cutwater workload`: what comes for which models, and when: made, shown, fitted, scaled, converted."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cutwater.cli.console import messages, print_json, results, write_file
from cutwater.cli.options import Json
from cutwater.errors import BadQuantity, InputError
from cutwater.report.arrivals import draw_arrivals
from cutwater.report.table import filled
from cutwater.units import format_rate, format_seconds, parse_seconds
from cutwater.workload.arrivals import kind_of
from cutwater.workload.curve import mean_rate
from cutwater.workload.figures import WINDOWS, Figures, figures
from cutwater.workload.files import DESCRIPTIONS, load_workload, open_schedule, save_workload
from cutwater.workload.recordings import load_schedule, save_schedule
from cutwater.workload.scale import WINDOW, fitted, scaled_workload
from cutwater.workload.schedule import Schedule
from cutwater.workload.workload import Workload, make

app = typer.Typer(help="Describe, draw, look at and reshape the requests that come.", no_args_is_help=True)

MOST = 24
"""Streams that are shown; of more, those with the most requests."""

Source = Annotated[
    Path, typer.Argument(help="A description (.yaml, .toml), or arrivals (.json, .csv, public traces).", metavar="FILE")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Instead of the description's; 0 for what has none.")]
Window = Annotated[str, typer.Option(help="How long the windows of a fit are.", metavar="TIME")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where to: .yaml describes, .json and .csv hold arrivals.")]


@app.command(name="make")
def make_(source: Source, out: Out, seed: Seed = None, json: Json = False) -> None:
    """Draw the requests that a description stands for, and write when each is due."""
    _write(open_schedule(source, seed=seed), out, json)


@app.command()
def show(
    source: Source,
    seed: Seed = None,
    svg: Annotated[Path | None, typer.Option(help="Draw the rate over time, model by model, into this file.")] = None,
    json: Json = False,
) -> None:
    """Count what comes: rate, variation, dispersion, peak; for each model and for all together."""
    workload = load_workload(source) if source.suffix in DESCRIPTIONS else None
    schedule = open_schedule(source, seed=seed) if workload is None else make(_seeded(workload, seed))
    shown = sorted(schedule.times, key=lambda model: -len(schedule.times[model]))[:MOST]
    found = {model: figures(schedule.times[model], schedule.duration) for model in schedule.times if model in shown}
    together = figures(schedule.merged()[0], schedule.duration)
    if svg is not None:
        write_file(svg, draw_arrivals(schedule, found))
        messages.print(f"drawn: {svg}")
    if json:
        facts = {
            "duration": schedule.duration,
            "streams": len(schedule.times),
            "together": msgspec.to_builtins(together, str_keys=True),
            "models": {model: _facts(each, model, workload, schedule) for model, each in found.items()},
        }
        print_json(facts)
        return
    _tell(found, together, workload, schedule)


@app.command()
def fit(source: Source, out: Out, window: Window = "60 s", seed: Seed = None, json: Json = False) -> None:
    """Describe arrivals by the rate and the CV of each window: the same kind of load, drawn anew at every seed."""
    workload = fitted(open_schedule(source, seed=seed), _time("--window", window), seed=seed or 0)
    _write(workload, out, json)


@app.command()
def scale(
    source: Source,
    out: Out,
    rate: Annotated[float, typer.Option(help="So many times the requests.")] = 1.0,
    cv: Annotated[float, typer.Option(help="So many times the variation of the gaps.")] = 1.0,
    window: Window = "60 s",
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Multiply rates and CVs; recorded arrivals are fitted by windows first, and drawn anew."""
    length = _time("--window", window)
    described = source.suffix in DESCRIPTIONS
    workload = load_workload(source) if described else fitted(load_schedule(source, seed=seed or 0), length)
    workload = scaled_workload(workload, rate=rate, cv=cv, window=length)
    _write(_seeded(workload, seed), out, json)


@app.command()
def convert(
    source: Source,
    out: Out,
    begin: Annotated[str, typer.Option("--from", help="Leave out what comes before.", metavar="TIME")] = "0 s",
    length: Annotated[str, typer.Option("--for", help="And what comes so long after that.", metavar="TIME")] = "",
    stripe: Annotated[str, typer.Option(help="Deal the streams out to these models in turn: A,B,C.")] = "",
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Turn arrivals of one layout into another; take a part of them, or deal functions out to models."""
    schedule = open_schedule(source, seed=seed)
    first = parse_seconds(begin)
    if first or length:
        schedule = schedule.between(first, parse_seconds(length) if length else schedule.duration - first)
    if stripe:
        schedule = schedule.striped([name.strip() for name in stripe.split(",")])
    _write(schedule, out, json)


def _write(what: Workload | Schedule, out: Path, json: bool) -> None:
    if out.suffix == ".toml" or (out.suffix in DESCRIPTIONS and isinstance(what, Schedule)):
        raise InputError(
            f"--out {out}: arrivals go to .json or .csv, descriptions to .yaml; `fit` makes one of arrivals"
        )
    if out.suffix in DESCRIPTIONS and isinstance(what, Workload):
        save_workload(what, out)
        facts: dict[str, Any] = {"path": str(out), "models": len(what.models)}
    else:
        schedule = make(what) if isinstance(what, Workload) else what
        save_schedule(schedule, out)
        facts = {"path": str(out), "models": len(schedule.times), "requests": schedule.requests}
    if json:
        print_json(facts)
        return
    results.print(f"{facts['path']}: " + ", ".join(f"{facts[key]:,} {key}" for key in facts if key != "path"))


def _seeded(workload: Workload, seed: int | None) -> Workload:
    return workload if seed is None else msgspec.structs.replace(workload, seed=seed)


def _time(flag: str, text: str) -> float:
    seconds = parse_seconds(text)
    if not 0 < seconds < float("inf"):
        raise BadQuantity(f"{flag} {text}: give a time above 0, such as '{WINDOW:g} s'")
    return seconds


def _asked(model: str, workload: Workload | None) -> tuple[str, float | None]:
    """What kind of arrivals a model was given, and its rate to be expected, with its shares in mixes."""
    if workload is None:
        return "recorded", None
    own = workload.models[model].arrivals
    mixes = [mix for mix in workload.mixes.values() if model in mix.shares]
    rate = sum(
        mix.shares[model] / sum(mix.shares.values()) * mean_rate(mix.arrivals, workload.duration) for mix in mixes
    )
    kinds = [*([kind_of(own)] if own is not None else []), *(f"a share of {kind_of(mix.arrivals)}" for mix in mixes)]
    return " + ".join(kinds), rate + (mean_rate(own, workload.duration) if own is not None else 0.0)


def _facts(found: Figures, model: str, workload: Workload | None, schedule: Schedule) -> dict[str, Any]:
    kind, expected = _asked(model, workload)
    counted = msgspec.to_builtins(found, str_keys=True)
    return {"kind": kind, "expected_rate": expected, "slo": schedule.slos.get(model), **counted}


def _tell(found: dict[str, Figures], together: Figures, workload: Workload | None, schedule: Schedule) -> None:
    windows = [window for window in WINDOWS if window in together.dispersion]
    headers = ["model", "arrivals", "requests", "rate", "expected", "CV", "peak/mean"]
    headers += [f"dispersion in {window:g} s" for window in windows]
    rows = []
    for model, each in found.items():
        kind, expected = _asked(model, workload)
        rows.append([model, kind, *_cells(each, None if expected is None else format_rate(expected), windows)])
    if len(schedule.times) > 1:
        rows.append(["together", "", *_cells(together, None, windows)])
    results.print(filled(f"{schedule.requests:,} requests in {format_seconds(schedule.duration)}", headers, rows))
    if len(schedule.times) > len(found):
        results.print(f"and {len(schedule.times) - len(found):,} more streams, each with fewer requests", style="dim")


def _cells(each: Figures, expected: str | None, windows: list[float]) -> list[str]:
    counts = [f"{each.dispersion[w]:.3g}" if w in each.dispersion else "-" for w in windows]
    varied = "-" if each.cv is None else f"{each.cv:.3g}"
    return [f"{each.requests:,}", format_rate(each.rate), expected or "-", varied, f"{each.peak:.3g}", *counts]
