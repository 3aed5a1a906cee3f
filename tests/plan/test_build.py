"""A graph, a profile and a fleet become the arrays that solvers see."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.errors import BadFile
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.plan.build import build_problem
from cutwater.plan.fleet import Fleet, Link, Node, local_fleet
from cutwater.plan.objective import Objective
from cutwater.plan.solve import make_plan
from cutwater.profile.profile import BorderSample, Conditions, FrameCost, Profile, Sample
from cutwater.report.tables import plan_summary
from cutwater.units import NodeId

SECONDS = [0.001, 0.002, 0.004]


@pytest.fixture
def lattice() -> Lattice:
    """Three ops in a row, every tensor 400 bytes."""
    nodes = [helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"], name=f"op{i}") for i in range(3)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 100]) for name in ("t0", "t3")]
    body = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return build_lattice(build_graph(model_from_bytes(model.SerializeToString(), "chain")), collapse=False)


@pytest.fixture
def profile(lattice: Lattice) -> Profile:
    return Profile(
        model=lattice.graph.name, model_hash=lattice.graph.hash,
        conditions=Conditions(
            device="abacus", cores=2, threads=1, batch=1, busy_cores=1, versions={}, measured_at="now"
        ),
        ops={f"op{i}": Sample(seconds, 0.0, 7) for i, seconds in enumerate(SECONDS)},
        whole=Sample(0.0075, 0.0, 7), stage_overhead=0.0005, contention=1.25,
        borders=(
            BorderSample(cut="1", codec="int8", nbytes=100.0, encode=4e-6, decode=2e-6, error=0.01),
            BorderSample(cut="3", codec="raw+zstd", nbytes=200.0, encode=8e-6, decode=4e-6, error=0.0),
        ),
        send=FrameCost(fixed=1e-5), receive=FrameCost(fixed=2e-5), base_memory=1000,
    )  # fmt: skip


FLEET = Fleet(
    nodes=(Node(name=NodeId("near")), Node(name=NodeId("far"), speed=4.0, memory=10_000)),
    source=NodeId("near"),
    default=Link(bandwidth=1e6, latency=0.001),
)


def test_a_faster_node_takes_less_time_for_everything_it_does(lattice: Lattice, profile: Profile) -> None:
    p = build_problem(lattice, profile, FLEET, budget=0.05)
    assert p.prefix[0] == pytest.approx([0, 0.001, 0.003, 0.007])
    assert p.prefix[1] == pytest.approx(p.prefix[0] / 4)
    assert p.overhead == pytest.approx([0.0005, 0.000125])
    assert p.send_fixed[1, 0] == pytest.approx(2.5e-6)
    assert p.receive_fixed[1, 0] == pytest.approx(2e-5)
    assert p.memory.tolist() == [np.inf, 10_000.0]
    assert p.returns


def test_borders_that_were_not_measured_get_the_codecs_mean_ratio(lattice: Lattice, profile: Profile) -> None:
    p = build_problem(lattice, profile, FLEET, budget=0.05)
    assert p.codecs == ("raw", "int8", "raw+zstd")
    assert p.size.tolist() == [[400.0] * 4, [100.0] * 4, [200.0] * 4]
    assert p.encode[1, 1] == pytest.approx(1e-6)


def test_the_accuracy_budget_decides_which_codecs_are_allowed(lattice: Lattice, profile: Profile) -> None:
    assert build_problem(lattice, profile, FLEET).allowed.all(axis=1).tolist() == [True, False, True]
    assert build_problem(lattice, profile, FLEET, budget=0.01).allowed.all()


def test_profiles_must_be_at_hand_and_of_this_model(lattice: Lattice, profile: Profile) -> None:
    elsewhere = replace(FLEET, nodes=(FLEET.nodes[0], replace(FLEET.nodes[1], profile="far.json")))
    with pytest.raises(BadFile, match=r"names the profile 'far\.json'; did you mean 'fa\.json'"):
        build_problem(lattice, profile, elsewhere, profiles={"fa.json": profile})
    with pytest.raises(BadFile, match="another model"):
        build_problem(lattice, Profile(**{**_fields(profile), "model_hash": "0"}), FLEET)


def test_workers_of_one_machine_are_of_one_kind(lattice: Lattice, profile: Profile) -> None:
    p = build_problem(lattice, profile, local_fleet(3, 2))
    assert p.types == ((1, 2, 3),)
    plan = make_plan(p, Objective("throughput"))
    assert plan.gap == 0.0
    assert plan.source == "gateway"


def _fields(profile: Profile) -> dict[str, object]:
    return {name: getattr(profile, name) for name in profile.__struct_fields__}


def test_a_plan_says_when_it_is_the_best_of_a_selection_of_cuts_only(lattice: Lattice, profile: Profile) -> None:
    for made, words in ((lattice, "optimal (no plan exceeds"), (replace(lattice, complete=False), "among the cuts")):
        plan = make_plan(build_problem(made, profile, FLEET), Objective("throughput"))
        assert plan.complete == made.complete
        assert words in plan_summary(plan)
