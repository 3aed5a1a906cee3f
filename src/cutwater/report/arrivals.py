"""Draws when requests come: a row for each model, its rate over time, and its average as a line.

resnet50   |    _     __       |  40/s      the highest; below it the average
20/s       |--_| |---|  |------|
CV 3.1     |_|     |_|   |_____|
           0 s               60 s
"""

import math
from typing import NamedTuple

import numpy as np

from cutwater.report.svg import GRID, INK, PALE, Canvas, stage_colour
from cutwater.units import Seconds, format_rate
from cutwater.workload.figures import Figures, counted
from cutwater.workload.schedule import Schedule

WIDTH, LEFT, RIGHT = 1000, 172, 84
TOP, BOTTOM = 40, 34
BARS = 240
"""At most so many lie side by side."""
TALL, FLAT, ROOM = 72, 26, 640
"""A row's height, in a picture with few rows and in one with many, which would like to be no higher than this."""
GAP = 14
LETTERS = 20
"""Of a name that fit; of a longer one the middle is left out."""


class _Row(NamedTuple):
    """A model's place in the picture."""

    name: str
    colour: str
    low: float
    """Where its bars stand."""
    height: float


def draw_arrivals(schedule: Schedule, figures: dict[str, Figures]) -> str:
    """The picture, as an SVG document.

    Args:
        schedule: what comes.
        figures: of each model that gets a row.
    """
    height = max(FLAT, min(TALL, ROOM / len(figures) - GAP))
    bottom = TOP + len(figures) * (height + GAP)
    canvas = Canvas(WIDTH, bottom + BOTTOM, "how fast requests come")
    bar = _round_up(schedule.duration / BARS)
    across = (WIDTH - LEFT - RIGHT) / schedule.duration
    canvas.text(LEFT, 22, f"how fast requests come, counted over {_time(bar, bar)} each", size=11, fill=PALE)
    _draw_axis(canvas, schedule.duration, across, bottom)
    for k, (name, found) in enumerate(figures.items()):
        row = _Row(name, stage_colour(k), TOP + k * (height + GAP) + height, height)
        counts = counted(schedule.of(name), schedule.duration, bar)
        bar_length = min(bar, schedule.duration)
        _draw_row(canvas, row, counts / bar_length, bar_length, across)
        _tell(canvas, row, found, counts / bar_length)
    return canvas.render()


def _draw_row(canvas: Canvas, row: _Row, rates: np.typing.NDArray[np.float64], bar: Seconds, across: float) -> None:
    highest = max(float(rates.max()), 1e-12)
    for k, rate in enumerate(rates.tolist()):
        if rate:
            tall = row.height * rate / highest
            hint = f"{row.name}: {format_rate(rate)} from {_time(k * bar, bar)} on"
            # A little over the next one, or thin lines of paper show between them.
            width = bar * across + 0.15
            canvas.rect(LEFT + k * bar * across, row.low - tall, width, tall, fill=row.colour, hint=hint)
    canvas.line(LEFT, row.low, WIDTH - RIGHT, row.low, stroke=GRID)


def _tell(canvas: Canvas, row: _Row, found: Figures, rates: np.typing.NDArray[np.float64]) -> None:
    name = row.name if len(row.name) <= LETTERS else f"{row.name[: LETTERS - 9]}…{row.name[-8:]}"
    top = row.low - row.height
    canvas.text(16, top + 11, name, fill=row.colour, font_weight="600")
    varied = [] if found.cv is None else [f"CV {found.cv:.3g}"]
    lines = [f"{found.requests:,} requests", *varied]
    for k, line in enumerate(lines if row.height >= 56 else [", ".join(lines)]):
        canvas.text(16, top + 25 + 14 * k, line, size=11, fill=PALE)
    highest = max(float(rates.max()), 1e-12)
    average = row.low - row.height * min(1.0, found.rate / highest)
    right = WIDTH - RIGHT
    canvas.line(LEFT, average, right, average, stroke=INK, stroke_dasharray="5 4", stroke_opacity="0.75")
    canvas.text(right + 8, max(top + 4, 12), format_rate(highest), size=11, fill=PALE)
    if average - top >= 14:
        canvas.text(right + 8, average + 4, format_rate(found.rate), size=11)


def _draw_axis(canvas: Canvas, duration: Seconds, across: float, bottom: float) -> None:
    step = _round_up(duration / 10)
    for k in range(math.floor(duration / step) + 1):
        x = LEFT + k * step * across
        canvas.line(x, TOP - 6, x, bottom, stroke=GRID)
        canvas.text(x, bottom + 18, _time(k * step, step), size=11, fill=PALE, anchor="middle")


_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600.0 * hours for hours in (1, 2, 3, 6, 12)),
)


def _round_up(seconds: Seconds) -> Seconds:
    """To a length of time that people count in."""
    if seconds > _STEPS[-1]:
        return 86400.0 * math.ceil(seconds / 86400)
    if seconds <= 1:
        power = 10.0 ** math.floor(math.log10(seconds))
        return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= seconds * (1 - 1e-9))
    return next(step for step in _STEPS if step >= seconds * (1 - 1e-9))


def _time(at: Seconds, step: Seconds) -> str:
    """In the largest unit in which steps of this length are whole."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if step % unit == 0:
            return f"{at / unit:g} {name}"
    return f"{at:g} s"
