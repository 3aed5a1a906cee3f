"""Draws a model as a chain of blocks: how much work lies where, what each cut would send, and where it is cut.

| stage 1         | stage 2        | stage 3  |     blocks, as wide as their FLOPs
|#|##|#|#|###|##|#|#|##|#|####|#|##|#|##|#|#|#|
:   .   :                :          .             what each cut would send, in bytes (log scale)
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from cutwater.cut.cut import Cut
from cutwater.graph.graph import Graph
from cutwater.report.svg import GRID, INK, PALE, Canvas, stage_colour
from cutwater.units import format_bytes, format_flops

WIDTH, LEFT, RIGHT = 1000, 64, 24
STRIP_TOP, STRIP_HEIGHT = 74, 34
CHART_TOP, CHART_HEIGHT = 132, 170
LABELS_TOP = CHART_TOP + CHART_HEIGHT + 42
LEAST_BLOCK = 1.5
"""A block without FLOPs is still drawn this wide."""


def draw_chain(graph: Graph, cuts: Sequence[Cut], chosen: Sequence[Cut] = (), places: Sequence[str] = ()) -> str:
    """The picture, as an SVG document.

    Args:
        graph: the model.
        cuts: a chain of cuts from the first (nothing before) to the last (everything before).
        chosen: the cuts of a plan, in order, without the first and the last; each is added to the chain if missing.
        places: for each stage, the name of the node that runs it.
    """
    chain = _with_chosen(cuts, chosen)
    edges = _positions(chain)
    height = LABELS_TOP + 20 * max(len(chosen), 1) + 10
    canvas = Canvas(WIDTH, height, f"{graph.name} as a chain of {len(chain) - 1} blocks")
    weight = sum(op.weight_bytes for op in graph.ops)
    canvas.text(LEFT, 30, graph.name, size=18, font_weight="600")
    summary = f"{len(graph.ops)} ops, {format_flops(graph.flops)}, {format_bytes(weight)} of weights"
    canvas.text(LEFT, 50, f"{summary}, {len(chain)} cuts shown", fill=PALE)
    _draw_blocks(canvas, chain, edges, chosen)
    _draw_borders(canvas, chain, edges)
    _draw_chosen(canvas, chain, edges, chosen, places)
    return canvas.render()


def _with_chosen(cuts: Sequence[Cut], chosen: Sequence[Cut]) -> list[Cut]:
    """The chain through the chosen cuts: those of ``cuts`` that are comparable with all of them."""
    masks = {cut.before for cut in chosen}
    kept = [cut for cut in cuts if cut.before not in masks and all(cut <= other or other <= cut for other in chosen)]
    return sorted([*kept, *chosen], key=lambda cut: cut.before.bit_count())


def _positions(chain: Sequence[Cut]) -> list[float]:
    """x of each cut: blocks are as wide as their share of the FLOPs, but never invisible."""
    work = [after.flops_before - before.flops_before for before, after in pairwise(chain)]
    room = WIDTH - LEFT - RIGHT - LEAST_BLOCK * len(work)
    total = sum(work) or 1
    edges = [float(LEFT)]
    for flops in work:
        edges.append(edges[-1] + LEAST_BLOCK + room * flops / total)
    return edges


def _draw_blocks(canvas: Canvas, chain: Sequence[Cut], edges: Sequence[float], chosen: Sequence[Cut]) -> None:
    for k, (before, after) in enumerate(pairwise(chain)):
        stage = sum(cut <= before for cut in chosen)
        flops = after.flops_before - before.flops_before
        weights = after.weight_bytes_before - before.weight_bytes_before
        hint = f"{before.label} to {after.label}: {format_flops(flops)}, {format_bytes(weights)} of weights"
        width = max(edges[k + 1] - edges[k] - 0.6, 0.6)
        opacity = "1" if k % 2 else "0.78"
        colour = stage_colour(stage)
        canvas.rect(edges[k], STRIP_TOP, width, STRIP_HEIGHT, fill=colour, hint=hint, opacity=opacity)


def _draw_borders(canvas: Canvas, chain: Sequence[Cut], edges: Sequence[float]) -> None:
    sizes = [max(cut.border_bytes, 1) for cut in chain]
    low = 10 ** math.floor(math.log10(min(sizes)))
    high = 10 ** math.ceil(math.log10(max(sizes) * 1.01))
    span = math.log10(high / low)
    floor = CHART_TOP + CHART_HEIGHT
    decade = low
    while decade <= high:
        y = floor - CHART_HEIGHT * math.log10(decade / low) / span
        canvas.line(LEFT, y, WIDTH - RIGHT, y, stroke=GRID)
        canvas.text(LEFT - 8, y + 4, _round_size(decade), size=11, fill=PALE, anchor="end")
        decade *= 10
    for cut, x, size in zip(chain, edges, sizes, strict=True):
        top = floor - CHART_HEIGHT * math.log10(size / low) / span
        hint = f"{cut.label}: {format_bytes(cut.border_bytes)} in {cut.width} tensor{'s' * (cut.width != 1)}"
        colour = PALE if cut.width == 1 else INK
        canvas.rect(x - 1.25, top, 2.5, floor - top, fill=colour, hint=hint)
    canvas.text(LEFT, floor + 18, "each bar: what a cut there would send (strong: several tensors)", size=11, fill=PALE)


def _draw_chosen(
    canvas: Canvas, chain: Sequence[Cut], edges: Sequence[float], chosen: Sequence[Cut], places: Sequence[str]
) -> None:
    at = {cut.before: x for cut, x in zip(chain, edges, strict=True)}
    ends = [edges[0], *(at[cut.before] for cut in chosen), edges[-1]]
    if chosen:
        for k, (start, stop) in enumerate(pairwise(ends)):
            place = f" on {places[k]}" if k < len(places) else ""
            room = stop - start
            label = f"stage {k + 1}{place}" if room > 90 else str(k + 1)
            middle = (start + stop) / 2
            canvas.text(middle, STRIP_TOP - 7, label, fill=stage_colour(k), anchor="middle", font_weight="600")
    for k, cut in enumerate(chosen):
        x = at[cut.before]
        bottom = CHART_TOP + CHART_HEIGHT
        canvas.line(x, STRIP_TOP - 4, x, bottom, stroke="#c1121f", width=2, stroke_dasharray="5 3")
        tensors = f"{cut.width} tensor{'s' * (cut.width != 1)}"
        text = f"cut {k + 1}: {cut.label}, {format_bytes(cut.border_bytes)} in {tensors}"
        canvas.text(LEFT, LABELS_TOP + 20 * k, text, fill="#c1121f")


def _round_size(size: int) -> str:
    for unit, scale in (("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size // scale} {unit}"
    return f"{size} B"
