"""Draws what a detector saw onto the picture."""

import colorsys
from collections.abc import Sequence

import numpy as np

from cutwater.vision.detect import Detection
from cutwater.vision.labels import name_of
from cutwater.vision.pictures import Pixels

_GOLDEN = 0.618033988749895
"""Steps of the golden section keep the hues of neighbouring classes far apart."""


def draw_detections(pixels: Pixels, detections: Sequence[Detection], names: Sequence[str]) -> Pixels:
    """A copy of the picture with a box and a caption ("dog 87 %") for each detection."""
    from PIL import Image, ImageDraw, ImageFont  # as in pictures.py

    image = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(image)
    unit = max(2, min(image.size) // 200)
    font = ImageFont.load_default(size=6 * unit)
    for seen in sorted(detections, key=lambda detection: detection.score):
        colour = _colour(seen.label)
        canvas.rectangle((seen.x1, seen.y1, seen.x2, seen.y2), outline=colour, width=unit)
        caption = f"{name_of(names, seen.label)} {seen.score:.0%}".replace("%", " %")
        left, top, right, bottom = canvas.textbbox((seen.x1 + unit, seen.y1), caption, font=font)
        # Above the box where there is room, otherwise inside it.
        lift = bottom - seen.y1 + unit if bottom - seen.y1 + unit <= seen.y1 else 0
        canvas.rectangle((left - unit, top - lift - unit, right + unit, bottom - lift + unit), fill=colour)
        canvas.text((seen.x1 + unit, seen.y1 - lift), caption, fill="white", font=font)
    return np.array(image)


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1.0, 0.85, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
