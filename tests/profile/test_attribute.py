"""Times of an engine's nodes come home to the ops they were made of, and none is lost."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.profile.attribute import attribute


@pytest.fixture(scope="module")
def block():
    """A residual block: conv -> clip -> conv2 -> sum with the input -> shape change."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4, 1, 1], np.ones(16))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["/a/Conv_output_0"], name="/a/Conv"),
        helper.make_node("Relu", ["/a/Conv_output_0"], ["/a/Relu_output_0"], name="/a/Relu"),
        helper.make_node("Conv", ["/a/Relu_output_0", "w"], ["/b/Conv_output_0"], name="/b/Conv"),
        helper.make_node("Add", ["/b/Conv_output_0", "x"], ["sum"], name="/Add"),
        helper.make_node("Flatten", ["sum"], ["y"], name="/Flatten"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 4, 2, 2]), ("y", [1, 16]))]
    graph = helper.make_graph(nodes, "block", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return build_graph(model_from_bytes(model.SerializeToString(), "block"))


def test_ops_the_engine_left_alone_keep_their_times(block):
    times = {op.name: float(op.index + 1) for op in block.ops}
    assert list(attribute(block, times)) == [1, 2, 3, 4, 5]


def test_a_fused_activation_shares_its_convolutions_time_by_flops(block):
    """The engine ran Conv and Relu as one node named after the Relu's output, and put the sum into the second Conv."""
    nodes = {"/a/Relu_output_0_nchwc": 3.0, "/b/Conv_output_0_nchwc": 2.0, "ReorderOutput": 0.5, "/Flatten": 0.25}
    conv, relu, conv2, add, flatten = attribute(block, nodes)
    flops = [op.flops for op in block.ops]
    assert conv + relu == pytest.approx(3.0)
    assert conv / relu == pytest.approx(flops[0] / flops[1])
    assert conv2 + add == pytest.approx(2.5), "a change of layout belongs to what ran before it"
    assert flatten == 0.25


@pytest.mark.parametrize("name", ["fused /a/Conv", "/a/Conv/SomeFusion/", "/a/Conv_token_12", "/a/Conv_output_0_nchwc"])
def test_names_that_begin_with_an_ops_name_are_that_ops(block, name):
    assert attribute(block, {name: 1.0, "/b/Conv": 0.0, "/Flatten": 0.0})[:2].sum() == pytest.approx(1.0)


def test_no_time_is_lost_even_if_no_name_is_known(block):
    assert attribute(block, {"mystery": 1.0, "riddle": 2.0}).sum() == pytest.approx(3.0)
    assert attribute(block, {"ReorderInput": 1.0, "/b/Conv": 2.0}).sum() == pytest.approx(3.0)
