"""ONNX Runtime behind the port: what loads runs, what does not is a typed error that says what to change."""

import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutwater.errors import BadModel, BadTensor, InputError, StageFailed
from cutwater.frameworks.base import EngineOptions
from cutwater.frameworks.onnx import OnnxRuntime

OPSET = [helper.make_opsetid("", 17)]


def model_bytes(nodes, inputs, outputs, weights=(), opsets=OPSET):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights],
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


DOUBLER = model_bytes(
    [helper.make_node("Add", ["x", "x"], ["y"], name="add")],
    [("x", TensorProto.FLOAT, ["N", 3])],
    [("y", TensorProto.FLOAT, ["N", 3])],
)


@pytest.fixture
def doubler():
    session = OnnxRuntime().load(DOUBLER)
    yield session
    session.close()


def test_a_dynamic_dimension_takes_any_size(doubler):
    for rows in (1, 4):
        x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        (y,) = doubler.run({"x": x})
        np.testing.assert_array_equal(y, x + x)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 4), np.float32), r"input 'x' must be float32 \[N, 3\], not float32 \[2, 4\]"),
        (np.zeros(3, np.float32), r"input 'x' must be float32 \[N, 3\], not float32 \[3\]"),
        (np.zeros((2, 3)), r"input 'x' must be float32 \[N, 3\], not float64 \[2, 3\]"),
    ],
)
def test_a_wrong_tensor_is_refused_with_what_was_expected(doubler, value, message):
    with pytest.raises(BadTensor, match=message):
        doubler.run({"x": value})


def test_wrong_input_names_are_refused_with_the_right_ones(doubler):
    x = np.zeros((1, 3), np.float32)
    with pytest.raises(BadTensor, match="the inputs are 'x'; given were 'z'"):
        doubler.run({"z": x})
    with pytest.raises(BadTensor, match="given were 'x', 'z'"):
        doubler.run({"x": x, "z": x})


@pytest.mark.parametrize(
    ("onnx", "message"),
    [
        (b"", "cannot load the model"),
        (b"this is not a model", "protobuf parsing failed"),
        (DOUBLER[: len(DOUBLER) // 2], "cannot load the model"),
        (
            model_bytes(
                [helper.make_node("Frobnicate", ["x"], ["y"])],
                [("x", TensorProto.FLOAT, [1])],
                [("y", TensorProto.FLOAT, [1])],
            ),
            "Frobnicate",
        ),
        (
            model_bytes(
                [helper.make_node("Add", ["x", "i"], ["y"])],
                [("x", TensorProto.FLOAT, [1]), ("i", TensorProto.INT64, [1])],
                [("y", TensorProto.FLOAT, [1])],
            ),
            "bound to different types",
        ),
    ],
    ids=["empty", "text", "truncated", "unknown op", "mixed types"],
)
def test_what_does_not_load_is_a_bad_model(onnx, message):
    with pytest.raises(BadModel, match=message):
        OnnxRuntime().load(onnx)
    with pytest.raises(BadModel, match=message):
        OnnxRuntime().load(onnx, EngineOptions(profile=True))


def test_an_op_that_cannot_compute_is_a_failed_stage():
    reshape = model_bytes(
        [helper.make_node("Reshape", ["x", "shape"], ["y"], name="fold")],
        [("x", TensorProto.FLOAT, ["N"]), ("shape", TensorProto.INT64, [2])],
        [("y", TensorProto.FLOAT, [None, None])],
    )
    session = OnnxRuntime().load(reshape)
    feeds = {"x": np.zeros(5, np.float32), "shape": np.array([2, 3])}
    with pytest.raises(StageFailed, match="fold"):
        session.run(feeds)
    (y,) = session.run({"x": np.zeros(6, np.float32), "shape": np.array([2, 3])})
    assert y.shape == (2, 3), "the session must survive a request that failed"


def test_op_times_tell_each_run_of_each_op(doubler):
    with pytest.raises(InputError, match="profile"):
        doubler.op_times()
    session = OnnxRuntime().load(DOUBLER, EngineOptions(profile=True))
    for _ in range(3):
        session.run({"x": np.zeros((1, 3), np.float32)})
    times = session.op_times()
    assert set(times) == {"add"}
    assert len(times["add"]) == 3
    assert all(seconds >= 0 for seconds in times["add"])


def test_an_unknown_provider_is_refused_with_those_at_hand():
    with pytest.raises(InputError, match=r"available: .*CPUExecutionProvider"):
        OnnxRuntime(providers=("AbacusExecutionProvider",)).load(DOUBLER)


@pytest.mark.slow
def test_running_a_stage_needs_neither_onnx_nor_torch_nor_pillow():
    """An idle worker stays small because it imports only what runs stages."""
    script = (
        "import sys\n"
        "from cutwater.frameworks.onnx import OnnxRuntime\n"
        "OnnxRuntime().load(sys.stdin.buffer.read())\n"
        "print([name for name in ('onnx', 'torch', 'PIL') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", script], input=DOUBLER, capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"
