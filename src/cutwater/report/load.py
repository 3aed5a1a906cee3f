"""Shows a load: tables of what came of it, by model and together, and what a search tried."""

import math
from typing import Any

import msgspec
from rich.table import Table

from cutwater.lab.load.doubt import Estimate
from cutwater.lab.load.figures import PERCENTILES, Figures, LoadReport
from cutwater.lab.load.mlperf import MlperfReport
from cutwater.lab.load.search import Found, Try
from cutwater.report.table import filled
from cutwater.units import Seconds, format_rate, format_seconds

TOGETHER = "together"


def load_tables(report: LoadReport) -> list[Table]:
    """What came of the requests; how long answers took; how many were in time."""
    rows = dict(report.models)
    if len(rows) != 1:
        rows[TOGETHER] = report.together
    span = f"{format_seconds(report.duration)}"
    if report.warmup:
        span += f" after {format_seconds(report.warmup)} of warm-up"
    if report.interrupted:
        span += ", interrupted"
    tables = [_came(f"What came of the requests of {span}", rows), _took(rows)]
    if any(each.attainment is not None for each in rows.values()):
        tables.append(_kept(rows))
    return tables


def punctuality_line(report: LoadReport) -> str:
    """How well the sender kept to the schedule."""
    found = report.punctuality
    return (
        f"scheduled {_rate(found.scheduled)}, sent {_rate(found.offered)}; "
        f"late by {format_seconds(found.p50)} at p50, {format_seconds(found.p99)} at p99, "
        f"{format_seconds(found.worst)} at most; up to {found.most_open:,} open at once"
    )


def doubt_line() -> str:
    """What the intervals are."""
    return (
        "intervals: 95 %, widened for requests that are late because others were (design effect of 20 batches); "
        "mean: batch means, percentiles: order statistics, attainment: Wilson"
    )


def search_table(found: Found, label: str, scale: float) -> Table:
    """What was tried, in the order of the factor.

    Args:
        found: By a search.
        label: Of what was scaled: "rate".
        scale: What it is at the factor 1.
    """
    rows = [_try_row(each, label, scale) for each in sorted(found.tries, key=lambda each: each.factor)]
    return filled("What was tried", ["times", label, "in time", "of", "schedules", "kept"], rows)


def search_line(found: Found, label: str, scale: float, target: float) -> str:
    """What was found."""
    kept = value_text(label, found.kept * scale)
    share = f"{100 * target:.4g} %"
    if math.isinf(found.broken):
        return f"{share} of the requests are in time at {kept} ({found.kept:.4g} times); more was not tried"
    above = value_text(label, found.broken * scale)
    return f"{share} of the requests are in time up to {kept} ({found.kept:.4g} times), and no more at {above}"


def try_line(tried: Try, label: str, scale: float) -> str:
    """One factor, as it is decided."""
    times, value, share, requests, schedules, kept = _try_row(tried, label, scale)
    return f"{times} times, {label} {value}: {share} of {requests} in time; schedules: {schedules}; kept: {kept}"


def value_text(label: str, value: float) -> str:
    """A rate or a CV."""
    return format_rate(value) if label == "rate" else f"{value:.4g}"


def load_facts(report: LoadReport | Found | MlperfReport) -> dict[str, Any]:
    """As JSON, which has no infinities: null stands for them."""
    facts: dict[str, Any] = _finite(msgspec.to_builtins(report))
    return facts


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _try_row(each: Try, label: str, scale: float) -> tuple[str, ...]:
    repeats = f"{each.repeats}{', abandoned' if each.abandoned else ''}"
    value = value_text(label, each.factor * scale)
    return (
        f"{each.factor:.4g}",
        value,
        f"{each.attainment.value:.2%}{_around(each.attainment, 100, ' %')}",
        f"{each.requests:,}",
        repeats,
        "yes" if each.kept else "no",
    )


def _came(title: str, rows: dict[str, Figures]) -> Table:
    headers = ["model", "submitted", "answered", "degraded", "refused", "failed", "unsent", "answers", "errors by kind"]
    return filled(title, headers, [_came_row(model, each) for model, each in rows.items()])


def _came_row(model: str, each: Figures) -> tuple[object, ...]:
    counts = (each.submitted, each.answered, each.degraded, each.refused, each.failed, each.unsent)
    errors = ", ".join(f"{kind} {count:,}" for kind, count in each.errors.items()) or "-"
    return (model, *(f"{count:,}" for count in counts), _rate(each.throughput), errors)


def _took(rows: dict[str, Figures]) -> Table:
    headers = ["model", "mean", *PERCENTILES]
    found = []
    for model, each in rows.items():
        cells = ["-" if each.mean is None else _time(each.mean)]
        cells += [_time(each.percentiles[name]) if name in each.percentiles else "-" for name in PERCENTILES]
        found.append((model, *cells))
    return filled("Latency of answers, from when requests were due", headers, found)


def _kept(rows: dict[str, Figures]) -> Table:
    found = []
    for model, each in rows.items():
        share = "-" if each.attainment is None else f"{each.attainment.value:.2%}{_around(each.attainment, 100, ' %')}"
        slo = "each its own" if each.slo is None and share != "-" else "-" if each.slo is None else _seconds(each.slo)
        found.append((model, slo, share, _rate(each.goodput)))
    return filled("Answers in time, of all submitted", ["model", "SLO", "in time", "goodput"], found)


def _time(found: Estimate) -> str:
    """All in the unit of the value: "8.96 (6.21 .. 11.9) ms"."""
    value, unit = format_seconds(found.value).split()
    scale = found.value / float(value) if float(value) else 1.0
    high = "?" if math.isinf(found.high) else f"{found.high / scale:.3g}"
    return f"{value} ({max(found.low, 0.0) / scale:.3g} .. {high}) {unit}"


def _rate(per_second: float) -> str:
    return format_rate(per_second) if per_second else "0/s"


def _seconds(at: Seconds) -> str:
    return "?" if math.isinf(at) else format_seconds(at)


def _around(found: Estimate, scale: float, unit: str) -> str:
    return f" ({found.low * scale:.2f} .. {found.high * scale:.2f}{unit})"


def mlperf_table(report: MlperfReport) -> Table:
    """LoadGen's summary, and below it what was measured here."""
    rows = [("LoadGen", what, value) for what, value in report.summary.items()]
    rows.append(("here", "requests", f"{report.requests:,}"))
    rows.append(("here", "failed", ", ".join([f"{report.failed:,}", *(f"{k} {n}" for k, n in report.errors.items())])))
    rows.append(("here", "answers", _rate(report.throughput)))
    if report.mean is not None:
        rows.append(("here", "mean latency", _time(report.mean)))
    rows += [("here", f"{name} latency", _time(found)) for name, found in report.percentiles.items()]
    return filled(f"MLPerf LoadGen: {'valid' if report.valid else 'not valid'}", ["who", "what", "says"], rows)
