"""LoadView: a load as it runs, drawn a few times a second by a thread of its own, so that no request waits for it."""

import sys
import threading
from types import TracebackType
from typing import Self

import numpy as np
from rich.live import Live
from rich.table import Table

from cutwater.cli.console import messages
from cutwater.drivers.live import clock
from cutwater.lab.load.log import Log
from cutwater.lab.load.result import Result
from cutwater.report.table import table
from cutwater.units import Seconds, format_seconds

PERIOD: Seconds = 0.5
SWITCH: Seconds = 1e-4
"""So soon the thread that draws lets the one that sends have the interpreter; Python's own 5 ms would make it late."""
NEWEST = 1000
"""Requests by which latency is shown."""


class LoadView:
    """A context; silent where standard error is not a terminal."""

    def __init__(self) -> None:
        self._log: Log | None = None
        self._before: tuple[Seconds, int, int] = (0.0, 0, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="load-view", daemon=True)
        self._switch = sys.getswitchinterval()

    def __enter__(self) -> Self:
        if messages.is_terminal:
            sys.setswitchinterval(SWITCH)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
            sys.setswitchinterval(self._switch)

    def begin(self, log: Log) -> None:
        """A load begins."""
        self._before = (clock(), 0, 0)
        self._log = log

    def _draw(self) -> None:
        with Live(console=messages, transient=True, auto_refresh=False) as live:
            while not self._over.wait(PERIOD):
                if self._log is not None:
                    live.update(self._table(self._log), refresh=True)

    def _table(self, log: Log) -> Table:
        now, fired = clock(), log.fired
        answered = log.counts[Result.ANSWERED] + log.counts[Result.DEGRADED]
        at, fired_before, answered_before = self._before
        self._before = (now, fired, answered)
        spell = max(now - at, 1e-3)
        p50, p99 = _newest(log, fired)
        made = table(
            f"{fired:,} of {len(log):,} requests",
            *("sent/s", "answered/s", "answered", "refused", "failed", "unsent", "open", "p50", "p99"),
        )
        made.add_row(
            f"{(fired - fired_before) / spell:,.0f}",
            f"{(answered - answered_before) / spell:,.0f}",
            f"{answered:,}",
            f"{log.counts[Result.REFUSED]:,}",
            f"{log.counts[Result.FAILED] + log.counts[Result.LOST]:,}",
            f"{log.counts[Result.UNSENT]:,}",
            f"{log.open:,}",
            format_seconds(p50),
            format_seconds(p99),
        )
        return made


def _newest(log: Log, fired: int) -> tuple[Seconds, Seconds]:
    """Of those that were due last and have an answer."""
    newest = slice(max(fired - NEWEST, 0), fired)
    latencies = (log.ended[newest] - log.due[newest])[log.good[newest]]
    if not len(latencies):
        return float("nan"), float("nan")
    p50, p99 = np.quantile(latencies, (0.5, 0.99)).tolist()
    return p50, p99
