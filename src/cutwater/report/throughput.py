"""Draws answers per second over time, by who gave them, with what happened meanwhile.

200 |-----------+    1 2        3
    |  before   |    . .  ------+------
    |           |####. .  after |          what is predicted: a dashed line
  0 +-----------+-------------------> s
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from cutwater.report.svg import GRID, INK, PALE, PAPER, Canvas
from cutwater.units import Seconds

WIDTH, LEFT, RIGHT = 1000, 56, 24
TOP, HEIGHT = 64, 220
BIN: Seconds = 0.25
"""Answers of so long stand in one bar."""
MARK = "#c1121f"


class Series(NamedTuple):
    """Answers of one kind."""

    name: str
    colour: str
    moments: Sequence[Seconds]


class Level(NamedTuple):
    """What was predicted for a time."""

    begin: Seconds
    end: Seconds
    rate: float


class Moment(NamedTuple):
    """Something that happened."""

    at: Seconds
    what: str


def draw_throughput(series: Sequence[Series], levels: Sequence[Level], moments: Sequence[Moment], end: Seconds) -> str:
    """The picture, as an SVG document.

    Args:
        series: who answered when, drawn upon each other; seconds from 0.
        levels: predicted answers per second.
        moments: numbered in the picture, and told beneath it.
        end: where the axis ends, in seconds.
    """
    bars = [_binned(each.moments, end) for each in series]
    highest = max([1.0, *(sum(column) for column in zip(*bars, strict=True)), *(level.rate for level in levels)])
    step = _step(highest)
    top = step * math.ceil(highest / step)
    canvas = Canvas(WIDTH, TOP + HEIGHT + 44 + 20 * len(moments), "answers per second over time")
    plot = _Plot((WIDTH - LEFT - RIGHT) / end, HEIGHT / top)
    _draw_key(canvas, series, bool(levels))
    _draw_axes(canvas, plot, step, top, end)
    for k in range(len(bars[0]) if bars else 0):
        low = 0.0
        for each, heights in zip(series, bars, strict=True):
            if heights[k]:
                hint = f"{each.name}: {heights[k]:.4g}/s at {k * BIN:.2f} s"
                x, width = plot.x(k * BIN), BIN * plot.across - 0.6
                canvas.rect(x, plot.y(low + heights[k]), width, heights[k] * plot.up, fill=each.colour, hint=hint)
            low += heights[k]
    for level in levels:
        y = plot.y(level.rate)
        canvas.line(plot.x(level.begin), y, plot.x(level.end), y, stroke=INK, width=1.5, stroke_dasharray="6 4")
        text = f"{level.rate:.4g}/s predicted"
        x, width = plot.x(level.end) - 4, 6.2 * len(text)
        canvas.rect(x - width, y - 18, width, 15, fill=PAPER, opacity="0.85", rx="3")  # bars may lie behind it
        canvas.text(x - 2, y - 7, text, size=11, anchor="end")
    _draw_moments(canvas, plot, moments)
    return canvas.render()


class _Plot(NamedTuple):
    """Where things lie: user units per second, and per answer per second."""

    across: float
    up: float

    def x(self, at: Seconds) -> float:
        return LEFT + at * self.across

    def y(self, rate: float) -> float:
        return TOP + HEIGHT - rate * self.up


def _binned(moments: Sequence[Seconds], end: Seconds) -> list[float]:
    heights = [0.0] * math.floor(end / BIN)
    for at in moments:
        if 0 <= at < len(heights) * BIN:
            heights[int(at / BIN)] += 1 / BIN
    return heights


def _step(highest: float) -> float:
    """Of the axis: 1, 2 or 5 times a power of ten, so that there are about five."""
    power = 10.0 ** math.floor(math.log10(highest / 5))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= highest / 5)


def _draw_key(canvas: Canvas, series: Sequence[Series], predicted: bool) -> None:
    x = float(LEFT)
    for each in series:
        canvas.rect(x, 14, 12, 12, fill=each.colour, rx="2")
        canvas.text(x + 18, 24, each.name)
        x += 42 + 6.4 * len(each.name)
    if predicted:
        canvas.line(x, 20, x + 26, 20, stroke=INK, width=1.5, stroke_dasharray="6 4")
        canvas.text(x + 32, 24, "predicted")


def _draw_axes(canvas: Canvas, plot: _Plot, step: float, top: float, end: Seconds) -> None:
    for k in range(round(top / step) + 1):
        y = plot.y(k * step)
        canvas.line(LEFT, y, WIDTH - RIGHT, y, stroke=GRID)
        canvas.text(LEFT - 8, y + 4, f"{k * step:g}", size=11, fill=PALE, anchor="end")
    every = max(1, round(end / 15))
    for second in range(0, math.floor(end) + 1, every):
        canvas.text(plot.x(second), TOP + HEIGHT + 18, f"{second} s", size=11, fill=PALE, anchor="middle")


def _draw_moments(canvas: Canvas, plot: _Plot, moments: Sequence[Moment]) -> None:
    last = float("-inf")
    for number, moment in enumerate(moments, 1):
        x = plot.x(moment.at)
        canvas.line(x, TOP - 6, x, TOP + HEIGHT, stroke=MARK, width=1.2)
        label = max(x, last + 14)
        canvas.text(label, TOP - 10, str(number), fill=MARK, anchor="middle", font_weight="600")
        last = label
        canvas.text(LEFT, TOP + HEIGHT + 46 + 20 * (number - 1), f"{number}   {moment.what}", fill=MARK)
