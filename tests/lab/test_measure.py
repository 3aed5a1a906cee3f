"""Measuring a tiny model: every number is there, adds up, and comes from the stage it claims to come from."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutwater.cut.lattice import build_lattice
from cutwater.cut.split import extract
from cutwater.errors import BadShape, BadTensor, CodecError
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.lab.activations import Activations, ends
from cutwater.lab.borders import measure_borders
from cutwater.lab.hops import measure_hops
from cutwater.lab.machine import measure_machine
from cutwater.lab.measure import measure_contention, measure_ops, measure_profile, measure_stages, refine
from cutwater.lab.memory import peak_memory
from cutwater.lab.timing import MeasureOptions, idle_memory, time_in_turn, usable_cores
from cutwater.profile.predict import stage_seconds
from cutwater.wire.codecs.registry import CODEC_NAMES

WIDTH = 64
QUICK = MeasureOptions(rounds=5, warmup=1, seconds=0.02)


def dense_chain(batch):
    """Four dense layers with activations that an optimiser fuses and renames."""
    rng = np.random.default_rng(7)
    nodes, weights = [], []
    for k in range(4):
        weights.append(numpy_helper.from_array(rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8, f"w{k}"))
        nodes.append(helper.make_node("MatMul", [f"t{k}", f"w{k}"], [f"m{k}"], name=f"dense{k}"))
        nodes.append(helper.make_node("Relu", [f"m{k}"], [f"t{k + 1}"], name=f"relu{k}"))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, WIDTH]) for name in ("t0", "t4")]
    graph = helper.make_graph(nodes, "dense", value[:1], value[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return build_graph(model_from_bytes(model.SerializeToString(), "dense"))


@pytest.fixture(scope="module")
def graph():
    return dense_chain("N")


@pytest.fixture(scope="module")
def cuts(graph):
    return build_lattice(graph).cuts


@pytest.fixture(scope="module")
def feeds():
    return {"t0": np.random.default_rng(1).standard_normal((1, WIDTH)).astype(np.float32)}


@pytest.mark.slow
def test_op_times_and_the_overhead_add_up_to_the_whole(graph, feeds):
    found = measure_ops(graph, feeds, QUICK)
    assert list(found.ops) == [op.name for op in graph.ops]
    assert sum(sample.median for sample in found.ops.values()) + found.overhead == pytest.approx(found.whole.median)
    assert all(sample.median >= 0 for sample in found.ops.values())
    assert 0 < found.overhead < found.whole.median


def test_a_batch_is_told_per_request_and_needs_a_dynamic_batch(graph, feeds):
    options = MeasureOptions(rounds=5, warmup=1, batch=4)
    assert Activations(graph, feeds, options).at(ends(graph)[0])["t0"].shape == (4, WIDTH)
    assert measure_ops(graph, feeds, options).whole.median > 0
    with pytest.raises(BadShape, match="fixed batch"):
        measure_profile(dense_chain(1), [feeds], options=options)


def test_activations_are_those_of_the_model(graph, cuts, feeds):
    activations = Activations(graph, feeds, QUICK)
    weights = {name: numpy_helper.to_array(tensor) for name, tensor in graph.model.weights.items()}
    expected = feeds["t0"]
    for k in range(4):
        expected = np.maximum(expected @ weights[f"w{k}"], 0)
        cut = next(cut for cut in cuts if cut.border == (f"t{k + 1}",))
        np.testing.assert_allclose(activations.at(cut)[f"t{k + 1}"], expected, rtol=1e-4, atol=1e-6)


def test_stages_are_measured_where_they_were_cut(graph, cuts, feeds):
    spans = [(cuts[0], cuts[1]), (cuts[1], cuts[-1])]
    found = measure_stages(graph, spans, feeds, QUICK)
    assert [times.span for times in found] == spans
    assert all(times.seconds.median > 0 and times.seconds.rounds >= 5 for times in found)


def test_wrong_inputs_are_refused(graph):
    with pytest.raises(BadTensor, match="'t0'"):
        measure_ops(graph, {"t0": np.zeros((1, 3), np.float32)}, QUICK)


@pytest.mark.slow
def test_every_codec_has_a_size_times_and_an_error(graph, cuts, feeds):
    cut = cuts[1]
    found = {sample.codec: sample for sample in measure_borders(graph, [cut], CODEC_NAMES, [feeds, feeds], QUICK)}
    assert set(found) == set(CODEC_NAMES)
    assert found["raw"].nbytes == cut.border_bytes
    assert found["raw"].error == found["raw"].encode == found["raw"].decode == 0
    assert found["float16"].nbytes == cut.border_bytes / 2
    assert 0 < found["float16"].error < 2e-3 < found["int8"].error < 0.1
    assert all(sample.encode >= 0 and sample.decode >= 0 for sample in found.values())
    assert found["int8+zstd"].encode > 0


def test_a_codec_that_cannot_carry_the_values_is_left_out(graph, cuts):
    endless = {"t0": np.full((1, WIDTH), np.inf, np.float32)}
    found = measure_borders(graph, cuts[:1], ["raw", "int8"], [endless], QUICK)
    assert [sample.codec for sample in found] == ["raw"]
    with pytest.raises(CodecError, match="int7"):
        measure_borders(graph, cuts[:1], ["int7"], [endless], QUICK)


@pytest.fixture(scope="module")
def told():
    """What was said while `profile` was measured."""
    return []


@pytest.fixture(scope="module")
def profile(graph, cuts, feeds, told):
    codecs = ["raw", "int8"]
    return measure_profile(graph, [feeds], cuts[1:2], codecs, QUICK, lambda what, share: told.append((what, share)))


@pytest.mark.slow
def test_a_profile_learns_from_the_stages_of_a_plan(graph, cuts, feeds, profile, told):
    assert {sample.codec for sample in profile.borders} == {"raw", "int8"}
    assert {sample.codec for sample in profile.borders if sample.cut == "0"} == {"raw", "int8"}, "the input's as well"
    assert profile.model_hash == graph.hash and profile.contention >= 1
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1

    span = (cuts[1], cuts[2])
    better = refine(profile, graph, [span], feeds, QUICK)
    assert len(better.stages) == len(profile.stages) + 1
    assert better.stages[-1].predicted == pytest.approx(stage_seconds(profile, graph, *span))
    again = refine(better, graph, [span], feeds, QUICK)
    assert len(again.stages) == len(better.stages), "the same stage replaces its older measurement"


@pytest.mark.slow
@pytest.mark.skipif(len(usable_cores()) < 2, reason="contention needs a second core")
def test_while_busy_the_other_cores_run_the_same_work(graph, cuts, feeds):
    before = usable_cores()
    assert measure_contention(graph, feeds, QUICK) >= 1
    (found,) = measure_stages(graph, [(cuts[0], cuts[1])], feeds, QUICK, busy=True)
    assert found.seconds.median > 0
    assert usable_cores() == before, "the measuring thread may use all cores again"


@pytest.mark.slow
def test_an_idle_worker_stays_under_150_mb():
    assert 20e6 < idle_memory() < 150e6


def test_peak_memory_sees_what_was_there_only_for_a_moment():
    with peak_memory() as peak:
        block = np.ones(32 * 2**20, np.uint8)
        del block
    assert 30e6 < peak.added < 80e6


def test_the_machine_is_described_for_people():
    found = measure_machine(MeasureOptions(threads=1, batch=2))
    assert found.device.endswith(f"{found.cores} cores") and len(found.device) > len("2 cores")
    assert (found.threads, found.batch, found.busy_cores) == (1, 2, found.cores - 1)
    assert found.versions["onnxruntime"]


@pytest.mark.slow
def test_the_stages_of_a_plan_are_measured_as_they_will_run(graph, cuts, feeds, profile):
    spans = [(cuts[0], cuts[2]), (cuts[2], cuts[-1])]
    learnt = refine(profile, graph, spans, feeds, QUICK, as_run=True)
    assert [(int(s.begin, 16), int(s.end, 16)) for s in learnt.stages] == [(a.before, b.before) for a, b in spans]
    assert all(stage.as_run for stage in learnt.stages)
    for (begin, end), stage in zip(spans, learnt.stages, strict=True):
        assert stage_seconds(learnt, graph, begin, end) == pytest.approx(stage.seconds.median, rel=0.05)


@pytest.mark.slow
def test_sessions_in_turn_get_as_many_rounds_each_as_asked_for(graph, feeds):
    stage = extract(graph, *ends(graph))
    sessions = [QUICK.framework.load(stage.onnx, QUICK.engine) for _ in range(2)]
    found = time_in_turn(sessions, [feeds, feeds], QUICK)
    assert found[0].rounds == found[1].rounds >= QUICK.rounds
    assert all(sample.median > 0 for sample in found)


@pytest.mark.slow
def test_a_hop_costs_more_for_more_bytes():
    costs = measure_hops()
    assert costs.send == costs.receive
    assert costs.send.fixed + costs.send.per_byte > 0
    assert costs.local.latency >= 0
    assert costs.local.bandwidth > 1e7
