"""The models by name, and the one way to get a model's file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from cutwater.errors import BadModel
from cutwater.vision.labels import COCO, IMAGENET
from cutwater.vision.prepare import Preparation
from cutwater.vision.task import CLASSIFY, DETECT
from cutwater.zoo.control import build_control_flow, build_lstm
from cutwater.zoo.darknet import build_yolov3_tiny
from cutwater.zoo.efficientnet_lite0 import MEAN, STD, build_efficientnet_lite0
from cutwater.zoo.mobilenet_v2 import build_mobilenet_v2, build_mobilenet_v2_trunk
from cutwater.zoo.packages import write_atomically
from cutwater.zoo.rapidocr import build_detector, build_orientation, build_recogniser
from cutwater.zoo.resnet50 import build_resnet50
from cutwater.zoo.vit import BASE, TI16, TINY, build_vit
from cutwater.zoo.yolov8 import build_yolov8n


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    summary: str
    make: Callable[[Path], onnx.ModelProto]
    """Cache folder -> the model. Raises BadFile where a package it comes from cannot be fetched."""
    trained: bool = False
    """Whether its weights were trained and come from a package; otherwise they are seeded."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Usual sizes of its dynamic dimensions other than the batch."""
    preparation: Preparation | None = None
    """How it wants its pictures, where that is known."""
    labels: str = ""
    """The list that has the names of its classes (`cutwater.vision.labels`)."""
    task: str = ""
    """What it answers (`cutwater.vision.task`), where that is known."""


MODELS: Mapping[str, Entry] = {
    "efficientnet-lite0": Entry(
        "ImageNet classifier, 4.7 M parameters",
        build_efficientnet_lite0,
        trained=True,
        preparation=Preparation(MEAN, STD),
        labels=IMAGENET,
        task=CLASSIFY,
    ),
    "mobilenet-v2-trunk": Entry("MobileNetV2 features, 2.2 M parameters", build_mobilenet_v2_trunk, trained=True),
    "yolov3-tiny": Entry(
        "COCO detector at 416, 8.9 M parameters",
        build_yolov3_tiny,
        trained=True,
        preparation=Preparation(fit="letterbox"),
        labels=COCO,
        task=DETECT,
    ),
    "rapidocr-det": Entry("finds text", build_detector, trained=True, sizes={"height": 640, "width": 640}),
    "rapidocr-rec": Entry("reads a line of text", build_recogniser, trained=True, sizes={"width": 320}),
    "rapidocr-cls": Entry("tells which way up text is", build_orientation, trained=True),
    "resnet50": Entry("ResNet-50, 25.6 M parameters", lambda _: build_resnet50()),
    "mobilenet-v2": Entry("MobileNetV2, 3.5 M parameters", lambda _: build_mobilenet_v2()),
    "yolov8n": Entry("YOLOv8n-like detector at 640, 3.2 M parameters", lambda _: build_yolov8n()),
    "vit-b16": Entry("ViT-B/16, 86 M parameters", lambda _: build_vit(BASE)),
    "vit-ti16": Entry("ViT-Ti/16, 5.7 M parameters", lambda _: build_vit(TI16)),
    "vit-tiny": Entry("a vision transformer of 0.15 M parameters", lambda _: build_vit(TINY)),
    "lstm": Entry("a two-layer LSTM", lambda _: build_lstm()),
    "control-flow": Entry("a Loop and an If that capture outer tensors", lambda _: build_control_flow()),
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
        write_atomically(path, MODELS[name].make(cache).SerializeToString(deterministic=True))
    return path
