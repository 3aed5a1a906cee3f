r"""Draws a study: for each sweep a row of panels, in each of them one line per placement.

in time |  o---o                 o  simulated by the real engine
        |   *---*--o             *  by the fast queues
        |        \               x  live, with its 95 % interval
        +----------- load
"""

import math
from typing import NamedTuple

from cutwater.lab.studies.results import ENGINE, LIVE, QUEUES, Results, Row
from cutwater.lab.studies.study import Point
from cutwater.report.study import SOUGHT, WORDS, axis_text, varying
from cutwater.report.svg import GRID, INK, PALE, Canvas, stage_colour
from cutwater.units import Seconds, format_seconds

WIDTH, LEFT, RIGHT, GAP = 1000, 70, 20, 60
TOP, HEIGHT, BOTTOM = 58, 220, 48
NUMBERS = ("load", "rate", "cv", "slo", "nodes")
MOST_PANELS = 4
ASIDE = 6.0
"""Between the marks of two placements, in user units."""


class _Panel(NamedTuple):
    """Points that differ on one axis."""

    title: str
    axis: str
    """Empty: there is one point."""
    points: list[Point]


class _Figure(NamedTuple):
    """What is drawn: of each row a number."""

    name: str
    logarithmic: bool
    sought: bool
    low: float
    high: float
    step: float
    """Between two lines of the grid, where it is not logarithmic."""


def draw_study(results: Results) -> str:
    """The picture, as an SVG document."""
    parts = [
        (name, [row for row in results.rows if row.point.sweep == name])
        for name in results.study.sweeps
        if any(row.point.sweep == name for row in results.rows)
    ]
    tall = TOP + HEIGHT + BOTTOM
    canvas = Canvas(WIDTH, 40 + tall * max(len(parts), 1), results.study.question)
    _draw_key(canvas, results)
    for number, (name, rows) in enumerate(parts):
        _draw_sweep(canvas, results, name, rows, 40.0 + tall * number)
    return canvas.render()


def _draw_key(canvas: Canvas, results: Results) -> None:
    x = float(LEFT)
    for k, name in enumerate(results.study.placements):
        canvas.rect(x, 12, 12, 12, fill=stage_colour(k), rx="2")
        canvas.text(x + 18, 22, name)
        x += 42 + 6.6 * len(name)
    marks = {QUEUES: "small", ENGINE: "large", LIVE: "square"}
    hows = [f"{marks[how]}: {WORDS[how]}" for how in results.hows()]
    canvas.text(WIDTH - RIGHT, 22, ", ".join(hows), size=11, fill=PALE, anchor="end")


def _draw_sweep(canvas: Canvas, results: Results, name: str, rows: list[Row], top: float) -> None:
    figure = _figure(results, name, rows)
    canvas.text(LEFT, top + 16, f"{name}: {figure.name}", size=13, font_weight="600")
    panels = _panels(results, rows)[:MOST_PANELS]
    width = (WIDTH - LEFT - RIGHT - GAP * (len(panels) - 1)) / len(panels)
    for k, panel in enumerate(panels):
        left = LEFT + k * (width + GAP)
        _draw_axes(canvas, figure, panel, left, width, top)
        for number, placement in enumerate(results.study.placements):
            # What falls on the same spot is to be seen beside each other.
            aside = ASIDE * (number - (len(results.study.placements) - 1) / 2)
            place = (left, width, top, aside)
            _draw_line(canvas, results, figure, panel, placement, stage_colour(number), place)


def _figure(results: Results, name: str, rows: list[Row]) -> _Figure:
    """The latency where all are in time, else the share in time; or what was looked for."""
    sweep = results.study.sweeps[name]
    if sweep.find:
        high = max([1.0, *(row.found for row in rows if row.found)])
        step = _round(high / 5)
        title = f"{SOUGHT[sweep.find]} with {100 * sweep.aim:g}% in time"
        return _Figure(title, False, True, 0.0, step * math.ceil(high / step), step)
    if any(row.point.slo is not None for row in rows):
        low = min(row.attainment for row in rows)
        step = _round(max(1.0 - low, 0.05) / 5)
        return _Figure("requests in time", False, False, 1.0 - step * math.ceil((1.0 - low) / step), 1.0, step)
    means = [row.mean for row in rows if row.mean] or [1e-3]
    return _Figure("mean latency", True, False, _round(min(means), up=False), _round(max(means)), 0.0)


def _round(value: float, up: bool = True) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [power * factor for factor in (1, 2, 5, 10)]
    return next(s for s in steps if s >= value) if up else next(s for s in reversed(steps) if s <= value)


def _value(figure: _Figure, row: Row) -> float | None:
    if figure.sought:
        return row.found
    return row.mean if figure.logarithmic else row.attainment


def _panels(results: Results, rows: list[Row]) -> list[_Panel]:
    points = list(dict.fromkeys(row.point for row in rows))
    axes = varying(results.study, points)
    axis = next((each for each in reversed(axes) if each in NUMBERS), axes[-1] if axes else "")
    others = [each for each in axes if each != axis]
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(", ".join(axis_text(point, each) for each in others), []).append(point)
    return [_Panel(title, axis, each) for title, each in found.items()]


def _y(figure: _Figure, value: float, top: float) -> float:
    if figure.logarithmic:
        at = math.log(max(value, 1e-9) / figure.low) / max(math.log(figure.high / figure.low), 1e-9)
    else:
        at = (value - figure.low) / max(figure.high - figure.low, 1e-9)
    return top + TOP + HEIGHT * (1.0 - min(max(at, 0.0), 1.0))


def _x(panel: _Panel, k: int, left: float, width: float) -> float:
    return left + width * (k + 0.5) / len(panel.points)


def _draw_axes(canvas: Canvas, figure: _Figure, panel: _Panel, left: float, width: float, top: float) -> None:
    for value, text in _ticks(figure):
        y = _y(figure, value, top)
        canvas.line(left, y, left + width, y, stroke=GRID)
        canvas.text(left - 6, y + 4, text, size=10, fill=PALE, anchor="end")
    bottom = top + TOP + HEIGHT
    for k, point in enumerate(panel.points):
        text = axis_text(point, panel.axis) if panel.axis else ""
        canvas.text(_x(panel, k, left, width), bottom + 16, text, size=10, fill=PALE, anchor="middle")
    canvas.text(left + width / 2, bottom + 32, panel.axis, size=11, fill=INK, anchor="middle")
    canvas.text(left, top + TOP - 10, panel.title, size=11, fill=INK)


def _ticks(figure: _Figure) -> list[tuple[float, str]]:
    if figure.logarithmic:
        powers = range(math.floor(math.log10(figure.low)), math.ceil(math.log10(figure.high)) + 1)
        steps = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        return [(s, format_seconds(s)) for s in steps if figure.low * 0.99 <= s <= figure.high * 1.01]
    count = round((figure.high - figure.low) / figure.step)
    values = [figure.low + figure.step * k for k in range(count + 1)]
    return [(each, f"{each:.3g}" if figure.sought else f"{100 * each:.3g}%") for each in values]


def _draw_line(
    canvas: Canvas,
    results: Results,
    figure: _Figure,
    panel: _Panel,
    placement: str,
    colour: str,
    place: tuple[float, float, float, float],
) -> None:
    left, width, top, aside = place
    for how in [QUEUES] if figure.sought else results.hows():
        before: tuple[float, float] | None = None
        for k, point in enumerate(panel.points):
            row = results.of(point, placement, how)
            value = _value(figure, row) if row is not None else None
            if row is None or value is None:
                before = None
                continue
            x, y = _x(panel, k, left, width) + aside, _y(figure, value, top)
            if before is not None and panel.axis in NUMBERS:
                dashes = "4 3" if how == ENGINE else "none"
                canvas.line(*before, x, y, stroke=colour, width=1.5, stroke_dasharray=dashes)
            before = (x, y)
            _draw_mark(canvas, figure, row, how, colour, (x, y, top))


def _draw_mark(
    canvas: Canvas, figure: _Figure, row: Row, how: str, colour: str, place: tuple[float, float, float]
) -> None:
    x, y, top = place
    value = _value(figure, row)
    assert value is not None
    hint = f"{row.placement}, {WORDS[how]}: {_text(figure, value)}"
    if how == LIVE:
        margin: Seconds = row.mean_margin if figure.logarithmic else row.attainment_margin
        canvas.line(x, _y(figure, value - margin, top), x, _y(figure, value + margin, top), stroke=colour, width=1.5)
    size: dict[str, tuple[float, str]] = {QUEUES: (5.0, "2.5"), ENGINE: (9.0, "4.5"), LIVE: (9.0, "0")}
    edge, round_ = size[how]
    opacity = {"opacity": "0.55"} if how == ENGINE else {}
    canvas.rect(x - edge / 2, y - edge / 2, edge, edge, fill=colour, hint=hint, rx=round_, **opacity)


def _text(figure: _Figure, value: float) -> str:
    if figure.sought:
        return f"{value:.3g}"
    return format_seconds(value) if figure.logarithmic else f"{value:.2%}"
