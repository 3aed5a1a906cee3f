"""Tables of a drill: its conditions, what went wrong and who noticed, what came of the requests, and the criteria."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from cutwater.lab.drill import Injected, Spread, Verdict
from cutwater.lab.drills.conduct import Conditions, Report
from cutwater.lab.soak import Trend
from cutwater.report.table import filled, table
from cutwater.units import format_bytes, format_seconds


def drill_parts(report: Report) -> Iterator[RenderableType]:
    """Everything a person wants to see of a drill, in order."""
    verdict = report.verdict
    yield _conditions(report.conditions, verdict)
    if report.findings.faults:
        yield filled(
            "\nWhat went wrong",
            ("at", "what", "victim", "happened", "noticed", "by"),
            [_fault_row(each) for each in report.findings.faults],
        )
    yield filled("\nRequests", ("", "count"), _requests(verdict))
    yield filled("\nTimes", ("", "median", "max"), _times(verdict))
    made = table(f"\nPromise of {verdict.kind}", "", "wanted", "found", "kept")
    for each in verdict.criteria:
        made.add_row(each.name, escape(each.wanted), each.found, "[green]yes[/]" if each.held else "[red]no[/]")
    yield made


def _conditions(found: Conditions, verdict: Verdict) -> str:
    return (
        f"{found.model} on {found.nodes} nodes, {found.cores} cores; capacity {found.capacity:.1f}/s, offered "
        f"{found.offered:.1f}/s ({found.arrivals}, seed {found.seed}) for {verdict.duration:g} s; load average before "
        f"{found.load_before:.2f}, after {found.load_after:.2f}"
    )


def _fault_row(each: Injected) -> tuple[str, ...]:
    name = type(each.fault).__name__.lower()
    return (
        f"{each.at:.1f} s",
        f"{name}, {each.moment}",
        each.victim,
        "yes" if each.happened else f"no: {each.why}",
        "-" if each.noticed is None else format_seconds(each.noticed),
        each.by,
    )


def _requests(verdict: Verdict) -> list[tuple[str, object]]:
    return [
        ("attempts", verdict.attempts),
        ("accepted", verdict.accepted),
        ("answered", verdict.answered),
        ("of them degraded", verdict.degraded),
        *((f"error {kind}", count) for kind, count in sorted(verdict.errors.items())),
        ("refused", verdict.refused),
        ("lost", verdict.lost),
        ("duplicated", verdict.duplicated),
        ("wrong", verdict.wrong),
        ("unexpected", verdict.unexpected),
        ("tried again by the gateway", verdict.retried),
        ("late answers dropped", verdict.late),
    ]


def _times(verdict: Verdict) -> list[tuple[str, str, str]]:
    latency = f"p50 {format_seconds(verdict.p50)}", f"p99 {format_seconds(verdict.p99)}"
    return [
        ("to detect", *_spread(verdict.detect)),
        ("until throughput is back", *_spread(verdict.recover)),
        ("until the backlog is done", *_spread(verdict.drain)),
        ("latency", latency[0], f"{latency[1]}, worst {format_seconds(verdict.worst)}"),
        ("re-plans a minute", f"{verdict.replans_per_minute:.2f}", f"{verdict.most_replans} in one minute"),
    ]


def _spread(spread: Spread) -> tuple[str, str]:
    if not spread.count:
        return "-", "-"
    never = f", {spread.missing} never" if spread.missing else ""
    return format_seconds(spread.median), format_seconds(spread.most) + never


def trends_table(trends: Sequence[Trend]) -> Table:
    """One row per process and thing it holds."""
    made = table("\nPer hour", "process", "what", "on average", "slope", "within", "flat")
    for each in trends:
        show = format_bytes if each.what == "memory" else _count
        flat = "[green]yes[/]" if each.flat else "[red]no[/]"
        slope = f"{'-' if each.slope < 0 else '+'}{show(abs(each.slope))}"
        made.add_row(escape(each.process), each.what, show(each.level), slope, f"±{show(each.margin)}", flat)
    return made


def _count(value: float) -> str:
    return f"{value:.3g}"
