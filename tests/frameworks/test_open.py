"""Opening a model: what shape inference cannot tell, a run does."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutwater.errors import BadShape
from cutwater.frameworks.open import observe_shapes, open_graph
from cutwater.graph.model import read_model


def save(path, nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def sifting(tmp_path):
    """Keeps the positive numbers: how many there are is in the data only."""
    return save(
        tmp_path / "sift.onnx",
        [
            helper.make_node("Greater", ["x", "zero"], ["positive"], name="greater"),
            helper.make_node("Compress", ["x", "positive"], ["kept"], name="compress"),
            helper.make_node("Neg", ["kept"], ["y"], name="neg"),
        ],
        [("x", ["N"])],
        [("y", ["positives"])],
        [("zero", np.array(0, np.float32))],
    )


def test_a_size_that_depends_on_the_data_is_seen_in_a_run(sifting):
    x = np.array([1, -1, 2, 3], np.float32)
    seen = observe_shapes(read_model(sifting), {"N": 4}, {"x": x})
    assert seen == {"kept": ("float32", (3,)), "y": ("float32", (3,))}


def test_opening_observes_by_itself_and_the_same_each_time(sifting):
    graph = open_graph(sifting, {"N": 100})
    assert [op.name for op in graph.ops] == ["greater", "compress", "neg"]
    assert 30 < graph.tensors["kept"].shape[0] < 70
    assert open_graph(sifting, {"N": 100}) == graph


def test_nothing_is_run_where_inference_knows_all(tmp_path):
    path = save(tmp_path / "neg.onnx", [helper.make_node("Neg", ["x"], ["y"])], [("x", [2])], [("y", [2])])
    assert observe_shapes(read_model(path)) == {}
    assert open_graph(path).tensors["y"].shape == (2,)


def test_sizes_at_which_the_model_does_not_run_are_refused(tmp_path):
    path = save(
        tmp_path / "halves.onnx",
        [
            helper.make_node("Greater", ["x", "zero"], ["positive"]),
            helper.make_node("Compress", ["x", "positive"], ["kept"]),
            helper.make_node("Reshape", ["x", "pairs"], ["rows"], name="pair up"),
            helper.make_node("Add", ["rows", "kept"], ["y"]),
        ],
        [("x", ["width"])],
        [("y", ["rows", 2])],
        [("zero", np.array(0, np.float32)), ("pairs", np.array([-1, 2]))],
    )
    with pytest.raises(BadShape, match=r"halves\.onnx: does not run at these sizes: .*pair up"):
        open_graph(path, {"width": 7})
