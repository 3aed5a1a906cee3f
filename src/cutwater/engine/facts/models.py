"""Models that a cluster knows."""

import msgspec

from cutwater.graph.graph import Tensor


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """How a model wants its pictures, where it takes pixels: (rgb - mean) / std, rgb in 0..255."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    fit: str = "crop"
    """"crop", "letterbox" or "stretch"."""
    share: float = 0.875
    """The part of the picture that "crop" keeps."""
    height: int = 0
    """Of the frame it is fitted into, where the model takes encoded pictures and its inputs do not show it."""
    width: int = 0


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A model the cluster knows."""

    name: str
    hash: str
    """The graph's."""
    blob: str
    """Hash of the ONNX file, weights inside."""
    nbytes: int
    profile: str
    """Hash of the profile's blob."""
    speed: float
    """Speed index of the node the profile was measured on."""
    sizes: dict[str, tuple[int, ...]] = {}
    """Input -> shape, where dimensions were given."""
    dynamic: dict[str, tuple[int, ...]] = {}
    """Input -> which of its dimensions the file leaves open, so that any request may choose them."""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    """In the shape of one request."""
    pictures: Pictures = Pictures()
    labels: tuple[str, ...] = ()
    """Class names by index."""
    task: str = ""
    """"classify", "detect" or nothing known."""
