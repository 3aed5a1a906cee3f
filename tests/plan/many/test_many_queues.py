"""What is predicted of queues all at once is what becomes of requests that are taken one after the other."""

from math import inf

import numpy as np
import pytest

from cutwater.plan.fleet import Node
from cutwater.plan.many.door import PRECISE
from cutwater.plan.many.forecast import forecast
from cutwater.plan.many.forecast import latencies as through
from cutwater.plan.many.served import Candidate, Group, Placement, Replica, Served
from cutwater.plan.many.stream import Stream, merged
from cutwater.units import NodeId


def plain(placement: Placement, served: list[Served], nodes: list[Node], stream: Stream) -> list[float]:
    """The oracle: requests one by one, every group that serves the model asked, nothing clever."""
    free = dict.fromkeys(range(len(nodes)), -inf)
    taken = []
    for when, model in zip(stream.times.tolist(), stream.models.tolist(), strict=True):
        best, books = inf, {}
        for group in placement.groups:
            for replica in group.replicas:
                if replica.model != model:
                    continue
                candidate = served[model].candidates[replica.candidate]
                at, leaving = when + candidate.hops[0], {}
                for stage, node in enumerate(group.nodes):
                    leaving[node] = max(at, free[node]) + candidate.seconds[stage] / nodes[node].speed
                    at = leaving[node] + candidate.hops[stage + 1]
                if at < best:
                    best, books = at, leaving
        if best - when <= served[model].slo + 1e-9:
            free |= books
            taken.append(best - when)
        else:
            taken.append(inf)
    return taken


def latencies(placement: Placement, served: list[Served], nodes: list[Node], stream: Stream) -> np.ndarray:
    """Whoever makes it is let in."""
    return through(placement, served, nodes, stream, PRECISE)


def nodes_of(*speeds: float) -> list[Node]:
    return [Node(name=NodeId(f"n{k}"), speed=speed) for k, speed in enumerate(speeds)]


def pipeline(*seconds: float, hop: float = 0.0, batch: int = 1, fixed: float = 0.0) -> Candidate:
    return Candidate(
        seconds=seconds,
        hops=(hop,) * (len(seconds) + 1),
        spans=tuple((float(k), k + 1.0) for k in range(len(seconds))),
        memory=(0.0,) * len(seconds),
        fixed=(fixed,) * len(seconds) if fixed else (),
        batch=batch,
    )


def whole(*groups: tuple[tuple[int, ...], tuple[int, ...]]) -> Placement:
    """Groups of (nodes, models), each model by its first candidate."""
    return Placement(tuple(Group(nodes, tuple(Replica(m, 0) for m in models)) for nodes, models in groups))


def bursts(rng: np.random.Generator, rate: float, cv: float, count: int) -> np.ndarray:
    return np.cumsum(rng.gamma(1 / cv**2, cv**2 / rate, count))


CASES = {
    "one model on one node": ([pipeline(0.1)], [1.0], whole(((0,), (0,)))),
    "two models share a pipeline": ([pipeline(0.05, 0.05), pipeline(0.04, 0.06)], [1.0, 1.0], whole(((0, 1), (0, 1)))),
    "hops, and nodes of other speeds": (
        [pipeline(0.05, 0.1, 0.03, hop=0.002), pipeline(0.02, 0.04, 0.07, hop=0.002)],
        [1.0, 2.0, 0.8],
        whole(((0, 1, 2), (0, 1))),
    ),
    "replicas beside models of their own": (
        [pipeline(0.1), pipeline(0.08), pipeline(0.12)],
        [1.0, 1.0, 0.7],
        whole(((0,), (0, 1)), ((1,), (1, 2)), ((2,), (0,))),
    ),
    "replicas of pipelines": (
        [pipeline(0.05, 0.05), pipeline(0.03, 0.06)],
        [1.0, 1.0, 2.0, 1.0],
        whole(((0, 1), (0, 1)), ((2, 3), (1,))),
    ),
    "apart": ([pipeline(0.1), pipeline(0.08)], [1.0, 1.0], whole(((0,), (0,)), ((1,), (1,)))),
}


@pytest.mark.parametrize("load", [0.5, 0.9, 1.6])
@pytest.mark.parametrize("case", CASES)
def test_all_at_once_is_as_one_by_one(case, load):
    candidates, speeds, placement = CASES[case]
    rng = np.random.default_rng(7)
    served = [Served(name=f"m{k}", slo=0.6 + 0.2 * k, candidates=(each,)) for k, each in enumerate(candidates)]
    share = load * len(placement.groups) / len(served)
    stream = merged([bursts(rng, share / max(c.seconds), 3.0, 3000) for c in candidates])
    taken = latencies(placement, served, nodes_of(*speeds), stream)
    expected = np.array(plain(placement, served, nodes_of(*speeds), stream))
    assert np.array_equal(np.isfinite(taken), np.isfinite(expected))
    assert 0 < np.isfinite(taken).mean() <= 1
    answered = np.isfinite(taken)
    assert np.abs(taken[answered] - expected[answered]).max() < 1e-9


@pytest.mark.slow
def test_over_many_requests_nothing_is_lost_but_what_rounding_loses():
    # Multiples of a power of two, which floats add without rounding.
    served = [Served(name="m", slo=1e3, candidates=(pipeline(51 / 1024, 49 / 1024),))]
    times = np.floor(np.cumsum(np.random.default_rng(1).exponential(0.0505, 200_000)) * 2**20) / 2**20
    args = (whole(((0, 1), (0,))), served, nodes_of(1.0, 1.0), merged([times]))
    assert latencies(*args).tolist() == plain(*args)


def test_whom_nobody_serves_gets_no_answer():
    served = [Served(name=name, slo=1.0, candidates=(pipeline(0.1),)) for name in ("here", "gone", "idle")]
    stream = merged([np.array([0.0, 5.0]), np.array([1.0]), np.zeros(0)])
    here, gone, idle, both = forecast(whole(((0,), (0, 2))), served, nodes_of(1.0), stream)
    assert (here.asked, here.answered, here.attainment) == (2, 2, 1.0)
    assert (here.mean, here.p50, here.p99) == pytest.approx((0.1, 0.1, 0.1))
    assert (gone.asked, gone.answered, gone.attainment) == (1, 0, 0.0)
    assert (idle.asked, idle.attainment) == (0, 1.0)
    assert (both.model, both.asked, both.answered) == ("all", 3, 2)


def test_who_would_be_late_is_refused_and_leaves_no_trace():
    served = [Served(name="m", slo=0.25, candidates=(pipeline(0.1),))]
    stream = merged([np.array([0.0, 0.0, 0.0, 0.0, 0.1])])
    taken = latencies(whole(((0,), (0,))), served, nodes_of(1.0), stream)
    assert taken.tolist() == pytest.approx([0.1, 0.2, inf, inf, 0.2])


def test_those_that_wait_for_the_same_model_are_taken_together():
    served = [Served(name="m", slo=1.0, candidates=(pipeline(0.1, hop=0.0, batch=3, fixed=0.08),))]
    stream = merged([np.array([0.0, 0.01, 0.02, 0.03, 0.04])])
    taken = latencies(whole(((0,), (0,))), served, nodes_of(1.0), stream)
    # The first goes alone; three of the others fill the next batch: 80 ms, and 20 for each; the last follows.
    ends = [0.1, 0.24, 0.24, 0.24, 0.34]
    assert (taken + stream.times).tolist() == pytest.approx(ends)


def test_nobody_joins_a_batch_whose_first_would_be_late_for_it():
    served = [Served(name="m", slo=0.215, candidates=(pipeline(0.1, batch=8, fixed=0.08),))]
    stream = merged([np.array([0.0, 0.01, 0.02])])
    taken = latencies(whole(((0,), (0,))), served, nodes_of(1.0), stream)
    assert (taken + stream.times).tolist() == pytest.approx([0.1, 0.22, 0.22])
    served = [Served(name="m", slo=0.195, candidates=(pipeline(0.1, batch=8, fixed=0.08),))]
    taken = latencies(whole(((0,), (0,))), served, nodes_of(1.0), stream)
    assert (taken + stream.times).tolist() == pytest.approx([0.1, 0.2, inf])
