"""What was spent on frames is charged once: by the plan's score, and by a simulated run of the plan."""

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from cutwater.cut.lattice import build_lattice
from cutwater.drivers.sim.pipeline import SimPipeline
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.lab.hops import Passage, hop_costs, known_hops
from cutwater.lab.machine import measure_machine
from cutwater.lab.planning import fleet_here
from cutwater.lab.profiles import profile_for
from cutwater.lab.timing import MeasureOptions
from cutwater.plan.build import build_problem
from cutwater.plan.objective import Objective
from cutwater.plan.problem import Limits
from cutwater.plan.solve import make_plan
from cutwater.profile.files import load_profile, save_profile
from cutwater.profile.profile import Conditions, Profile, Sample
from cutwater.services.speed import conditions

SMALL = Passage(nbytes=4_000, workers=1000e-6, gateway=300e-6, between=250e-6)
LARGE = Passage(nbytes=1_000_000, workers=1000e-6, gateway=300e-6, between=250e-6)
COMPUTING = 3e-3
"""Of the whole model."""


def three_ops():
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    names = ("x", "a", "b", "y")
    nodes = [helper.make_node("Neg", [names[k]], [names[k + 1]], name=f"neg_{k}") for k in range(3)]
    graph = helper.make_graph(nodes, "three", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return build_graph(model_from_bytes(model.SerializeToString(), "three"))


def profile_of(graph) -> Profile:
    costs = hop_costs(SMALL, LARGE)
    each = Sample(median=COMPUTING / 3, spread=0.0, rounds=9)
    return Profile(
        model=graph.name,
        model_hash=graph.hash,
        conditions=Conditions(
            device="a machine",
            cores=8,
            threads=1,
            batch=1,
            busy_cores=0,
            versions={},
            measured_at="2024-01-01T00:00:00Z",
        ),
        ops={op.name: each for op in graph.ops},
        whole=Sample(median=COMPUTING, spread=0.0, rounds=9),
        stage_overhead=0.0,
        contention=1.0,
        send=costs.send,
        receive=costs.receive,
        entrance=costs.entrance,
        local=costs.local,
    )


@pytest.fixture(scope="module")
def graph():
    return three_ops()


@pytest.fixture(scope="module")
def profile(graph):
    return profile_of(graph)


@pytest.fixture(scope="module")
def plan(graph, profile):
    lattice = build_lattice(graph, collapse=False)
    problem = build_problem(
        lattice, profile, fleet_here(profile, 3), limits=Limits(min_stages=3, max_stages=3), codecs=("raw",)
    )
    return make_plan(problem, Objective("throughput"))


def test_the_stages_of_a_plan_are_charged_what_its_workers_spent_and_no_more(plan):
    assert sum(stage.transfer_cpu for stage in plan.score.stages) == pytest.approx(SMALL.workers)
    first, middle, last = plan.score.stages
    assert first.transfer_cpu == middle.transfer_cpu == pytest.approx(2 * last.transfer_cpu)


def test_a_request_waits_for_every_end_once_and_for_six_ways_between_them(plan, profile):
    # From stage to stage 250 us: two ends of 100 us each, and 50 us on the way.
    assert profile.local is not None
    assert profile.local.latency == pytest.approx(50e-6)
    assert plan.score.latency == pytest.approx(COMPUTING + SMALL.workers + SMALL.gateway + 6 * 50e-6, rel=1e-3)


def test_a_simulated_request_takes_as_long_as_the_plan_says(plan, profile):
    pipeline = SimPipeline(plan, fleet=fleet_here(profile, 3), profile=profile)
    pipeline.offer([1.0])
    pipeline.world.settle(pipeline.world.clock.now + 10.0)
    (asking,) = pipeline.world.askings
    assert asking.latency == pytest.approx(plan.score.latency, rel=1e-3)


def test_what_was_measured_on_this_machine_is_not_measured_again(tmp_path):
    costs = hop_costs(SMALL, LARGE)
    (tmp_path / "hops.json").write_bytes(msgspec.json.encode({conditions(): costs}))
    assert known_hops(tmp_path) == costs


@pytest.mark.slow
def test_a_profile_from_before_the_gateways_ends_were_measured_is_measured_again(graph, profile, tmp_path):
    (tmp_path / "hops.json").write_bytes(msgspec.json.encode({conditions(): hop_costs(SMALL, LARGE)}))
    requests = [{"x": np.zeros((1, 64), np.float32)}]
    options = MeasureOptions(rounds=5, warmup=1, seconds=0.02)
    kept = msgspec.structs.replace(profile, conditions=measure_machine(options), stage_overhead=1.0)
    path = tmp_path / f"three-{graph.hash[:12]}-t1-b1.profile.yaml"
    save_profile(kept, path)
    assert profile_for(graph, requests, tmp_path, options=options) == load_profile(path)
    save_profile(msgspec.structs.replace(kept, entrance=None), path)
    again = profile_for(graph, requests, tmp_path, options=options)
    assert again.entrance is not None and again.stage_overhead < 1.0
    assert profile_for(graph, requests, tmp_path, options=options) == load_profile(path)
