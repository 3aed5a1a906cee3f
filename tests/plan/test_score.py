"""The cost model, by numbers small enough to add up by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cutwater.errors import NoPlan
from cutwater.plan.plan import CutRef
from cutwater.plan.problem import Choice, Limits, Problem, pack_masks
from cutwater.plan.score import score, tally
from cutwater.units import NodeId


def two_nodes() -> Problem:
    """input -10 ms- cut 1 -30 ms- output on "near" (the source); "far" is ten times faster, 1 MB/s and 2 ms away."""
    apart = 1.0 - np.eye(2)
    return Problem(
        model="toy", model_hash="0", nodes=(NodeId("near"), NodeId("far")), codecs=("raw", "half"),
        cuts=tuple(CutRef(before=at, label=label) for at, label in (("0", "input"), ("1", "middle"), ("3", "output"))),
        covers=((), (0,), (1,)), masks=pack_masks([0, 1, 3]),
        prefix=np.array([[0, 0.01, 0.04], [0, 0.001, 0.004]]), overhead=np.zeros(2), contention=np.ones(2),
        threads=np.ones(2, np.int64), runs=np.ones(2, bool), flops=np.array([0.0, 1e6, 4e6]),
        weight=np.array([0.0, 100.0, 300.0]), border=np.array([9000.0, 4000.0, 1000.0]),
        base_memory=np.full(2, 50.0), memory=np.full(2, np.inf),
        size=np.array([[9000.0, 4000.0, 1000.0], [4500.0, 2000.0, 500.0]]),
        encode=np.tile(np.array([[0.0] * 3, [0.0005] * 3]), (2, 1, 1)), decode=np.zeros((2, 2, 3)),
        allowed=np.array([[True] * 3, [True, True, False]]),
        latency=0.002 * apart, bandwidth=np.where(apart > 0, 1e6, np.inf),
        send_fixed=0.0001 * apart, send_per_byte=np.zeros((2, 2)), receive_fixed=0.0002 * apart,
        receive_per_byte=np.zeros((2, 2)), medium=np.full((2, 2), -1), host=np.full(2, -1), source=0, sink=0,
        limits=Limits(max_replicas=None),
    )  # fmt: skip


def test_a_stage_at_the_source_costs_nothing_but_its_compute() -> None:
    result = score(two_nodes(), Choice(((0,),), (0, 2), (0, 0)))
    assert (result.latency, result.throughput, result.bottleneck) == (0.04, 25.0, "node near")
    assert result.hops[0].nbytes == result.hops[1].back_bytes == 0


def test_a_request_pays_for_the_way_there_and_back() -> None:
    result = score(two_nodes(), Choice(((0,), (1,)), (0, 1, 2), (0, 1, 0)))
    there = 0.0005 + 0.0001 + 0.0002 + 0.002 + 2000 / 1e6
    back = 0.0001 + 0.0002 + 0.002 + 1000 / 1e6
    assert result.latency == pytest.approx(0.01 + there + 0.003 + back)
    near, far = result.stages
    assert near.busy == pytest.approx(0.01 + 0.0005 + 0.0001 + 0.0002)
    assert far.busy == pytest.approx(0.003 + 0.0002 + 0.0001)
    assert result.throughput == pytest.approx(1 / near.busy)
    assert result.traffic == {"near": 3000.0, "far": 3000.0}


def test_a_sink_elsewhere_gets_the_output_and_nothing_returns() -> None:
    result = score(replace(two_nodes(), sink=1), Choice(((0,),), (0, 2), (0, 0)))
    assert result.latency == pytest.approx(0.04 + 0.0001 + 0.0002 + 0.002 + 1000 / 1e6)
    assert [hop.back_bytes for hop in result.hops] == [0.0, 0.0]


def test_the_first_hop_counts_on_a_source_that_also_runs_a_later_stage() -> None:
    total = tally(two_nodes(), Choice(((1,), (0,)), (0, 1, 2), (0, 0, 0)))
    assert total.nodes[0] == pytest.approx(0.0003 + 0.03 + 0.0003)
    assert total.links == pytest.approx({(0, 1): 0.010, (1, 0): 0.005})


def test_replicas_share_the_work_but_not_the_latency() -> None:
    p = replace(two_nodes(), source=0)
    apart = 1.0 - np.eye(3)
    p = replace(
        p, nodes=(*p.nodes, NodeId("twin")), prefix=p.prefix[[0, 1, 1]], overhead=np.zeros(3), contention=np.ones(3),
        threads=np.ones(3, np.int64), runs=np.ones(3, bool), base_memory=np.full(3, 50.0), memory=np.full(3, np.inf),
        encode=p.encode[[0, 1, 1]], decode=np.zeros((3, 2, 3)), latency=0.002 * apart,
        bandwidth=np.where(apart > 0, 1e6, np.inf), send_fixed=0.0 * apart, send_per_byte=0.0 * apart,
        receive_fixed=0.0 * apart, receive_per_byte=0.0 * apart, medium=np.full((3, 3), -1), host=np.full(3, -1),
    )  # fmt: skip
    assert p.types == ((0,), (1, 2))
    alone = score(p, Choice(((1,),), (0, 2), (0, 0)))
    both = score(p, Choice(((1, 2),), (0, 2), (0, 0)))
    assert both.latency == alone.latency
    assert tally(p, Choice(((1, 2),), (0, 2), (0, 0))).nodes[2] == pytest.approx(0.002)
    assert both.throughput == pytest.approx(2 * alone.throughput)


def test_workers_on_one_host_slow_each_other_and_share_its_cores() -> None:
    p = replace(
        two_nodes(), host=np.zeros(2, np.int64), hosts=("box",), host_cores=np.array([1]), contention=np.full(2, 1.5)
    )
    total = tally(p, Choice(((0,), (1,)), (0, 1, 2), (0, 0, 0)))
    assert total.nodes == pytest.approx({0: 0.015 + 0.0003, 1: 0.0045 + 0.0003})
    assert total.hosts == pytest.approx({0: 0.0201})
    assert total.crowded == {0}


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (Choice(((0,), (1,)), (0, 2, 2), (0, 0, 0)), "does not lie before"),
        (Choice(((0,), (0,)), (0, 1, 2), (0, 0, 0)), "one stage only"),
        (Choice(((1,),), (0, 1), (0, 0)), "ends at the output"),
        (Choice(((0, 1),), (0, 2), (0, 0)), "of one kind"),
        (Choice(((0,),), (0, 2), (0,)), "need 2 cuts and codecs"),
    ],
)
def test_what_is_no_plan_is_refused(choice: Choice, complaint: str) -> None:
    with pytest.raises(NoPlan, match=complaint):
        score(two_nodes(), choice)


def test_limits_of_memory_accuracy_and_reach_are_kept() -> None:
    p = two_nodes()
    with pytest.raises(NoPlan, match="needs 38350 bytes"):
        score(replace(p, memory=np.array([38349.0, np.inf])), Choice(((0,),), (0, 2), (0, 0)))
    with pytest.raises(NoPlan, match="accuracy budget"):
        score(replace(p, sink=1), Choice(((0,),), (0, 2), (0, 1)))
    with pytest.raises(NoPlan, match="no link between 'near' and 'far'"):
        score(replace(p, latency=np.where(np.eye(2) > 0, 0, np.inf)), Choice(((1,),), (0, 2), (0, 0)))
