"""Encoded pictures to pixels: height x width x 3 RGB bytes, upright, and never more of them than allowed."""

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadPicture

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

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
    # Importing Pillow takes longer than all of this package, and most stages never need it.
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadPicture(
                    f"{name}: {width} x {height} pixels are over the limit of {max_pixels}; shrink it first"
                )
            upright = ImageOps.exif_transpose(image)
            return np.array(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise BadPicture(f"{name}: not a picture of a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:
        raise BadPicture(f"{name}: claims too many pixels ({error}); shrink it first") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        # Pillow's decoders report broken files with any of these.
        raise BadPicture(f"{name}: cannot be decoded, truncated or corrupt ({error})") from None


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Pixels of the picture in a file. Raises BadPicture naming the file."""
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"{path}: cannot be read ({error.strerror})") from None
    return decode_picture(encoded, str(path), max_pixels)
