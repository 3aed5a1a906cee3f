"""Stages small enough to know by heart: each negates, or gathers, what it is given."""

from collections.abc import Callable

import pytest
from onnx import NodeProto, TensorProto, helper

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.stage import Stage
from cutwater.graph.graph import Tensor

MakeStage = Callable[..., Stage]


def _stage(k: int, op: str = "Neg", width: int = 4, nodes: list[NodeProto] | None = None) -> Stage:
    """The ``k``-th of a chain over float32 tensors "t0", "t1", ... of shape (batch, ``width``)."""
    names = (f"t{k}", f"t{k + 1}")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name in names]
    nodes = nodes or [helper.make_node(op, names[:1], names[1:])]
    graph = helper.make_graph(nodes, "stage", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    tensors = [Tensor(name, "float32", (1, width), 4 * width, 0) for name in names]
    cuts = [Cut(k + i, (name,), 4 * width, 0, 0, name) for i, name in enumerate(names)]
    data = model.SerializeToString()
    return Stage(*cuts, Form.RAW, Form.RAW, (tensors[0],), (tensors[1],), data, 0, 0, batchable=True, hash=str(k))


@pytest.fixture
def make_stage() -> MakeStage:
    return _stage
