"""Host ops inside a stage: the session computes them itself, wherever they stand, and answers like any other."""

import sys
import types

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutwater.errors import BadModel, BadPicture
from cutwater.frameworks.base import EngineOptions
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.frameworks.segments import HOST_DOMAIN, EngineSegment, HostOp, split_at_host_ops


def reverse(arrays, attributes):
    (picture,) = arrays
    if picture.size == 0:
        raise BadPicture("no bytes")
    return [picture[::-1].astype(np.float32).reshape(1, -1) * attributes.get("gain", 1)]


def top(arrays, attributes):
    scores, count = arrays
    return [np.sort(scores, axis=1)[:, ::-1][:, : int(count)].copy()]


@pytest.fixture(autouse=True)
def host_ops(monkeypatch):
    """Two tiny host ops in the place of those for pictures and boxes."""
    module = types.ModuleType("cutwater.vision.host_ops")
    kinds = {"Reverse": reverse, "Top": top}
    module.host_op = lambda kind, attributes: lambda arrays: kinds[kind](arrays, attributes)
    monkeypatch.setitem(sys.modules, "cutwater.vision.host_ops", module)


def host(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, name=kind.lower(), domain=HOST_DOMAIN, **attributes)


def stage(nodes, inputs, outputs, weights=(), declared=()):
    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.UINT8 if name == "bytes" else TensorProto.FLOAT, None)

    graph = helper.make_graph(
        nodes,
        "stage",
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights],
        value_info=[value(name) for name in declared],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(HOST_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


COUNT = helper.make_node("Constant", [], ["count"], value=numpy_helper.from_array(np.array(2)))
WEIGHT = ("w", np.array([[1, 10, 100]], np.float32))
WHOLE = stage(
    [
        host("Reverse", ["bytes"], ["picture"], gain=2),
        helper.make_node("Mul", ["picture", "w"], ["scores"], name="mul"),
        COUNT,
        host("Top", ["scores", "count"], ["best"]),
    ],
    ["bytes"],
    ["best"],
    [WEIGHT],
    ["picture", "scores"],
)
BYTES = np.array([3, 2, 1], np.uint8)


def test_leading_and_trailing_host_ops_are_parted_from_the_engine_s_nodes():
    first, middle, last = split_at_host_ops(WHOLE).segments
    assert isinstance(first, HostOp) and (first.dynamic_inputs, first.outputs) == (("bytes",), ("picture",))
    assert isinstance(middle, EngineSegment) and (middle.inputs, middle.outputs) == (("picture",), ("scores",))
    assert isinstance(last, HostOp) and last.dynamic_inputs == ("scores",)
    assert int(last.constants["count"]) == 2


def test_a_stage_with_host_ops_runs_like_any_other():
    session = OnnxRuntime().load(WHOLE)
    assert (session.inputs, session.outputs) == (("bytes",), ("best",))
    (best,) = session.run({"bytes": BYTES})
    np.testing.assert_array_equal(best, [[600, 40]])
    session.close()


def test_a_stage_may_be_host_ops_only():
    session = OnnxRuntime().load(stage([host("Reverse", ["bytes"], ["picture"])], ["bytes"], ["picture"]))
    (picture,) = session.run({"bytes": BYTES})
    np.testing.assert_array_equal(picture, [[1, 2, 3]])


def test_host_ops_may_stand_anywhere_and_inputs_may_pass_through():
    """Level 0 feeds a host op, both feed level 2, and an input is handed out again untouched."""
    data = stage(
        [
            helper.make_node("Neg", ["x"], ["n"], name="neg"),
            helper.make_node("Identity", ["w"], ["w2"], name="fixed"),
            host("Top", ["n", "count"], ["best"]),
            helper.make_node("ReduceSum", ["n"], ["sum"], keepdims=1, name="sum"),
            helper.make_node("Add", ["best", "sum"], ["y0"], name="add"),
            helper.make_node("Mul", ["y0", "w2"], ["y"], name="mul"),
        ],
        ["x"],
        ["y", "x", "n"],
        [("w", np.array([2], np.float32)), ("count", np.array(1))],
        ["best"],
    )
    session = OnnxRuntime().load(data)
    x = np.array([[1, -5, 2]], np.float32)
    y, same, n = session.run({"x": x})
    np.testing.assert_array_equal(y, [[14]])
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(n, -x)


def test_captures_of_a_body_cross_between_segments():
    """The branch reads the host op's output, which is no input of the If node itself."""
    then = helper.make_graph(
        [helper.make_node("Neg", ["picture"], ["t"])], "then", [], [helper.make_tensor_value_info("t", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Abs", ["picture"], ["e"])], "else", [], [helper.make_tensor_value_info("e", 1, None)]
    )
    data = stage(
        [
            host("Reverse", ["bytes"], ["picture"]),
            helper.make_node("ReduceMax", ["picture"], ["max"], keepdims=0, name="max"),
            helper.make_node("Greater", ["max", "limit"], ["big"], name="greater"),
            helper.make_node("If", ["big"], ["y"], name="if", then_branch=then, else_branch=other),
        ],
        ["bytes"],
        ["y"],
        [("limit", np.array(2, np.float32))],
        ["picture"],
    )
    (y,) = OnnxRuntime().load(data).run({"bytes": BYTES})
    np.testing.assert_array_equal(y, [[-1, -2, -3]])


def test_op_times_hold_host_ops_and_engine_nodes():
    session = OnnxRuntime().load(WHOLE, EngineOptions(profile=True))
    for _ in range(2):
        session.run({"bytes": BYTES})
    assert {name: len(seconds) for name, seconds in session.op_times().items()} == {"reverse": 2, "mul": 2, "top": 2}


def test_a_broken_picture_is_its_own_error_and_the_next_one_is_answered():
    session = OnnxRuntime().load(WHOLE)
    with pytest.raises(BadPicture):
        session.run({"bytes": np.zeros(0, np.uint8)})
    assert session.run({"bytes": BYTES})[0].shape == (1, 2)


def test_an_undeclared_host_output_and_a_truncated_stage_are_bad_models():
    undeclared = stage(
        [host("Reverse", ["bytes"], ["picture"]), helper.make_node("Neg", ["picture"], ["y"])], ["bytes"], ["y"]
    )
    with pytest.raises(BadModel, match=r"'picture'.*value_info"):
        OnnxRuntime().load(undeclared)
    with pytest.raises(BadModel, match="not an ONNX model"):
        OnnxRuntime().load(WHOLE[:-3])
