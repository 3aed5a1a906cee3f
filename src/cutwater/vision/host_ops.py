"""Ops no inference engine has: `DecodePicture` and `SelectBoxes`, run in Python on the host between two sub-graphs.

They make "send the encoded picture" and "send only the answer" ordinary cuts: pre- and post-processing are nodes of the
model, with costs and borders like any other. Importing this file is cheap; Pillow is imported when a picture comes.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadModel, BadTensor
from cutwater.vision.detect import Selection, select_boxes
from cutwater.vision.pictures import decode_picture
from cutwater.vision.resize import FITS, fit_picture

Array = NDArray[np.generic]
Attribute = int | float | str | bytes
HostOp = Callable[[Sequence[Array]], list[Array]]
"""The op's inputs in order -> its outputs in order."""

HOST_DOMAIN = "ai.cutwater.vision"
HOST_OPSET = 1


def host_op(kind: str, attributes: Mapping[str, Attribute]) -> HostOp:
    """The function that computes a host op.

    ``DecodePicture``: uint8 [n], an encoded picture -> uint8 [1, height, width, 3] RGB. Attributes ``height``,
    ``width``; ``fit``: "crop" (default), "letterbox" or "stretch"; ``share``: the part "crop" keeps (default 0.875).

    ``SelectBoxes``: float32 [batch, 4 + classes, n], raw boxes (see `select_boxes`) -> float32 [batch, limit, 6]: x1,
    y1, x2, y2, score, class, best first, padded with zeros. Attributes ``score``, ``overlap``, ``limit``: `Selection`.

    The functions raise BadPicture for a picture that cannot be decoded and BadTensor for an input of the wrong form.

    Raises:
        BadModel: An unknown kind, or a missing, unknown or invalid attribute.
    """
    if kind not in _MAKERS:
        raise BadModel(f"no op {kind!r} in domain {HOST_DOMAIN}; there are {', '.join(_MAKERS)}")
    options = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    try:
        return _MAKERS[kind](**options)
    except (TypeError, ValueError) as error:
        raise BadModel(f"op {kind} of domain {HOST_DOMAIN} has unfit attributes {options}: {error}") from None


def _decode_picture(height: int, width: int, fit: str = "crop", share: float = 0.875) -> HostOp:
    if height < 1 or width < 1 or not 0 < share <= 1:
        raise ValueError("height and width must be positive, share in (0, 1]")
    if fit not in FITS:
        raise ValueError(f"fit is one of {', '.join(FITS)}")

    def compute(inputs: Sequence[Array]) -> list[Array]:
        (encoded,) = inputs
        if encoded.dtype != np.uint8 or encoded.ndim != 1:
            raise BadTensor(
                f"DecodePicture got {encoded.dtype} {list(encoded.shape)}; feed the picture's bytes as uint8 [length]"
            )
        pixels = decode_picture(np.ascontiguousarray(encoded, np.uint8).data)
        return [fit_picture(pixels, height, width, fit, share)[np.newaxis]]

    return compute


def _select_boxes(score: float = 0.25, overlap: float = 0.45, limit: int = 100) -> HostOp:
    if limit < 1:
        raise ValueError("limit must be positive")
    selection = Selection(score, overlap, limit)

    def compute(inputs: Sequence[Array]) -> list[Array]:
        (raw,) = inputs
        if raw.dtype != np.float32 or raw.ndim != 3:
            raise BadTensor(
                f"SelectBoxes got {raw.dtype} {list(raw.shape)}; expected float32 [batch, 4 + classes, boxes]"
            )
        padded = np.zeros((raw.shape[0], limit, 6), np.float32)
        for row, one in zip(padded, raw.astype(np.float32, copy=False), strict=True):
            boxes = select_boxes(one, selection)
            row[: len(boxes)] = boxes
        return [padded]

    return compute


_MAKERS: Mapping[str, Callable[..., HostOp]] = {"DecodePicture": _decode_picture, "SelectBoxes": _select_boxes}
