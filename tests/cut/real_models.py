"""The networks the central promise is kept for, each with the kind of input it was made for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from split_equals_whole import Arrays, feeds_for

from cutwater.frameworks.open import open_graph
from cutwater.graph.graph import Graph
from cutwater.zoo.packages import default_cache
from cutwater.zoo.photographs import photographs
from cutwater.zoo.registry import MODELS, build

LIGHT = {path.stem: path for path in (Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx")}
"""Nine well-known networks whose weights are made by ops; they come with the package onnx."""
ZOO = (
    "efficientnet-lite0", "mobilenet-v2", "mobilenet-v2-trunk", "resnet50", "yolov3-tiny", "yolov8n", "vit-tiny",
    "rapidocr-det", "rapidocr-rec", "rapidocr-cls", "lstm", "control-flow",
)  # fmt: skip
NAMES = (*sorted(LIGHT), *ZOO)
WIDE = {
    "light_inception_v1", "light_inception_v2", "yolov3-tiny", "yolov8n", "vit-tiny", "rapidocr-det", "rapidocr-rec",
    "control-flow",
}  # fmt: skip
"""Those whose branches make borders of three tensors and more."""


@dataclass(frozen=True)
class RealModel:
    """A model as it is cut, as it is run whole, and one request."""

    graph: Graph
    whole: bytes
    feeds: Arrays


def real_model(name: str) -> RealModel:
    """Opens a model at its usual sizes; trained ones are fetched once, for real."""
    path = LIGHT.get(name) or build(name, default_cache())
    sizes: Mapping[str, int] = MODELS[name].sizes if name in MODELS else {}
    graph = open_graph(path, sizes)
    return RealModel(graph, path.read_bytes(), _request(name, graph))


def _request(name: str, graph: Graph) -> Arrays:
    """A photograph, or drawn text for networks that read it; seeded noise where neither makes sense."""
    first = graph.tensors[graph.inputs[0]]
    if len(first.shape) != 4 or first.shape[1] != 3:
        return feeds_for(graph)
    height, width = first.shape[2:]
    picture = _text(width, height) if name.startswith("rapidocr") else _photograph(width, height)
    values = picture / 255 if name.startswith("yolo") else (picture - 127.5) / 127.5
    return {first.name: np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)}


def _photograph(width: int, height: int) -> NDArray[np.float32]:
    with Image.open(photographs(default_cache())[0].path) as picture:
        return np.asarray(picture.convert("RGB").resize((width, height)), np.float32)


def _text(width: int, height: int) -> NDArray[np.float32]:
    picture = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(30)
    for top in range(4, height - 36, 60):
        ImageDraw.Draw(picture).text((8, top), f"Split equals whole {top}", fill=(0, 0, 40), font=font)
    return np.asarray(picture, np.float32)
