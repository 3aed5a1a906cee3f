"""Draws requests on their way through the stages: a row for each stage, a box for each batch it computed.

stage 1  |  7  |  8  |  9  | 10  |
stage 2        |  7  |  8  |  9  |       a box: computing; the line below: received, waiting its turn
stage 3              |  7  |  8  |
"""

from collections.abc import Mapping, Sequence

from cutwater.report.svg import GRID, PALE, Canvas, stage_colour
from cutwater.units import RequestId, Seconds, format_seconds
from cutwater.wire.message import Mark

WIDTH, LEFT, RIGHT = 1000, 150, 24
TOP, ROW, BOX = 48, 46, 26


def draw_timeline(trails: Mapping[RequestId, Sequence[Mark]], places: Sequence[str], most: int = 24) -> str:
    """The picture, as an SVG document.

    Args:
        trails: request -> what each stage did with it, on one clock.
        places: what to call each stage's row.
        most: how many requests to draw; they are taken from the middle, where the pipeline is full.
    """
    complete = sorted((request, trail) for request, trail in trails.items() if len(trail) == len(places))
    first = max(0, (len(complete) - most) // 2)
    shown = complete[first : first + most]
    canvas = Canvas(WIDTH, TOP + ROW * len(places) + 44, f"{len(shown)} requests on their way through the stages")
    if not shown:
        canvas.text(LEFT, TOP, "no request went through all stages", fill=PALE)
        return canvas.render()
    start = min(trail[0].received for _, trail in shown)
    stop = max(trail[-1].sent for _, trail in shown)
    scale = (WIDTH - LEFT - RIGHT) / max(stop - start, 1e-9)
    canvas.text(LEFT, 24, f"{len(shown)} requests in {format_seconds(stop - start)}", fill=PALE)
    _draw_axis(canvas, stop - start, scale, len(places))
    for row, place in enumerate(places):
        canvas.text(16, TOP + row * ROW + BOX * 0.7, place, fill=stage_colour(row), font_weight="600")
        for request, trail in shown:
            _draw_request(canvas, request, trail[row], row, start, scale)
    return canvas.render()


def _draw_axis(canvas: Canvas, span: Seconds, scale: float, rows: int) -> None:
    bottom = TOP + rows * ROW
    for tenth in range(11):
        x = LEFT + span * scale * tenth / 10
        canvas.line(x, TOP - 8, x, bottom, stroke=GRID)
        canvas.text(x, bottom + 18, format_seconds(span * tenth / 10), size=11, fill=PALE, anchor="middle")


def _draw_request(canvas: Canvas, request: RequestId, mark: Mark, row: int, start: Seconds, scale: float) -> None:
    def at(moment: Seconds) -> float:
        return LEFT + (moment - start) * scale

    y = TOP + row * ROW
    # Many wait at once and their lines lie over each other: the longer the queue, the stronger.
    low = y + BOX + 5
    canvas.line(at(mark.received), low, at(mark.started), low, stroke=stage_colour(row), width=4, stroke_opacity="0.22")
    width = max(at(mark.finished) - at(mark.started) - 1, 1)
    waited, computed = mark.started - mark.received, mark.finished - mark.started
    hint = f"request {request}: waited {format_seconds(waited)}, computed {format_seconds(computed)}"
    shade = "1" if request % 2 else "0.72"
    canvas.rect(at(mark.started), y, width, BOX, fill=stage_colour(row), hint=hint, opacity=shade, rx="3")
    if width > 22:
        middle = at(mark.started) + width / 2
        canvas.text(middle, y + BOX / 2 + 4, str(request), size=11, fill="#ffffff", anchor="middle")
