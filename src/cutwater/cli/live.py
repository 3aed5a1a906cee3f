"""The live view of a run: throughput, latency, and what each stage is doing; redrawn a few times a second."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cutwater.cli.console import messages
from cutwater.plan.plan import Plan
from cutwater.report.table import table
from cutwater.services.workers.tally import PipelineSnapshot, StageTally
from cutwater.units import Seconds, format_bytes, format_seconds

PERIOD: Seconds = 0.25
"""Least time between two drawings."""
WINDOW = 500
"""How many of the newest latencies the quantiles are taken from."""


class LiveView:
    """A context that draws a pipeline's snapshots on standard error; silent where that is not a terminal."""

    def __init__(self, plan: Plan, total: int | None) -> None:
        self._plan = plan
        self._total = total
        self._live = Live(console=messages, transient=True, auto_refresh=False)
        self._drawn = float("-inf")

    def __enter__(self) -> Self:
        if messages.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, snapshot: PipelineSnapshot, latencies: Sequence[Seconds]) -> None:
        """Draw, unless the last drawing was only just now."""
        if not messages.is_terminal or snapshot.elapsed - self._drawn < PERIOD:
            return
        self._drawn = snapshot.elapsed
        self._live.update(Group(self._headline(snapshot, latencies), self._stages(snapshot)), refresh=True)

    def _headline(self, snapshot: PipelineSnapshot, latencies: Sequence[Seconds]) -> Text:
        gateway = snapshot.gateway
        of = "" if self._total is None else f" of {self._total}"
        rate = gateway.answered / snapshot.elapsed if snapshot.elapsed > 0 else 0.0
        parts = [f"{gateway.answered}{of} answered", f"{rate:.4g}/s", f"{gateway.flying} under way"]
        if latencies:
            p50, p99 = np.quantile(latencies[-WINDOW:], (0.5, 0.99))
            parts.append(f"latency p50 {format_seconds(float(p50))}, p99 {format_seconds(float(p99))}")
        if gateway.failed:
            parts.append(f"[red]{gateway.failed} failed[/]")
        return Text.from_markup("  ".join(parts))

    def _stages(self, snapshot: PipelineSnapshot) -> Table:
        made = table("", "stage", "node", "busy", "wait", "in", "out", "done")
        for tally, stage in zip(snapshot.stages, self._plan.stages, strict=True):
            made.add_row(tally.stage, ", ".join(stage.nodes), *_figures(tally, snapshot.elapsed, len(stage.nodes)))
        return made


def _figures(tally: StageTally, elapsed: Seconds, replicas: int) -> tuple[str, ...]:
    done = max(tally.requests, 1)
    share = tally.busy / (elapsed * replicas) if elapsed > 0 else 0.0
    return (
        f"{share:.0%}",
        format_seconds(max(tally.wait, 0.0) / done),
        format_bytes(tally.received_bytes / done),
        format_bytes(tally.sent_bytes / done),
        str(tally.requests),
    )
