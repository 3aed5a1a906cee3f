"""Tables of a study: what came of each placement, how many times better that is, and how simulated compares with live.

The same cells are shown in a terminal, and written as Markdown; the CSV has every figure with all its digits.
"""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import NamedTuple

from rich.table import Table

from cutwater.lab.studies.results import ENGINE, HINDSIGHT, LIVE, QUEUES, Results, Row
from cutwater.lab.studies.study import Point, Study
from cutwater.report.table import filled
from cutwater.units import format_rate, format_seconds

WORDS = {QUEUES: "queues", ENGINE: "simulated", LIVE: "live", HINDSIGHT: "simulated in hindsight"}
AXES = ("workload", "load", "rate", "cv", "slo", "nodes", "failing")
SOUGHT = {"rate": "highest rate", "cv": "highest CV", "nodes": "fewest nodes"}
COLUMNS = (
    "sweep", *AXES, "placement", "how", "requests", "in_time", "in_time_margin", "mean", "mean_margin", "p50", "p99",
    "found", "shape",
)  # fmt: skip


class Sheet(NamedTuple):
    """A table of text."""

    title: str
    headers: list[str]
    rows: list[list[str]]


def sheets(results: Results) -> Iterator[Sheet]:
    """One for each sweep of which something is known, and one that holds simulated against live."""
    for name, sweep in results.study.sweeps.items():
        rows = [row for row in results.rows if row.point.sweep == name]
        if rows and sweep.find:
            yield _sought(results, name, rows)
        elif rows:
            yield _compared(results, name, rows)
    if any(row.how == LIVE for row in results.rows):
        yield _agreement(results)


def study_tables(results: Results) -> Iterator[Table]:
    """For a terminal."""
    for sheet in sheets(results):
        yield filled(f"\n{sheet.title}", sheet.headers, sheet.rows)


def study_markdown(results: Results) -> str:
    """As a document, with the picture beside it."""
    study = results.study
    lines = [f"# {study.name}", "", study.question, "", f"{results.conditions}.", "", f"![{study.name}](picture.svg)"]
    for sheet in sheets(results):
        lines += ["", f"## {sheet.title}", ""]
        lines += [_line(sheet.headers), _line("---" for _ in sheet.headers), *map(_line, sheet.rows)]
    return "\n".join(lines) + "\n"


def study_csv(results: Results) -> str:
    """One line per placement, point and way to find out; seconds, shares and rates as plain numbers."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in results.rows:
        writer.writerow(
            (
                row.point.sweep,
                *(getattr(row.point, axis) for axis in AXES),
                row.placement,
                row.how,
                row.requests,
                row.attainment,
                row.attainment_margin,
                row.mean,
                row.mean_margin,
                row.p50,
                row.p99,
                row.found,
                row.shape,
            )
        )
    return text.getvalue()


def study_lines(results: Results) -> Iterator[str]:
    """What it comes to, in sentences: how far simulated is from live at worst."""
    for how in (ENGINE, HINDSIGHT):
        pairs = list(_pairs(results, how))
        if pairs:
            points = max(abs(simulated.attainment - live.attainment) for simulated, live in pairs)
            means = [off for simulated, live in pairs if (off := _off(simulated, live)) is not None]
            worst = f", of the mean latency {max(means, key=abs):+.1%}" if means else ""
            yield f"{WORDS[how]} against live, at worst: {100 * points:.1f} points of the requests in time{worst}"


def varying(study: Study, points: Iterable[Point]) -> list[str]:
    """The axes on which points differ."""
    found = list(points)
    return [axis for axis in AXES if len({getattr(point, axis) for point in found}) > 1]


def axis_text(point: Point, axis: str) -> str:
    """A value as people read it."""
    value = getattr(point, axis)
    if value is None:
        return "none" if axis == "slo" else "-"
    match axis:
        case "load":
            return f"{value:.0%}"
        case "rate":
            return format_rate(value)
        case "slo":
            return f"{value:g}x"
        case "cv":
            return f"CV {value:g}" if not isinstance(value, str) else value
        case "nodes":
            return f"{value} nodes"
        case "failing":
            return "fails" if value else "-"
    return str(value)


def _points(rows: Iterable[Row]) -> list[Point]:
    return list(dict.fromkeys(row.point for row in rows))


def _compared(results: Results, name: str, rows: list[Row]) -> Sheet:
    """What was measured, or simulated; beside it what the queues say."""
    study = results.study
    points = _points(rows)
    axes = varying(study, points)
    best = next(how for how in (LIVE, ENGINE, QUEUES) if any(row.how == how for row in rows))
    limited = any(point.slo is not None for point in points)
    queues = best != LIVE and any(row.how == QUEUES for row in rows)
    headers = [*axes, "placement", "pipelines", f"in time, {WORDS[best]}", "mean", "p99"]
    headers += ["in time, queues", "mean, queues"] if queues else []
    headers.append(f"misses, of {study.baseline}'s" if limited else f"{study.baseline}'s mean over it")
    lines = []
    for point in points:
        base = results.of(point, study.baseline, best)
        for placement in study.placements:
            row = results.of(point, placement, best)
            if row is None:
                continue
            line = [*(axis_text(point, axis) for axis in axes), placement, lengths_text(row.shape), *_figures(row)]
            if queues:
                line += _figures(results.of(point, placement, QUEUES))[:2]
            lines.append([*line, _against(row, base, limited)])
    return Sheet(f"{name}, {WORDS[best]}", headers, lines)


def lengths_text(shape: str) -> str:
    """How many nodes each group has: ``"1: a; 2: b; 3+4: c"`` -> ``"2 of 1, 1 of 2"``."""
    counts: dict[int, int] = {}
    for group in filter(None, shape.split("; ")):
        size = group.partition(":")[0].count("+") + 1
        counts[size] = counts.get(size, 0) + 1
    return ", ".join(f"{count} of {size}" for size, count in sorted(counts.items())) or "none"


def _against(row: Row, base: Row | None, limited: bool) -> str:
    if base is None:
        return "-"
    if limited:
        return f"{(1 - row.attainment) / (1 - base.attainment):.0%}" if base.attainment < 1 else "-"
    return f"{base.mean / row.mean:.2f}" if base.mean and row.mean else "-"


def _figures(row: Row | None) -> list[str]:
    if row is None:
        return ["", "", ""]
    in_time = f"{row.attainment:.2%}" + (f" ±{100 * row.attainment_margin:.1f}" if row.attainment_margin else "")
    mean = "-" if row.mean is None else format_seconds(row.mean)
    if row.mean and row.mean_margin:
        mean += f" ±{row.mean_margin / row.mean:.0%}"
    return [in_time, mean, "-" if row.p99 is None else format_seconds(row.p99)]


def _sought(results: Results, name: str, rows: list[Row]) -> Sheet:
    """What was looked for, and what the engine says of it."""
    study = results.study
    sweep = study.sweeps[name]
    axes = varying(study, _points(rows))
    headers = [*axes, "placement", SOUGHT[sweep.find], f"times {study.baseline}", "pipelines", "simulated there"]
    lines = []
    for point in _points(rows):
        base = results.of(point, study.baseline, QUEUES)
        for placement in study.placements:
            found, checked = (results.of(point, placement, how) for how in (QUEUES, ENGINE))
            if found is None or found.found is None:
                continue
            times = found.found / base.found if base is not None and base.found else None
            lines.append(
                [
                    *(axis_text(point, axis) for axis in axes),
                    placement,
                    _found_text(sweep.find, found.found),
                    "-" if times is None or not found.found else f"{times:.2f}",
                    lengths_text(found.shape) if found.found else "",
                    f"{checked.attainment:.2%}" if checked is not None and found.found else "-",
                ]
            )
    return Sheet(f"{name}: with {100 * sweep.aim:g}% in time", headers, lines)


def _found_text(what: str, value: float) -> str:
    if not value:
        return "none"
    return format_rate(value) if what == "rate" else f"{value:.3g}"


def _pairs(results: Results, how: str = ENGINE) -> Iterator[tuple[Row, Row]]:
    """Simulated and live, of the same placement and point; ``how``: with costs of before and after, or in hindsight."""
    for row in results.rows:
        simulated = results.of(row.point, row.placement, how) if row.how == LIVE else None
        if simulated is not None:
            yield simulated, row


def _off(simulated: Row, live: Row) -> float | None:
    return simulated.mean / live.mean - 1 if simulated.mean and live.mean else None


def _agreement(results: Results) -> Sheet:
    axes = varying(results.study, _points(results.rows))
    headers = ["sweep", *axes, "placement", "in time", "simulated", "points off", "mean", "simulated", "off"]
    headers += ["drift", "points off in hindsight", "mean", "off"]
    lines = []
    for simulated, live in _pairs(results):
        off = _off(simulated, live)
        after = results.of(live.point, live.placement, HINDSIGHT)
        after_off = _off(after, live) if after is not None else None
        lines.append(
            [
                live.point.sweep,
                *(axis_text(live.point, axis) for axis in axes),
                live.placement,
                f"{live.attainment:.2%}",
                f"{simulated.attainment:.2%}",
                f"{100 * (simulated.attainment - live.attainment):+.1f}",
                "-" if live.mean is None else format_seconds(live.mean),
                "-" if simulated.mean is None else format_seconds(simulated.mean),
                "-" if off is None else f"{off:+.1%}",
                _drift(live),
                "-" if after is None else f"{100 * (after.attainment - live.attainment):+.1f}",
                "-" if after is None or after.mean is None else format_seconds(after.mean),
                "-" if after_off is None else f"{after_off:+.1%}",
            ]
        )
    return Sheet("simulated against live", headers, lines)


def _drift(live: Row) -> str:
    """How much longer stages computed meanwhile than just before and after, when it was measured what they take."""
    stages = [name.removesuffix(" around") for name in live.facts if name.endswith(" around")]
    pairs = [(live.facts[f"{name} around"], live.facts.get(f"{name} meanwhile")) for name in stages]
    ratios = [meanwhile / around for around, meanwhile in pairs if around and meanwhile]
    return f"{sum(ratios) / len(ratios) - 1:+.1%}" if ratios else "-"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
