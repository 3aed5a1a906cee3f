"""Small models with the shapes of trouble: several live tensors, control flow, recurrences, shapes that cross a cut."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

NEWEST = min(onnx.defs.onnx_opset_version(), 24)

Dims = Sequence[int | str]


def weight(name: str, *shape: int, seed: int = 0) -> TensorProto:
    values = np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(
    nodes: list[NodeProto],
    inputs: dict[str, Dims],
    outputs: list[str],
    weights: Sequence[TensorProto] = (),
    opset: int = 13,
    dtype: int = TensorProto.FLOAT,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(weights),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(made.SerializeToString())


def diamond(opset: int = 13) -> bytes:
    """x feeds three branches; the input itself is read again at the very end."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Sigmoid", ["x"], ["s"]),
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("Mul", ["r", "s"], ["m"]),
        helper.make_node("Add", ["m", "t"], ["a"]),
        helper.make_node("Sub", ["a", "x"], ["y"]),
    ]
    return model(nodes, {"x": ["batch", 4, 6, 6]}, ["y"], [weight("w", 4, 4, 3, 3)], opset)


def shared_weight() -> bytes:
    """One matrix is used by the first and by the last op."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    return model(nodes, {"x": ["batch", 8]}, ["y"], [weight("w", 8, 8)])


def early_output() -> bytes:
    """A result of the first op is an output, another is only needed at the end."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["early"]),
        helper.make_node("Relu", ["early"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["late"]),
    ]
    return model(nodes, {"x": ["batch", 8]}, ["late", "early"], [weight("w", 8, 8), weight("b", 8)])


def live_shape() -> bytes:
    """The size of the input, an int64 tensor, is needed long after the input is gone."""
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["g"]),
        helper.make_node("Reshape", ["g", "size"], ["y"]),
    ]
    return model(nodes, {"x": ["batch", 4, 2, 3]}, ["y"], [weight("w", 24, 24)])


def constant_chain() -> bytes:
    """A weight is made by ops that depend on no input; two stages need it."""
    nodes = [
        helper.make_node("ConstantOfShape", ["dims"], ["ones"], value=helper.make_tensor("v", 1, [1], [0.5])),
        helper.make_node("Transpose", ["w"], ["wt"]),
        helper.make_node("Add", ["wt", "ones"], ["k"]),
        helper.make_node("MatMul", ["x", "k"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "k"], ["y"]),
    ]
    return model(nodes, {"x": ["batch", 6]}, ["y"], [weight("w", 6, 6), ints("dims", 6, 6)])


def branch() -> bytes:
    """An If whose bodies capture a tensor made early and a weight."""
    then = helper.make_graph(
        [helper.make_node("MatMul", ["early", "w"], ["yes"])],
        "then",
        [],
        [helper.make_tensor_value_info("yes", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["early"], ["no"])],
        "else",
        [],
        [helper.make_tensor_value_info("no", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["early"]),
        helper.make_node("Tanh", ["early"], ["t"]),
        helper.make_node("ReduceSum", ["t"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["z"], then_branch=then, else_branch=other),
        helper.make_node("Add", ["z", "t"], ["y"]),
    ]
    zero = numpy_helper.from_array(np.array(0.0, np.float32), "zero")
    return model(nodes, {"x": [2, 8]}, ["y"], [weight("w", 8, 8), zero])


def loop() -> bytes:
    """A Loop that adds an outer tensor three times."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["state", "outer"], ["next"]),
            helper.make_node("Identity", ["go"], ["going"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 8]),
        ],
        [
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 8]),
        ],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["outer"]),
        helper.make_node("MatMul", ["x", "w"], ["start"]),
        helper.make_node("Loop", ["times", "", "start"], ["end"], body=body),
        helper.make_node("Tanh", ["end"], ["y"]),
    ]
    times = numpy_helper.from_array(np.array(3, np.int64), "times")
    return model(nodes, {"x": [2, 8]}, ["y"], [weight("w", 8, 8), times])


def recurrent() -> bytes:
    """An LSTM of which the sequence and the last state are both used."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r"], ["all", "last"], hidden_size=5),
        helper.make_node("Squeeze", ["all", "axis"], ["sequence"]),
        helper.make_node("Squeeze", ["last", "zero"], ["state"]),
        helper.make_node("Add", ["sequence", "state"], ["y"]),
    ]
    weights = [weight("w", 1, 20, 3), weight("r", 1, 20, 5, seed=1), ints("axis", 1), ints("zero", 0)]
    return model(nodes, {"x": ["batch", 7, 3]}, ["y"], weights)


TINY = {
    "diamond": diamond(),
    "diamond-opset-9": diamond(9),
    "diamond-newest": diamond(NEWEST),
    "shared-weight": shared_weight(),
    "early-output": early_output(),
    "live-shape": live_shape(),
    "constant-chain": constant_chain(),
    "branch": branch(),
    "loop": loop(),
    "recurrent": recurrent(),
}
