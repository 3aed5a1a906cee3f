"""Small seeded graphs with memory and control flow: an LSTM; a Loop and an If that capture outer tensors."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from cutwater.zoo.builder import BATCH, GraphBuilder
from cutwater.zoo.seeded import LINEAR_GAIN, Seeded

STEPS = 16
WIDTH = 32
HIDDEN = 48
CLASSES = 10


def build_lstm(seed: int = 1) -> onnx.ModelProto:
    """Float32 ``frames`` [batch, 16, 32] -> ``logits`` [batch, 10] through a two-layer LSTM's last hidden state."""
    graph, weights = GraphBuilder("lstm"), Seeded(seed)
    x = graph.op("Transpose", graph.input("frames", [BATCH, STEPS, WIDTH]), perm=[1, 0, 2])
    width = WIDTH
    for layer in range(2):
        with graph.scope(f"lstm.{layer}"):
            kernel = graph.weight(weights.normal(1, 4 * HIDDEN, width, scale=width**-0.5), "W")
            recurrent = graph.weight(weights.normal(1, 4 * HIDDEN, HIDDEN, scale=HIDDEN**-0.5), "R")
            every, last = graph.ops("LSTM", x, kernel, recurrent, outputs=2, hidden_size=HIDDEN)
            x = graph.op("Squeeze", every, graph.constant([1], np.int64))
            width = HIDDEN
    with graph.scope("classifier"):
        last = graph.op("Squeeze", last, graph.constant([0], np.int64))
        return graph.finish(logits=graph.classify(last, *weights.linear(CLASSES, HIDDEN)))


def build_control_flow(seed: int = 3) -> onnx.ModelProto:
    """Float32 ``x`` [1, 32] -> ``y`` [1, 32]: a Loop, then an If; both capture outer tensors."""
    graph, weights = GraphBuilder("control_flow"), Seeded(seed)
    x = graph.input("x", [1, WIDTH])
    with graph.scope("before"):
        state = graph.op("Tanh", graph.linear(x, *weights.linear(WIDTH, WIDTH)))
        captured = graph.op("Sigmoid", graph.linear(x, *weights.linear(WIDTH, WIDTH)))
    with graph.scope("loop"):
        trips = graph.constant(4, np.int64)
        step = graph.weight(weights.linear(WIDTH, WIDTH, LINEAR_GAIN)[0])
        state = graph.op("Loop", trips, "", state, body=_loop_body(captured, step))
    with graph.scope("choose"):
        positive = graph.op("Greater", graph.op("ReduceMean", state, keepdims=0), graph.constant(0.0))
        chosen = graph.op("If", positive, then_branch=_branch("Add", state, captured),
                          else_branch=_branch("Sub", state, captured))  # fmt: skip
    with graph.scope("after"):
        return graph.finish(y=graph.linear(chosen, *weights.linear(WIDTH, WIDTH)))


def _loop_body(captured: str, step: str) -> onnx.GraphProto:
    nodes = [
        helper.make_node("MatMul", ["state_in", step], ["turned"]),
        helper.make_node("Mul", ["turned", captured], ["gated"]),
        helper.make_node("Tanh", ["gated"], ["state_out"]),
        helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
    ]
    row = [1, WIDTH]
    inputs = [
        helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
        helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
        helper.make_tensor_value_info("state_in", TensorProto.FLOAT, row),
    ]
    outputs = [
        helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
        helper.make_tensor_value_info("state_out", TensorProto.FLOAT, row),
    ]
    return helper.make_graph(nodes, "body", inputs, outputs)


def _branch(kind: str, left: str, right: str) -> onnx.GraphProto:
    out = f"{kind.lower()}_result"
    node = helper.make_node(kind, [left, right], [out])
    return helper.make_graph([node], kind, [], [helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, WIDTH])])
