"""Draws a load: latency over time, with what was not answered, and the latency at each percentile.

1 s   |      ..              |        |            _/
      |  ....####....        |        |        __--
10 ms |--p50------------- x--|        |____----
      0 s                 60 s        50 %   90 %  99 %  99.9 %

The axis of latency is logarithmic, that of percentiles as well, towards 100 %.
"""

import math
from typing import NamedTuple

import numpy as np

from cutwater.lab.load.doubt import Samples
from cutwater.lab.load.log import Log
from cutwater.report.svg import GRID, INK, PALE, Canvas, stage_colour
from cutwater.units import Seconds, format_seconds

WIDTH, HEIGHT = 1000, 360
LEFT, GAP, RIGHT, TOP, BOTTOM = 66, 64, 24, 46, 36
SHARE = 0.62
"""Of the width, for latency over time."""
BINS = 160
MISSED = "#c1121f"
TICKS = {"50 %": 0.5, "90 %": 0.9, "99 %": 0.99, "99.9 %": 0.999}
LAST = 0.9997
"""Where the axis of percentiles ends."""


class _Scale(NamedTuple):
    """Latency, to a height in the picture."""

    low: float
    """Decimal logarithm of the latency at the bottom."""
    high: float

    def y(self, latency: Seconds) -> float:
        at = (math.log10(max(latency, 1e-9)) - self.low) / (self.high - self.low)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(at, 0.0), 1.0))


def draw_load(log: Log, warmup: Seconds = 0.0) -> str:
    """The picture, as an SVG document."""
    canvas = Canvas(WIDTH, HEIGHT, "latency over time, and at each percentile")
    due = log.due[: log.fired]
    latencies = (log.ended - due)[log.good]
    scale = _scale(latencies, list(log.slos.values()))
    middle = LEFT + (WIDTH - LEFT - GAP - RIGHT) * SHARE
    _draw_grid(canvas, scale, middle)
    _draw_times(canvas, log, scale, middle)
    if warmup:
        across = (middle - LEFT) / max(log.end, 1e-6)
        canvas.rect(
            LEFT, TOP, min(warmup, log.end) * across, HEIGHT - TOP - BOTTOM, fill=PALE, opacity="0.15", hint="warm-up"
        )
    _draw_percentiles(canvas, log, due >= warmup, scale, middle + GAP)
    return canvas.render()


def _scale(latencies: Samples, slos: list[Seconds]) -> _Scale:
    seen = [*([float(latencies.min()), float(latencies.max())] if len(latencies) else [1e-3, 1.0]), *slos]
    low, high = math.floor(math.log10(max(min(seen), 1e-6))), math.ceil(math.log10(max(*seen, 1e-5)))
    return _Scale(low, max(high, low + 1))


def _draw_grid(canvas: Canvas, scale: _Scale, middle: float) -> None:
    for power in range(int(scale.low), int(scale.high) + 1):
        y = scale.y(10.0**power)
        canvas.line(LEFT, y, middle, y, stroke=GRID)
        canvas.line(middle + GAP, y, WIDTH - RIGHT, y, stroke=GRID)
        canvas.text(LEFT - 8, y + 4, format_seconds(10.0**power), size=11, fill=PALE, anchor="end")


def _draw_times(canvas: Canvas, log: Log, scale: _Scale, middle: float) -> None:
    """For each part of the time, from the fastest to the slowest answer, p50 to p99, p50; below, what missed."""
    due, good = log.due[: log.fired], log.good
    end = max(log.end, 1e-6)
    across = (middle - LEFT) / end
    bar = end / BINS
    owner = (due / bar).astype(np.intp)
    bottom = HEIGHT - BOTTOM
    for k in np.unique(owner).tolist():
        here = owner == k
        x, width = LEFT + k * bar * across, bar * across + 0.15
        found = (log.ended - due)[here & good]
        if len(found):
            low, half, high, worst = np.quantile(found, (0.0, 0.5, 0.99, 1.0), method="inverted_cdf").tolist()
            hint = f"from {k * bar:.3g} s: p50 {format_seconds(half)}, p99 {format_seconds(high)}"
            canvas.rect(x, scale.y(worst), width, scale.y(low) - scale.y(worst), fill=stage_colour(0), opacity="0.2")
            canvas.rect(
                x,
                scale.y(high),
                width,
                scale.y(half) - scale.y(high) + 1,
                fill=stage_colour(0),
                opacity="0.55",
                hint=hint,
            )
            canvas.rect(x, scale.y(half) - 1, width, 2, fill=INK)
        if missed := int(np.count_nonzero(here & ~good)):
            tall = 3 + 9 * missed / int(np.count_nonzero(here))
            canvas.rect(x, bottom - tall, width, tall, fill=MISSED, hint=f"{missed} not answered")
    canvas.text(LEFT, 20, "latency of requests by when they were due: all, p50 to p99, p50", size=12)
    canvas.text(LEFT, 36, "red: not answered", size=11, fill=MISSED)
    for k in range(6):
        at = end * k / 5
        canvas.text(LEFT + at * across, bottom + 18, f"{at:.3g} s", size=11, fill=PALE, anchor="middle")


def _place(share: float) -> float:
    """Of a percentile on its axis, from 0 to 1."""
    return math.log10(1 / (1 - min(share, LAST))) / math.log10(1 / (1 - LAST))


def _draw_percentiles(
    canvas: Canvas, log: Log, counted: np.typing.NDArray[np.bool_], scale: _Scale, left: float
) -> None:
    width = WIDTH - RIGHT - left
    canvas.text(left, 20, "latency at each percentile of the answers", size=12)
    for text, share in TICKS.items():
        x = left + width * _place(share)
        canvas.line(x, TOP, x, HEIGHT - BOTTOM, stroke=GRID)
        canvas.text(x, HEIGHT - BOTTOM + 18, text, size=11, fill=PALE, anchor="middle")
    shares = 1 - np.logspace(0, math.log10(1 - LAST), 120)
    due, good = log.due[: log.fired], log.good
    for k, model in enumerate(log.models):
        found = (log.ended - due)[counted & good & (log.model[: log.fired] == k)]
        if not len(found):
            continue
        heights = [scale.y(each) for each in np.quantile(found, shares, method="inverted_cdf").tolist()]
        places = [left + width * _place(share) for share in shares.tolist()]
        for at in range(len(shares) - 1):
            ends = (places[at], heights[at], places[at + 1], heights[at + 1])
            canvas.line(*ends, stroke=stage_colour(k), width=2)
        canvas.text(left + 4, TOP + 12 + 15 * k, model, size=11, fill=stage_colour(k))
        if (slo := log.slos.get(model)) is not None:
            y = scale.y(slo)
            canvas.line(left, y, left + width, y, stroke=stage_colour(k), width=1, stroke_dasharray="5 4")
