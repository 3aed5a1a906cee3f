"""The three networks of an OCR pipeline (find text, read it, tell which way up it is) as their package ships them."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import helper

from cutwater.errors import BadModel
from cutwater.zoo.packages import Package, fetch_file

PACKAGE = Package("rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf")
"""Carries PaddleOCR's models (Apache-2.0)."""

Dim = int | str


def build_detector(cache: Path) -> onnx.ModelProto:
    """Float32 ``x`` [batch, 3, height, width], sizes multiples of 32 -> how likely each pixel belongs to text."""
    return _renamed(
        _file(cache, "ch_PP-OCRv4_det_infer.onnx"), ["batch", 3, "height", "width"], ["batch", 1, "height", "width"]
    )


def build_recogniser(cache: Path) -> onnx.ModelProto:
    """Float32 ``x`` [batch, 3, 48, width], a line of text -> per column, how likely each of 6625 characters is."""
    return _renamed(_file(cache, "ch_PP-OCRv4_rec_infer.onnx"), ["batch", 3, 48, "width"], ["batch", "columns", 6625])


def build_orientation(cache: Path) -> onnx.ModelProto:
    """Float32 ``x`` [batch, 3, 48, 192], a line of text -> how likely it is upright, and upside down."""
    return _renamed(_file(cache, "ch_ppocr_mobile_v2.0_cls_infer.onnx"), ["batch", 3, 48, 192], ["batch", 2])


def _file(cache: Path, name: str) -> Path:
    return fetch_file(PACKAGE, cache, f"rapidocr_onnxruntime/models/{name}")


def _renamed(path: Path, taken: Sequence[Dim], given: Sequence[Dim]) -> onnx.ModelProto:
    """The model with readable dimensions at both ends; the exporter's own names clash and claim sizes of -1."""
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise BadModel(f"{path}: not an ONNX file ({error})") from None
    (entry,), (answer,) = model.graph.input, model.graph.output
    for info, shape in ((entry, taken), (answer, given)):
        element = info.type.tensor_type.elem_type
        info.CopyFrom(helper.make_tensor_value_info(info.name, element, shape))
    del model.graph.value_info[:]
    return model
