"""Encoded pictures to pixels: height x width x 3 RGB bytes, upright, and never more of them than allowed."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadPicture

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from PIL import Image

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

MAX_PIXELS = 64 * 2**20
"""Largest picture that is decoded; a few kilobytes of PNG can otherwise claim gigabytes."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Only what cameras and people produce: every further decoder is one more way in."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")


def decode_picture(encoded: "ReadableBuffer", name: str = "picture", max_pixels: int = MAX_PIXELS) -> Pixels:
    """Pixels of an encoded picture, turned upright as its EXIF orientation asks.

    Args:
        encoded: The bytes of the file; a uint8 [n] array counts as bytes.
        name: What messages call the picture.
        max_pixels: Largest width times height to decode.

    Raises:
        BadPicture: Not a picture of a known format, truncated, corrupt, or over the limit.
    """
    from PIL import ImageOps  # as in `_opened`

    with _opened(encoded, name, max_pixels) as image:
        # In place, and converted only where need be: a copy of a large picture is a quarter of a gigabyte.
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def picture_size(encoded: "ReadableBuffer", name: str = "picture", max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of an encoded picture, upright, from its header: nothing is decoded.

    Raises:
        BadPicture: Not a picture of a known format, or over the limit; see `decode_picture`.
    """
    with _opened(encoded, name, max_pixels) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(_ORIENTATION) in _LYING else (height, width)


_ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held (EXIF 2.32, 4.6.4)."""
_LYING = (5, 6, 7, 8)
"""Its values where rows and columns are exchanged."""


@contextmanager
def _opened(encoded: "ReadableBuffer", name: str, max_pixels: int) -> Iterator["Image.Image"]:
    """The picture, its header read and its size allowed; what goes wrong inside becomes BadPicture."""
    # Importing Pillow takes longer than all of this package, and most stages never need it.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadPicture(
                    f"{name}: {width} x {height} pixels are over the limit of {max_pixels}; shrink it first"
                )
            yield image
    except UnidentifiedImageError:
        raise BadPicture(f"{name}: not a picture of a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise BadPicture(
            f"{name}: claims too many pixels, far over the limit of {max_pixels}; shrink it first"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        # Pillow's decoders report broken files with any of these.
        raise BadPicture(f"{name}: cannot be decoded, truncated or corrupt ({error})") from None


def encode_picture(pixels: Pixels, format: str = "JPEG") -> bytes:
    """The picture as the bytes of a file: "JPEG" (quality 90) or "PNG"."""
    from PIL import Image  # as in `_opened`

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, quality=90)
    return stream.getvalue()


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Pixels of the picture in a file. Raises BadPicture naming the file."""
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"{path}: cannot be read ({error.strerror})") from None
    return decode_picture(encoded, str(path), max_pixels)
