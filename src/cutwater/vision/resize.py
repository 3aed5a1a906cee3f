"""Fit a picture to a network's input: stretch, crop the centre, or letterbox, with the way back for boxes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutwater.vision.pictures import Pixels

LETTERBOX_GREY = 114
"""The border YOLO networks were trained with."""


def stretch(pixels: Pixels, height: int, width: int) -> Pixels:
    """All of the picture as uint8 [height, width, 3]; its proportions change (bicubic)."""
    return _resample(pixels, height, width, (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0])))


def centre_crop(pixels: Pixels, height: int, width: int, share: float = 0.875) -> Pixels:
    """The middle of the picture as uint8 [height, width, 3], proportions kept (bicubic).

    Args:
        share: How much of the largest centred rectangle of the wanted proportions is kept. Classifiers are evaluated
            on the middle 224 of 256 pixels, which is 0.875.
    """
    scale = share * min(pixels.shape[0] / height, pixels.shape[1] / width)
    left = (pixels.shape[1] - width * scale) / 2
    top = (pixels.shape[0] - height * scale) / 2
    return _resample(pixels, height, width, (left, top, left + width * scale, top + height * scale))


@dataclass(frozen=True)
class Framing:
    """Where a picture lies in the frame it was fitted into: scaled, then moved by ``left`` and ``top``."""

    scale_x: float
    scale_y: float
    left: float
    """Negative where the frame shows a part of the picture only."""
    top: float
    picture_height: int
    picture_width: int

    @classmethod
    def of(
        cls, how: str, picture_height: int, picture_width: int, height: int, width: int, share: float = 0.875
    ) -> "Framing":
        """The framing that `fit_picture` gives a picture in a frame of ``height`` by ``width``.

        Raises:
            ValueError: ``how`` is none of `FITS`.
        """
        if how == "stretch":
            return cls(width / picture_width, height / picture_height, 0, 0, picture_height, picture_width)
        if how == "crop":
            scale = 1 / (share * min(picture_height / height, picture_width / width))
            left, top = (width - picture_width * scale) / 2, (height - picture_height * scale) / 2
            return cls(scale, scale, left, top, picture_height, picture_width)
        if how != "letterbox":
            raise ValueError(f"fit is one of {', '.join(FITS)}, not {how!r}")
        scale = min(height / picture_height, width / picture_width)
        inner_height = max(1, round(picture_height * scale))
        inner_width = max(1, round(picture_width * scale))
        return cls(
            scale_x=inner_width / picture_width,
            scale_y=inner_height / picture_height,
            left=(width - inner_width) // 2,
            top=(height - inner_height) // 2,
            picture_height=picture_height,
            picture_width=picture_width,
        )

    def to_picture(self, corners: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (x1, y1, x2, y2) float32 [n, 4] in frame pixels -> in the picture's own pixels, clipped to it."""
        moved = corners - np.array([self.left, self.top] * 2, np.float32)
        scaled = moved / np.array([self.scale_x, self.scale_y] * 2, np.float32)
        edge = np.array([self.picture_width, self.picture_height] * 2, np.float32)
        return np.clip(scaled, 0, edge).astype(np.float32)

    def to_frame(self, corners: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (x1, y1, x2, y2) float32 [n, 4] in the picture's pixels -> in frame pixels."""
        scaled = corners * np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return (scaled + np.array([self.left, self.top] * 2, np.float32)).astype(np.float32)


def letterbox(pixels: Pixels, height: int, width: int) -> Pixels:
    """All of the picture inside a grey uint8 [height, width, 3] frame, proportions kept, as large as fits, centred."""
    framing = Framing.of("letterbox", pixels.shape[0], pixels.shape[1], height, width)
    inner = stretch(pixels, round(framing.scale_y * pixels.shape[0]), round(framing.scale_x * pixels.shape[1]))
    frame = np.full((height, width, 3), LETTERBOX_GREY, np.uint8)
    left, top = int(framing.left), int(framing.top)
    frame[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return frame


def _resample(pixels: Pixels, height: int, width: int, box: tuple[float, float, float, float]) -> Pixels:
    if pixels.shape[:2] == (height, width) and box == (0.0, 0.0, float(width), float(height)):
        return pixels
    from PIL import Image  # as in pictures.py: only those who handle pictures pay for it

    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box))


FITS = ("crop", "letterbox", "stretch")
"""The ways to fit, by the name used in options and attributes."""


def fit_picture(pixels: Pixels, height: int, width: int, how: str, share: float = 0.875) -> Pixels:
    """The picture as uint8 [height, width, 3], fitted in one of the ways of `FITS`; ``share`` is for "crop" alone.

    Raises:
        ValueError: ``how`` is none of them.
    """
    if how == "crop":
        return centre_crop(pixels, height, width, share)
    if how == "letterbox":
        return letterbox(pixels, height, width)
    if how == "stretch":
        return stretch(pixels, height, width)
    raise ValueError(f"fit is one of {', '.join(FITS)}, not {how!r}")
