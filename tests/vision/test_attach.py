"""A network with its surroundings attached answers from the file itself exactly as the steps by hand do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cutwater.errors import BadModel
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.vision.attach import attach_classifier, attach_detector
from cutwater.vision.classify import best_guesses
from cutwater.vision.detect import Selection, select_boxes
from cutwater.vision.host_ops import HOST_DOMAIN
from cutwater.vision.pictures import read_picture
from cutwater.vision.prepare import Preparation
from cutwater.vision.resize import centre_crop, letterbox
from cutwater.zoo.control import build_lstm
from cutwater.zoo.efficientnet_lite0 import MEAN, STD, build_efficientnet_lite0
from cutwater.zoo.photographs import photographs
from cutwater.zoo.vit import TINY, build_vit
from cutwater.zoo.yolov8 import build_yolov8n

LITE0 = Preparation(mean=MEAN, std=STD)


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    infos = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {info.name: [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in infos}


@pytest.mark.slow
def test_the_attached_classifier_knows_eighteen_of_twenty_photographs(package_cache: Path) -> None:
    model = attach_classifier(build_efficientnet_lite0(package_cache), LITE0)
    session = OnnxRuntime().load(model.SerializeToString())
    right = 0
    for photo in photographs(package_cache):
        scores, classes = session.run({"encoded": np.frombuffer(photo.path.read_bytes(), np.uint8)})
        assert scores.shape == classes.shape == (1, 5)
        right += int(classes[0, 0]) == photo.label
    assert right >= 18


@pytest.mark.slow
def test_attached_and_by_hand_are_the_same_answer(package_cache: Path) -> None:
    network, path = build_efficientnet_lite0(package_cache), photographs(package_cache)[0].path
    pixels = (centre_crop(read_picture(path), 224, 224).astype(np.float32) - 127) / 128
    (logits,) = OnnxRuntime().load(network.SerializeToString()).run({"pictures": pixels.transpose(2, 0, 1)[np.newaxis]})
    by_hand = best_guesses(logits, 5)[0]

    attached = OnnxRuntime().load(attach_classifier(network, LITE0).SerializeToString())
    scores, classes = attached.run({"encoded": np.frombuffer(path.read_bytes(), np.uint8)})
    assert classes[0].tolist() == [guess.label for guess in by_hand]
    np.testing.assert_allclose(scores[0], [guess.probability for guess in by_hand], rtol=1e-4)


@pytest.mark.slow
def test_the_attached_detector_selects_as_by_hand(package_cache: Path) -> None:
    network, path = build_yolov8n(128), photographs(package_cache)[0].path
    selection = Selection(score=0.01, limit=20)
    pixels = letterbox(read_picture(path), 128, 128).astype(np.float32) / 255
    (raw,) = OnnxRuntime().load(network.SerializeToString()).run({"pictures": pixels.transpose(2, 0, 1)[np.newaxis]})
    by_hand = select_boxes(raw[0], selection)
    assert len(by_hand) > 0

    attached = OnnxRuntime().load(attach_detector(network, selection=selection).SerializeToString())
    (boxes,) = attached.run({"encoded": np.frombuffer(path.read_bytes(), np.uint8)})
    assert boxes.shape == (1, 20, 6)
    np.testing.assert_allclose(boxes[0, : len(by_hand)], by_hand, rtol=1e-3, atol=1e-3)


def test_the_whole_reads_like_the_picture_in_the_module() -> None:
    model = attach_classifier(build_vit(TINY), Preparation(), top=3)
    onnx.checker.check_model(model)
    nodes = [node.name for node in model.graph.node]
    assert nodes[:5] == [f"/preprocess/{kind}" for kind in ("DecodePicture", "Cast", "Sub", "Div", "Transpose")]
    assert nodes[-2:] == ["/postprocess/Softmax", "/postprocess/TopK"]
    assert shapes(model)["encoded"] == ["encoded_bytes"]
    assert {entry.domain for entry in model.opset_import} == {"", HOST_DOMAIN}


def test_every_tensor_of_the_whole_has_a_concrete_shape() -> None:
    model = attach_detector(build_yolov8n(64))
    known = shapes(model)
    for node in model.graph.node:
        for name in node.output:
            assert all(isinstance(size, int) for size in known[name]), name


def test_the_network_given_is_left_alone() -> None:
    network = build_vit(TINY)
    before = network.SerializeToString(deterministic=True)
    attach_classifier(network, Preparation())
    assert network.SerializeToString(deterministic=True) == before


def channels_last(kind: str) -> onnx.ModelProto:
    """A classifier [batch, 8, 8, 3] -> [batch, 3] that averages each colour, then applies ``kind``."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node(kind, ["mean"], ["y"]),
    ]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8, 8, 3])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "colours", [entry], [answer])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_channels_last_needs_no_transpose_and_a_softmax_is_not_repeated() -> None:
    kinds = [node.op_type for node in attach_classifier(channels_last("Softmax"), Preparation(), top=2).graph.node]
    assert kinds == ["DecodePicture", "Cast", "Sub", "Div", "ReduceMean", "Softmax", "TopK"]
    kinds = [node.op_type for node in attach_classifier(channels_last("Relu"), Preparation(), top=2).graph.node]
    assert kinds[-3:] == ["Relu", "Softmax", "TopK"]


def test_networks_of_another_form_are_refused() -> None:
    with pytest.raises(BadModel, match="does not take one picture"):
        attach_classifier(build_lstm(), Preparation())
    with pytest.raises(BadModel, match="expected 3 sizes"):
        attach_detector(build_vit(TINY))
    with pytest.raises(BadModel, match="has 10 classes"):
        attach_classifier(build_vit(TINY), Preparation(), top=11)
