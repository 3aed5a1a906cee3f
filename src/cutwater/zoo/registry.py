"""The models by name, and the one way to get a model's file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from cutwater.errors import BadModel
from cutwater.zoo.efficientnet_lite0 import build_efficientnet_lite0
from cutwater.zoo.packages import write_atomically


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    summary: str
    make: Callable[[Path], onnx.ModelProto | bytes]
    """Cache folder -> the model, or the bytes of its file."""
    trained: bool = False
    """Whether its weights were trained and come from a package; otherwise they are seeded."""


MODELS: Mapping[str, Entry] = {
    "efficientnet-lite0": Entry("1000 ImageNet classes, 4.7 M parameters", build_efficientnet_lite0, trained=True),
}


def build(name: str, cache: Path) -> Path:
    """The model's file, ``<cache>/<name>.onnx``; made on the first call, complete or not there at all.

    Raises:
        BadModel: No model of that name.
        BadFile: A package it comes from cannot be fetched.
    """
    if name not in MODELS:
        raise BadModel(f"no model {name!r} in the zoo; there are {', '.join(sorted(MODELS))}")
    path = cache / f"{name}.onnx"
    if not path.exists():
        made = MODELS[name].make(cache)
        write_atomically(path, made if isinstance(made, bytes) else made.SerializeToString(deterministic=True))
    return path
