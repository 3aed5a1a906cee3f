"""From pixels to the array a network's input wants."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadTensor
from cutwater.graph.graph import Tensor
from cutwater.vision.pictures import Pixels
from cutwater.vision.resize import fit_picture

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Preparation:
    """How a network wants its pictures: (rgb - mean) / std, rgb in 0..255."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    fit: str = "crop"
    """One of `FITS`: "crop", "letterbox" or "stretch"."""
    share: float = 0.875
    """The part of the picture that "crop" keeps."""


def picture_input(tensors: Sequence[Tensor], who: str) -> Tensor:
    """The input that takes the picture, where there is no other: encoded (`is_encoded`), or pixels of one picture.

    Args:
        tensors: The model's inputs.
        who: What wants to feed a picture, for the message.

    Raises:
        BadTensor: The model takes something else.
    """
    if len(tensors) != 1:
        names = ", ".join(tensor.name for tensor in tensors)
        raise BadTensor(
            f"{who}: the model has {len(tensors)} inputs and not one for a picture; feed the arrays {names}"
        )
    (tensor,) = tensors
    pixels = len(tensor.shape) == 4 and tensor.shape[0] == 1 and 3 in (tensor.shape[1], tensor.shape[3])
    if not is_encoded(tensor) and not (pixels and tensor.dtype in ("float32", "float16", "uint8")):
        raise BadTensor(
            f"{who}: the model's input {tensor.name!r} is {tensor.dtype} {list(tensor.shape)}, no picture; feed arrays"
        )
    return tensor


def is_encoded(tensor: Tensor) -> bool:
    """Whether an input takes a picture as its file holds it: uint8 [n]."""
    return tensor.dtype == "uint8" and len(tensor.shape) == 1


def frame_size(tensor: Tensor) -> tuple[int, int]:
    """Height and width of an input of pixels [1, 3, height, width] or [1, height, width, 3]."""
    height, width = tensor.shape[2:] if tensor.shape[1] == 3 else tensor.shape[1:3]
    return height, width


def prepare(pixels: Pixels, target: Tensor, preparation: Preparation) -> Array:
    """A picture [height, width, 3] as an input of pixels wants it: fitted, scaled, channels where they belong.

    Float inputs get (rgb - mean) / std; uint8 inputs get rgb as it is.
    """
    height, width = frame_size(target)
    fitted = fit_picture(pixels, height, width, preparation.fit, preparation.share)
    values: Array = fitted
    if target.dtype != "uint8":
        mean, std = np.array(preparation.mean, np.float32), np.array(preparation.std, np.float32)
        values = ((fitted - mean) / std).astype(target.dtype)
    channels_first = target.shape[1] == 3
    return np.ascontiguousarray(values.transpose(2, 0, 1) if channels_first else values)[np.newaxis]
