"""Host ops inside a stage: the session computes them itself, wherever they stand, and answers like any other."""

import io

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cutwater.errors import BadModel, BadPicture
from cutwater.frameworks.base import EngineOptions
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.frameworks.segments import EngineSegment, HostOp, split_at_host_ops
from cutwater.vision.host_ops import HOST_DOMAIN

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
KINDS = {"bytes": TensorProto.UINT8, "picture": TensorProto.UINT8}


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)


def decode(inputs, outputs):
    options = {"height": 2, "width": 2, "fit": "stretch"}
    return helper.make_node("DecodePicture", inputs, outputs, name="decode", domain=HOST_DOMAIN, **options)


def select(inputs, outputs):
    return helper.make_node("SelectBoxes", inputs, outputs, name="select", domain=HOST_DOMAIN, limit=1)


def stage(nodes, inputs, outputs, weights=(), declared=()):
    def value(name):
        return helper.make_tensor_value_info(name, KINDS.get(name, TensorProto.FLOAT), None)

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


TO_BOX = [
    helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([1, 6, 2])), name="shape"),
    helper.make_node("Reshape", ["float", "shape"], ["raw"], name="reshape"),
]
"""Twelve colour values as two boxes of one class more than needed: rows are x, y, w, h, two scores."""

WHOLE = stage(
    [
        decode(["bytes"], ["picture"]),
        helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT, name="cast"),
        *TO_BOX,
        select(["raw"], ["best"]),
    ],
    ["bytes"],
    ["best"],
    [],
    ["picture", "raw"],
)
BEST = [[[-1.5, -0.5, 3.5, 6.5, 11.0, 1.0]]]
"""The second box: centre (1, 3), 5 wide, 7 high, score 11 for class 1."""


def test_leading_and_trailing_host_ops_are_parted_from_the_engine_s_nodes():
    first, middle, last = split_at_host_ops(WHOLE).segments
    assert isinstance(first, HostOp) and (first.dynamic_inputs, first.outputs) == (("bytes",), ("picture",))
    assert isinstance(middle, EngineSegment) and (middle.inputs, middle.outputs) == (("picture",), ("raw",))
    assert [node.name for node in middle.nodes] == ["cast", "shape", "reshape"]
    assert isinstance(last, HostOp) and last.dynamic_inputs == ("raw",)


def test_a_stage_with_host_ops_runs_like_any_other():
    session = OnnxRuntime().load(WHOLE)
    assert (session.inputs, session.outputs) == (("bytes",), ("best",))
    (best,) = session.run({"bytes": png(PIXELS)})
    np.testing.assert_array_equal(best, BEST)
    session.close()


def test_a_stage_may_be_host_ops_only():
    session = OnnxRuntime().load(stage([decode(["bytes"], ["picture"])], ["bytes"], ["picture"]))
    (picture,) = session.run({"bytes": png(PIXELS)})
    np.testing.assert_array_equal(picture, PIXELS[np.newaxis])


def test_host_ops_may_stand_anywhere_and_inputs_may_pass_through():
    """Level 0 feeds a host op, both feed level 2, and an input is handed out again untouched."""
    data = stage(
        [
            helper.make_node("Neg", ["x"], ["n"], name="neg"),
            helper.make_node("Identity", ["w"], ["w2"], name="fixed"),
            select(["n"], ["best"]),
            helper.make_node("ReduceSum", ["n"], ["sum"], keepdims=1, name="sum"),
            helper.make_node("Add", ["best", "sum"], ["y0"], name="add"),
            helper.make_node("Mul", ["y0", "w2"], ["y"], name="mul"),
        ],
        ["x"],
        ["y", "x", "n"],
        [("w", np.array([2], np.float32))],
        ["best"],
    )
    levels = [type(segment).__name__ for segment in split_at_host_ops(data).segments]
    assert levels == ["EngineSegment", "HostOp", "EngineSegment"]
    x = np.array([[[-1], [-1], [-2], [-2], [-9]]], np.float32)
    y, same, n = OnnxRuntime().load(data).run({"x": x})
    np.testing.assert_array_equal(y, [[[30, 30, 34, 34, 48, 30]]])
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(n, -x)


def test_captures_of_a_body_cross_between_segments():
    """The branches read the host op's output, which is no input of the If node itself."""
    then, other = (
        helper.make_graph(
            [helper.make_node("Cast", ["picture"], [f"{name}_f"], to=1), helper.make_node(kind, [f"{name}_f"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, kind in (("then", "Neg"), ("else", "Abs"))
    )
    data = stage(
        [
            decode(["bytes"], ["picture"]),
            helper.make_node("ReduceMax", ["picture"], ["max"], keepdims=0, name="max"),
            helper.make_node("Greater", ["max", "limit"], ["big"], name="greater"),
            helper.make_node("If", ["big"], ["y"], name="if", then_branch=then, else_branch=other),
        ],
        ["bytes"],
        ["y"],
        [("limit", np.array(5, np.uint8))],
        ["picture"],
    )
    session = OnnxRuntime().load(data)
    np.testing.assert_array_equal(session.run({"bytes": png(PIXELS)})[0], -PIXELS[np.newaxis].astype(np.float32))
    np.testing.assert_array_equal(session.run({"bytes": png(PIXELS // 4)})[0], PIXELS[np.newaxis] // 4)


def test_op_times_hold_host_ops_and_engine_nodes():
    session = OnnxRuntime().load(WHOLE, EngineOptions(profile=True))
    for _ in range(2):
        session.run({"bytes": png(PIXELS)})
    counts = {name: len(seconds) for name, seconds in session.op_times().items()}
    assert counts == {"decode": 2, "cast": 2, "reshape": 2, "select": 2}


def test_without_a_profile_nothing_is_kept_of_a_run():
    session = OnnxRuntime().load(WHOLE)
    for _ in range(2):
        session.run({"bytes": png(PIXELS)})
    first = session._parts[0]
    assert first.op_times() == {"decode": []}


def test_a_broken_picture_is_its_own_error_and_the_next_one_is_answered():
    session = OnnxRuntime().load(WHOLE)
    with pytest.raises(BadPicture):
        session.run({"bytes": np.zeros(9, np.uint8)})
    np.testing.assert_array_equal(session.run({"bytes": png(PIXELS)})[0], BEST)


def test_what_cannot_be_parted_is_a_bad_model():
    nodes = [decode(["bytes"], ["picture"]), helper.make_node("Neg", ["picture"], ["y"])]
    with pytest.raises(BadModel, match=r"'picture'.*value_info"):
        OnnxRuntime().load(stage(nodes, ["bytes"], ["y"]))
    unknown = helper.make_node("Frobnicate", ["bytes"], ["picture"], domain=HOST_DOMAIN)
    with pytest.raises(BadModel, match="Frobnicate"):
        OnnxRuntime().load(stage([unknown], ["bytes"], ["picture"]))
    with pytest.raises(BadModel, match="not an ONNX model"):
        OnnxRuntime().load(WHOLE[:-3])
