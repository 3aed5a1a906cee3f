"""The fast queues and the simulator with the real engine: the same share of requests in time, within a point."""

from dataclasses import replace

import numpy as np
import pytest

from cutwater.drivers.sim.placement import simulate
from cutwater.plan.fleet import Node
from cutwater.plan.many.forecast import latencies
from cutwater.plan.many.served import Candidate, Group, Observed, Placement, Replica, Served
from cutwater.plan.many.stream import merged
from cutwater.units import NodeId

POINT = 0.01
WIDER = {"batches in a pipeline": 2 * POINT}
"""Batches form anew at every stage, which is not predicted."""
REQUESTS = 4000


def pipeline(*seconds: float, hop: float = 0.0) -> Candidate:
    stages = len(seconds)
    return Candidate(
        seconds=seconds, hops=(*(hop,) * stages, stages * hop), spans=((0.0, 1.0),) * stages, memory=(0.0,) * stages
    )


def whole(*groups: tuple[tuple[int, ...], tuple[int, ...]]) -> Placement:
    return Placement(tuple(Group(nodes, tuple(Replica(m, 0) for m in models)) for nodes, models in groups))


def batches(candidate: Candidate, batch: int) -> Candidate:
    """Half of what a request takes a batch pays once."""
    return replace(candidate, batch=batch, fixed=tuple(0.5 * each for each in candidate.seconds))


HALVES, QUARTERS = pipeline(0.05, 0.05), pipeline(*[0.025] * 4)
CASES = {
    "one node": ([pipeline(0.1)], whole(((0,), (0,))), 10, 0.8, 2.0),
    "uneven stages": ([pipeline(0.03, 0.05, 0.02, hop=0.001)], whole(((0, 1, 2), (0,))), 10, 0.6, 3.0),
    "a pipeline": ([pipeline(0.05, 0.05, hop=0.001)], whole(((0, 1), (0,))), 10, 0.5, 3.0),
    "two models share a node": ([pipeline(0.1)] * 2, whole(((0,), (0, 1))), 10, 0.7, 2.0),
    "two models share a pipeline": ([HALVES] * 2, whole(((0, 1), (0, 1))), 10, 0.5, 3.0),
    "four models share a pipeline": ([QUARTERS] * 4, whole(((0, 1, 2, 3), (0, 1, 2, 3))), 5, 0.4, 3.0),
    "one node, with hops, little time": ([pipeline(0.1, hop=0.001)], whole(((0,), (0,))), 3, 0.3, 3.0),
    "replicas": ([pipeline(0.1)], whole(((0,), (0,)), ((1,), (0,))), 10, 0.5, 3.0),
    "replicas of shared pipelines": ([HALVES] * 4, whole(((0, 1), (0, 1, 2, 3)), ((2, 3), (0, 1, 2, 3))), 5, 0.5, 3.0),
    "batches of two": ([batches(pipeline(0.1), 2)], whole(((0,), (0,))), 10, 1.2, 2.0),
    "batches of four": ([batches(pipeline(0.1), 4)], whole(((0,), (0,))), 10, 1.2, 2.0),
    "batches at replicas": ([batches(pipeline(0.1), 4)], whole(((0,), (0,)), ((1,), (0,))), 10, 1.2, 2.0),
    "batches in a pipeline": ([batches(QUARTERS, 4)], whole(((0, 1, 2, 3), (0,))), 5, 0.9, 2.0),
    "Poisson, near capacity": ([QUARTERS] * 2, whole(((0, 1, 2, 3), (0, 1))), 5, 0.9, 1.0),
}


def both(case, *, together=False):
    """Attainment, predicted and simulated."""
    candidates, placement, scale, load, cv = CASES[case]
    rng = np.random.default_rng(11)
    served = [Served(name=f"m{k}", slo=scale * c.latency, candidates=(c,)) for k, c in enumerate(candidates)]
    nodes = [Node(name=NodeId(f"n{k}")) for group in placement.groups for k in group.nodes]
    gap = len(candidates) * max(candidates[0].seconds) / (load * len(placement.groups))
    count = REQUESTS // len(served)
    stream = merged([np.cumsum(rng.gamma(1 / cv**2, cv**2 * gap, count)) for _ in served])
    simulated = simulate(placement, served, nodes, stream, together=together)
    return np.isfinite(latencies(placement, served, nodes, stream)).mean(), np.isfinite(simulated).mean()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_share_in_time_is_that_of_the_engine(case):
    predicted, simulated = both(case)
    assert 0.4 < simulated < 1.0
    assert abs(predicted - simulated) <= WIDER.get(case, POINT)


UNLIKE = {
    "a quick and a slow one on one node": ([pipeline(0.02), pipeline(0.1)], whole(((0,), (0, 1)))),
    "in a pipeline": ([pipeline(0.01, 0.01), pipeline(0.05, 0.05)], whole(((0, 1), (0, 1)))),
    "the quick one has a node of its own": ([pipeline(0.02), pipeline(0.1)], whole(((0,), (0, 1)), ((1,), (0,)))),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", UNLIKE)
def test_where_quick_models_wait_behind_slow_ones_it_is_about_that_of_the_engine(case):
    candidates, placement = UNLIKE[case]
    rng = np.random.default_rng(11)
    served = [Served(name=f"m{k}", slo=5 * c.latency, candidates=(c,)) for k, c in enumerate(candidates)]
    nodes = [Node(name=NodeId(f"n{k}")) for group in placement.groups for k in group.nodes]
    stream = merged([np.cumsum(rng.gamma(0.25, 4 * 5 * max(c.seconds), 1500)) for c in candidates])
    predicted = np.isfinite(latencies(placement, served, nodes, stream)).mean()
    assert abs(predicted - np.isfinite(simulate(placement, served, nodes, stream)).mean()) <= 3 * POINT


@pytest.mark.slow
@pytest.mark.parametrize("case", ["two models share a pipeline", "replicas of shared pipelines"])
def test_doors_that_hear_of_each_other_do_nearly_as_well_as_one(case):
    _, together = both(case, together=True)
    _, apart = both(case)
    assert together - 2 * POINT <= apart <= together + POINT


def test_who_finds_its_node_at_rest_takes_another_time_than_who_waits():
    served = [Served(name="m", slo=10.0, candidates=(replace(pipeline(0.1), observed=(Observed(rested=-0.02),)),))]
    stream = merged([np.array([0.0, 0.05, 1.0])])
    taken = simulate(whole(((0,), (0,))), served, [Node(name=NodeId("n0"))], stream)
    assert (taken + stream.times).tolist() == pytest.approx([0.08, 0.18, 1.08])


def test_a_result_leaves_later_while_its_node_computes_on():
    observed = (Observed(held=0.01), Observed())
    served = [Served(name="m", slo=10.0, candidates=(replace(pipeline(0.1, 0.02), observed=observed),))]
    stream = merged([np.array([0.0, 0.05])])
    taken = simulate(whole(((0, 1), (0,))), served, [Node(name=NodeId(f"n{k}")) for k in range(2)], stream)
    assert (taken + stream.times).tolist() == pytest.approx([0.13, 0.22])


def test_workers_take_what_waits_in_batches_as_planned():
    batches = replace(pipeline(0.1), fixed=(0.08,), batch=3)
    served = [Served(name="m", slo=10.0, candidates=(batches,))]
    stream = merged([np.array([0.0, 0.01, 0.02, 0.03, 0.04])])
    args = (whole(((0,), (0,))), served, [Node(name=NodeId("n0"))], stream)
    # The first goes alone; three of the others fill the next batch: 80 ms, and 20 for each; the last follows.
    assert (simulate(*args) + stream.times).tolist() == pytest.approx([0.1, 0.24, 0.24, 0.24, 0.34])
    assert simulate(*args).tolist() == pytest.approx(latencies(*args).tolist())
