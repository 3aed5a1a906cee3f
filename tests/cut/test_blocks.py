"""What is collapsed: each fusion ends up in one block, and nothing heavy is ever merged with something heavy."""

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from split_equals_whole import assert_bit_exact
from tiny_models import ints, model, weight

from cutwater.cut.blocks import collapse, single_ops
from cutwater.cut.lattice import build_lattice
from cutwater.graph.graph import Graph
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph

N = helper.make_node
WEIGHTS = [weight(name, 64, 64, 1, 1) for name in ("w", "v")]


def graph_of(nodes: list[NodeProto], opset: int = 17, shape: tuple[int | str, ...] = ("batch", 64, 16, 16)) -> Graph:
    extra = [weight("vector", 64), numpy_helper.from_array(np.float32(2), "two"), ints("last", -1), ints("zero", 0)]
    extra += [weight("square", 64, 64), ints("minus", -1)]
    return build_graph(model_from_bytes(model(nodes, {"x": shape}, ["y"], [*WEIGHTS, *extra], opset), "tiny"))


def kinds(graph: Graph) -> list[str]:
    return [" ".join(block.kinds) for block in collapse(graph)]


def test_activations_stay_with_the_convolution_before_them() -> None:
    nodes = [
        N("Conv", ["x", "w"], ["a"]),
        N("BatchNormalization", ["a", "vector", "vector", "vector", "vector"], ["b"]),
        N("Relu", ["b"], ["c"]),
        N("Conv", ["c", "v"], ["d"]),
        N("Sigmoid", ["d"], ["e"]),
        N("Mul", ["d", "e"], ["f"]),
        N("Conv", ["f", "w"], ["g"]),
        N("HardSwish", ["g"], ["y"]),
    ]
    assert kinds(graph_of(nodes)) == ["Conv BatchNormalization Relu", "Conv Sigmoid Mul", "Conv HardSwish"]


@pytest.mark.parametrize("side", [16, 7])
def test_a_mean_that_scales_the_channels_stays_with_the_convolution_it_is_taken_of(side: int) -> None:
    """Engines pool in the layout of the convolution; parted from it, they sum in another order."""
    nodes = [
        N("Conv", ["x", "w"], ["a"]),
        N("GlobalAveragePool", ["a"], ["b"]),
        N("Conv", ["b", "v"], ["c"]),
        N("HardSigmoid", ["c"], ["d"]),
        N("Mul", ["a", "d"], ["y"]),
    ]
    assert kinds(graph_of(nodes, shape=("batch", 64, side, side))) == ["Conv GlobalAveragePool", "Conv HardSigmoid Mul"]


def test_a_residual_ends_with_its_addition() -> None:
    nodes = [
        N("Conv", ["x", "w"], ["a"]),
        N("Relu", ["a"], ["b"]),
        N("Conv", ["b", "v"], ["c"]),
        N("Add", ["c", "x"], ["d"]),
        N("Relu", ["d"], ["e"]),
        N("Conv", ["e", "w"], ["y"]),
    ]
    assert kinds(graph_of(nodes)) == ["Conv Relu", "Conv Add Relu", "Conv"]


def test_a_layer_norm_in_pieces_belongs_to_what_reads_it() -> None:
    nodes = [
        N("MatMul", ["x", "square"], ["t"]),
        N("ReduceMean", ["t"], ["mean"], axes=[-1]),
        N("Sub", ["t", "mean"], ["centred"]),
        N("Pow", ["centred", "two"], ["squared"]),
        N("ReduceMean", ["squared"], ["variance"], axes=[-1]),
        N("Sqrt", ["variance"], ["deviation"]),
        N("Div", ["centred", "deviation"], ["normed"]),
        N("MatMul", ["normed", "square"], ["m"]),
        N("Add", ["m", "t"], ["y"]),
    ]
    graph = graph_of(nodes, shape=("batch", 50, 64))
    assert kinds(graph) == ["MatMul", "ReduceMean Sub Pow ReduceMean Sqrt Div MatMul Add"]


def test_a_gelu_in_pieces_belongs_to_what_makes_its_input() -> None:
    nodes = [
        N("MatMul", ["x", "square"], ["t"]),
        N("Div", ["t", "two"], ["a"]),
        N("Erf", ["a"], ["b"]),
        N("Add", ["b", "two"], ["c"]),
        N("Mul", ["t", "c"], ["d"]),
        N("MatMul", ["d", "square"], ["y"]),
    ]
    assert kinds(graph_of(nodes, shape=("batch", 50, 64))) == ["MatMul Div Erf Add Mul", "MatMul"]


def test_arithmetic_on_shapes_is_not_left_alone() -> None:
    nodes = [
        N("Conv", ["x", "w"], ["a"]),
        N("Shape", ["a"], ["size"]),
        N("Gather", ["size", "zero"], ["count"]),
        N("Concat", ["count", "minus"], ["target"], axis=0),
        N("Reshape", ["a", "target"], ["b"]),
        N("Softmax", ["b"], ["y"]),
    ]
    assert kinds(graph_of(nodes)) == ["Conv Shape Gather Concat Reshape Softmax"]


def test_quantising_stays_with_what_it_quantises() -> None:
    nodes = [
        N("Conv", ["x", "w"], ["a"]),
        N("DynamicQuantizeLinear", ["a"], ["codes", "scale", "point"]),
        N("DequantizeLinear", ["codes", "scale", "point"], ["b"]),
        N("Conv", ["b", "v"], ["y"]),
    ]
    assert kinds(graph_of(nodes)) == ["Conv DynamicQuantizeLinear", "DequantizeLinear Conv"]


def test_a_border_that_shrinks_stays_a_place_to_cut() -> None:
    """Cutting before an upsampling is four times cheaper than after it."""
    nodes = [
        N("Conv", ["x", "w"], ["a"]),
        N("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
        N("Conv", ["b", "v"], ["y"]),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    made = model(nodes, {"x": ["batch", 64, 16, 16]}, ["y"], [*WEIGHTS, scales], 17)
    assert kinds(build_graph(model_from_bytes(made, "up"))) == ["Conv", "Resize Conv"]


def test_host_ops_are_never_taken_for_cheap() -> None:
    nodes = [N("Relu", ["x"], ["a"], domain="ai.cutwater.vision"), N("Conv", ["a", "w"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "host",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64, 16, 16])],
        WEIGHTS[:1],
        value_info=[helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 64, 16, 16])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.cutwater.vision", 1)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8)
    assert kinds(build_graph(model_from_bytes(made.SerializeToString(), "host"))) == ["Relu", "Conv"]


@pytest.mark.parametrize("collapsed", [True, False])
def test_values_that_cannot_travel_never_cross(collapsed: bool) -> None:
    nodes = [
        N("Conv", ["x", "w"], ["a"]),
        N("SplitToSequence", ["a"], ["pieces"], axis=1, keepdims=1),
        N("Tanh", ["a"], ["t"]),
        N("ConcatFromSequence", ["pieces"], ["b"], axis=1),
        N("Conv", ["b", "v"], ["c"]),
        N("Add", ["c", "t"], ["y"]),
    ]
    made = model(nodes, {"x": [1, 64, 4, 4]}, ["y"], WEIGHTS, 17)
    graph = build_graph(model_from_bytes(made, "sequence"), None, {"b": ("float32", (1, 64, 4, 4))})
    lattice = build_lattice(graph, collapse=collapsed)
    assert all("pieces" not in cut.border for cut in lattice.cuts)
    assert_bit_exact(graph, made, [[lattice.cuts[0], *lattice.cuts[1:-1][:1], lattice.cuts[-1]]])


def test_without_collapse_every_op_is_a_block() -> None:
    graph = graph_of([N("Conv", ["x", "w"], ["a"]), N("Relu", ["a"], ["y"])])
    assert [block.ops for block in single_ops(graph)] == [1, 2]
