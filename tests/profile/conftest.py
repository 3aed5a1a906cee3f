"""A chain of five ops and its profile, small enough to reckon by hand."""

import pytest
from onnx import TensorProto, helper

from cutwater.cut.cut import Cut
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.profile.profile import Conditions, Profile, Sample

SECONDS = [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.fixture
def graph():
    nodes = [helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"], name=f"op{i}") for i in range(5)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("t0", "t5")]
    body = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return build_graph(model_from_bytes(model.SerializeToString(), "chain"))


@pytest.fixture
def profile(graph):
    return Profile(
        model=graph.name,
        model_hash=graph.hash,
        conditions=Conditions(
            device="abacus", cores=2, threads=1, batch=1, busy_cores=1, versions={"python": "3.11"}, measured_at="now"
        ),
        ops={f"op{i}": Sample(seconds, seconds / 10, 7) for i, seconds in enumerate(SECONDS)},
        whole=Sample(31.5, 0.25, 7),
        stage_overhead=0.5,
        contention=1.25,
    )


@pytest.fixture
def cut_at(graph):
    """Cut after the first so many ops of the chain."""

    def cut(count):
        return Cut((1 << count) - 1, (f"t{count}",), 16, 0, 0, f"after {count}")

    return cut
