"""Placements: what fits, what the methods choose, and that the search beats every baseline."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from cutwater.errors import InputError
from cutwater.plan.fleet import Fleet, Node
from cutwater.plan.instances import chain_masks, random_problem
from cutwater.plan.many.baselines import BASELINES
from cutwater.plan.many.buckets import buckets, divided, shared_out
from cutwater.plan.many.candidates import candidates_of
from cutwater.plan.many.choose import METHODS, plan_many, sampled
from cutwater.plan.many.door import ENGINE
from cutwater.plan.many.forecast import kinds
from cutwater.plan.many.judge import Judge
from cutwater.plan.many.served import Candidate, Group, Placement, Replica, Served, covered, fits, held
from cutwater.plan.many.stream import merged
from cutwater.plan.objective import Objective
from cutwater.plan.problem import Limits, Problem
from cutwater.plan.solve import make_plan
from cutwater.plan.solvers.base import Effort
from cutwater.units import NodeId

WHOLE = 0.05


def cut(stages: int, *, overhead: float = 0.0) -> Candidate:
    """A model of 50 ms and 120 bytes of weights in equal stages."""
    edges = [120.0 * k / stages for k in range(stages + 1)]
    return Candidate(
        seconds=(WHOLE / stages + (overhead if stages > 1 else 0.0),) * stages,
        hops=(0.0,) * (stages + 1),
        spans=tuple(pairwise(edges)),
        memory=(1.0,) * stages,
    )


def models(count: int, stages: tuple[int, ...], *, slo: float = 5 * WHOLE, overhead: float = 0.0) -> list[Served]:
    ways = tuple(cut(each, overhead=overhead) for each in stages)
    return [Served(name=f"m{k}", slo=slo, candidates=ways) for k in range(count)]


def fleet(count: int, memory: int | None = None, speeds: tuple[float, ...] = ()) -> Fleet:
    nodes = [Node(name=NodeId(f"n{k}"), memory=memory, speed=speed) for k, speed in enumerate(speeds or (1.0,) * count)]
    return Fleet(nodes=tuple(nodes), source=nodes[0].name)


def arrivals(rates: list[float], cv: float, seconds: float, seed: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    times = [np.cumsum(rng.gamma(1 / cv**2, cv**2 / rate, int(2 * rate * seconds + 200))) for rate in rates]
    return [each[each < seconds] for each in times]


def effort(steps: int = 60) -> Effort:
    return Effort(rng=np.random.default_rng(1), steps=steps)


def test_weights_that_stages_share_count_once():
    assert covered([(0, 60), (30, 90), (100, 120)]) == 110
    ways = (cut(1), cut(2))
    gold = Served(name="gold", slo=0.1, candidates=ways, weights="net")
    silver = Served(name="silver", slo=0.9, candidates=ways, weights="net")
    other = Served(name="other", slo=0.1, candidates=ways)
    served = [gold, silver, other]
    assert held(served, [Replica(0, 0), Replica(1, 0)], 0) == 120 + 2
    assert held(served, [Replica(0, 0), Replica(2, 0)], 0) == 240 + 2
    assert held(served, [Replica(0, 1), Replica(2, 1)], 1) == 120 + 2
    room = Node(name=NodeId("n"), memory=130)
    assert fits(served, [room], Group((0,), (Replica(0, 0), Replica(1, 0))))
    assert not fits(served, [room], Group((0,), (Replica(0, 0), Replica(2, 0))))


@pytest.mark.parametrize("method", METHODS)
def test_no_method_asks_a_node_for_more_than_it_has(method):
    served, nodes = models(5, (1, 2, 4)), fleet(4, memory=250)
    placed = plan_many(served, nodes, arrivals([6.0] * 5, 3.0, 100.0), method=method, effort=effort())
    used = [node for group in placed.placement.groups for node in group.nodes]
    assert len(used) == len(set(used))
    assert all(fits(served, nodes.nodes, group) for group in placed.placement.groups)
    assert placed.method == method
    assert 0 < placed.attainment < 1


def test_replicas_can_be_held_to_be_cut_alike():
    served, nodes = models(4, (1, 2, 4)), fleet(7, memory=250)
    for alike in (True, False):
        placed = plan_many(served, nodes, arrivals([25.0, 12.0, 4.0, 4.0], 3.0, 60.0), alike=alike, effort=effort(150))
        replicas = {replica for group in placed.placement.groups for replica in group.replicas}
        assert alike == (len(replicas) == len({replica.model for replica in replicas}))


def test_in_bursts_pipelines_over_all_nodes_win():
    placed = plan_many(models(2, (1, 2)), fleet(2, memory=130), arrivals([10.0] * 2, 3.0, 300.0), effort=effort())
    assert [len(group.nodes) for group in placed.placement.groups] == [2]
    assert placed.attainment > placed.baselines["one-per-node"].attainment + 0.05


def test_where_cutting_costs_too_much_whole_models_stay():
    served = models(2, (1, 2), overhead=0.7 * WHOLE)
    placed = plan_many(served, fleet(2, memory=130), arrivals([12.0] * 2, 1.0, 300.0), effort=effort())
    assert [len(group.nodes) for group in placed.placement.groups] == [1, 1]
    assert placed.baselines["fixed-pipelines"].attainment < placed.attainment


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_search_is_never_worse_than_any_baseline(seed):
    rng = np.random.default_rng(seed)
    served, nodes = models(6, (1, 2, 3)), fleet(6, memory=250, speeds=tuple(rng.uniform(0.5, 2.0, 6).tolist()))
    coming = arrivals(rng.uniform(1.0, 20.0, 6).tolist(), 3.0, 60.0, seed)
    placed = plan_many(served, nodes, coming, effort=effort(150), sample=1500)
    assert set(placed.baselines) == set(METHODS) - {"anytime"}
    assert placed.attainment >= max(each.attainment for each in placed.baselines.values())


def scaled(candidate: Candidate, factor: float) -> Candidate:
    return replace(candidate, seconds=tuple(factor * each for each in candidate.seconds))


def unlike(factors: list[float], rates: list[float], nodes: int) -> Judge:
    """Models that take so many times 50 ms, whole or in two."""
    ways = [tuple(scaled(cut(stages), factor) for stages in (1, 2)) for factor in factors]
    served = [Served(name=f"m{k}", slo=5 * way[0].latency, candidates=way) for k, way in enumerate(ways)]
    return Judge(served, fleet(nodes, memory=250).nodes, merged(arrivals(rates, 3.0, 60.0)), ENGINE)


def test_quick_and_slow_models_get_nodes_of_their_own():
    judge = unlike([0.2, 4.0, 0.2, 4.0], [60.0, 6.0, 60.0, 6.0], 6)
    assert divided(judge, 2) == [[0, 2], [1, 3]]
    quick, slow = shared_out(judge, [[0, 2], [1, 3]])
    assert (len(quick), len(slow)) == (2, 4)  # 1.2 and 2.4 seconds of work come in a second
    for placement in buckets(judge, lambda: True):
        assert all(group.models <= {0, 2} or group.models <= {1, 3} for group in placement.groups)


@pytest.mark.slow
def test_where_models_differ_much_buckets_are_better_than_groups_of_one_size():
    factors = np.geomspace(0.2, 4.0, 16).tolist()
    judge = unlike(factors, [10.0 / factor for factor in factors], 16)
    best = max(judge.worth(placement) for placement in buckets(judge, lambda: True))
    assert best > judge.worth(BASELINES["greedy"](judge, lambda: True))


@pytest.mark.slow
def test_fifty_models_on_sixty_four_nodes_are_no_other_matter():
    rng = np.random.default_rng(3)
    factors = np.exp(rng.uniform(np.log(0.2), np.log(4.0), 50))
    ways = [tuple(scaled(cut(stages), factor) for stages in (1, 2, 4)) for factor in factors.tolist()]
    served = [Served(name=f"m{k}", slo=5 * way[0].latency, candidates=way) for k, way in enumerate(ways)]
    nodes, coming = fleet(64, memory=250), arrivals((12.0 / factors).tolist(), 3.0, 1.0)
    placed = plan_many(served, nodes, coming, effort=effort(10), sample=1000)
    assert all(fits(served, nodes.nodes, group) for group in placed.placement.groups)
    assert placed.attainment >= max(each.attainment for each in placed.baselines.values())
    assert placed.attainment > 0.9


def test_the_same_seed_finds_the_same_and_time_that_is_up_ends_it():
    served, coming = models(3, (1, 2)), arrivals([9.0] * 3, 3.0, 100.0)
    first, again = (plan_many(served, fleet(3, 250), coming, effort=effort()) for _ in range(2))
    assert first.placement == again.placement
    over = Effort(rng=np.random.default_rng(1), go_on=lambda: False)
    assert plan_many(served, fleet(3, 250), coming, effort=over).judged < first.judged


def test_the_last_few_are_decided_between_by_a_closer_look():
    served, coming = models(4, (1, 2)), arrivals([9.0, 9.0, 3.0, 3.0], 3.0, 100.0)
    looked: list[Placement] = []

    def trial(placement: Placement) -> float:
        """Likes best what it is shown last."""
        looked.append(placement)
        return len(looked) / 10

    placed = plan_many(served, fleet(4, 250), coming, effort=effort(), trial=trial)
    assert len(looked) > 1
    assert placed.placement == looked[-1]
    assert [each.placement for each in placed.finalists] == looked[::-1]
    assert placed.finalists[0].tried == len(looked) / 10
    assert placed.finalists[0].attainment == placed.attainment
    best = max(each.attainment for each in placed.baselines.values())
    assert all(each.attainment >= best for each in placed.finalists if each.method == "anytime")
    nodes = fleet(4, 250).nodes
    near = {kinds(each.placement, nodes) for each in placed.baselines.values() if each.attainment > best - 0.1}
    assert near <= {kinds(placement, nodes) for placement in looked}
    assert len({kinds(placement, nodes) for placement in looked}) == len(looked), "nothing is looked at twice"


@pytest.mark.parametrize("memory", [(8, 2, 8, 2), (8, 8, 2, 2), (2, 8, 2, 8)])
def test_small_and_large_nodes_are_paired_so_that_small_and_large_stages_fit(memory):
    """Each model has a small stage and then a large one."""
    uneven = Candidate(seconds=(0.02, 0.02), hops=(0.0,) * 3, spans=((0.0, 1.0), (1.0, 7.0)), memory=(0.0, 0.0))
    served = [Served(name=f"m{k}", slo=0.4, candidates=(uneven,)) for k in range(2)]
    nodes = tuple(Node(name=NodeId(f"n{k}"), memory=each) for k, each in enumerate(memory))
    coming = arrivals([5.0] * 2, 1.0, 30.0)
    placed = plan_many(served, Fleet(nodes=nodes, source=nodes[0].name), coming, effort=effort(300))
    assert placed.attainment == 1.0


def test_where_memory_is_short_models_are_run_by_what_leaves_room_for_others():
    """The quicker way to cut puts nearly everything on the last node, which has room for three of these."""
    quick = Candidate(seconds=(0.025, 0.025), hops=(0.0,) * 3, spans=((0.0, 10.0), (10.0, 100.0)), memory=(0.0, 0.0))
    even = replace(quick, seconds=(0.03, 0.02), spans=((0.0, 50.0), (50.0, 100.0)))
    served = [Served(name=f"m{k}", slo=0.3, candidates=(quick, even)) for k in range(6)]
    coming = arrivals([3.0] * 6, 3.0, 60.0)
    placed = plan_many(served, fleet(2, 300), coming, effort=effort())
    assert {replica.model for group in placed.placement.groups for replica in group.replicas} == set(range(6))
    assert placed.attainment > 0.8 > max(each.attainment for each in placed.baselines.values())


def test_a_search_looks_at_runs_of_requests():
    stream = merged([np.arange(1000.0)])
    part = sampled(stream, 100)
    assert len(part.times) == 100
    assert (np.diff(part.times) == 1.0).sum() == 96
    assert (part.times[0], part.times[-1]) == (0.0, 999.0)


def test_candidates_are_the_exact_solvers_plans():
    def problem(limits: Limits) -> Problem:
        return random_problem(np.random.default_rng(2), nodes=3, masks=chain_masks(8), alike=0.0, limits=limits)

    whole = problem(Limits())
    found = candidates_of(whole, (1, 2, 3), speed=2.0)
    assert {candidate.stages for candidate in found} == {1, 2, 3}
    for candidate in found:
        assert (candidate.spans[0][0], candidate.spans[-1][1]) == (0.0, whole.weight[-1])
        assert covered(candidate.spans) == pytest.approx(whole.weight[-1])
    best = make_plan(problem(Limits(min_stages=2, max_stages=2)), Objective("latency"))
    # The seconds are those of a node of speed 1, which takes twice as long as the problem's.
    latencies = [sum(c.seconds) / 2.0 + sum(c.hops) for c in found if c.stages == 2]
    assert min(latencies) == pytest.approx(best.score.latency)


def test_there_are_candidates_for_batches_where_these_save_something():
    problem = replace(random_problem(np.random.default_rng(2), nodes=2, masks=chain_masks(8), alike=1.0), batch=1)
    work = problem.prefix[0]
    [alone, two, four] = candidates_of(problem, (1,), speed=2.0, batches=(2, 4), fixed=0.25 * work)
    assert (alone.batch, two.batch, four.batch) == (1, 2, 4)
    assert alone.seconds == two.seconds and alone.fixed == ()
    assert two.fixed == (pytest.approx(2.0 * (0.25 * work[-1] + problem.overhead[0])),)
    assert two.memory[0] - alone.memory[0] == pytest.approx((four.memory[0] - two.memory[0]) / 2)
    assert two.memory > alone.memory
    assert len(candidates_of(problem, (1,), batches=(2, 4), fixed=-0.25 * work)) == 1


def in_batches(candidate: Candidate, batch: int, memory: float) -> Candidate:
    """A batch pays nine tenths of a request once."""
    fixed = tuple(0.9 * each for each in candidate.seconds)
    return replace(candidate, batch=batch, fixed=fixed, memory=(memory,) * candidate.stages)


def test_limits_of_batches_are_raised_where_that_helps_and_the_memory_is_there():
    ways = (cut(1), *(in_batches(cut(1), batch, 1.0 + batch) for batch in (2, 4, 8)))
    served = [Served(name=name, slo=5 * WHOLE, candidates=ways) for name in ("busy", "quiet")]
    coming = arrivals([60.0, 0.5], 1.0, 60.0)

    def limits(memory: int) -> list[int]:
        nodes = fleet(2, memory=memory)
        placed = plan_many(served, nodes, coming, method="replication", alike=True)
        for group in placed.placement.groups:
            assert fits(served, nodes.nodes, group)
        used = {each.model: each.candidate for group in placed.placement.groups for each in group.replicas}
        return [served[model].candidates[used[model]].batch for model in (0, 1)]

    assert limits(1000)[0] >= 4
    assert limits(244)[0] == 2
    assert limits(243)[0] == 1


def test_batches_are_chosen_after_the_search_for_baselines_and_what_was_found_alike():
    ways = tuple(way for stages in (1, 2) for way in (cut(stages), in_batches(cut(stages), 4, 1.0)))
    served = [Served(name=f"m{k}", slo=5 * WHOLE, candidates=ways) for k in range(2)]
    over = Effort(rng=np.random.default_rng(1), steps=60, go_on=lambda: False)
    placed = plan_many(served, fleet(2), arrivals([40.0] * 2, 2.0, 60.0), effort=over)
    for each in (placed, *placed.baselines.values()):
        used = {served[r.model].candidates[r.candidate].batch for g in each.placement.groups for r in g.replicas}
        assert used <= {4}, f"{each.method}: the search's time was up, not that of what follows"
    never = plan_many(served, fleet(2), arrivals([40.0] * 2, 2.0, 60.0), effort=effort(), afterwards=lambda: False)
    used = {served[r.model].candidates[r.candidate].batch for g in never.placement.groups for r in g.replicas}
    assert used == {1}


def test_a_model_that_is_only_taken_in_batches_is_placed_all_the_same():
    served = [Served(name="m", slo=5 * WHOLE, candidates=(in_batches(cut(1), 4, 1.0),))]
    placed = plan_many(served, fleet(1), arrivals([5.0], 1.0, 60.0), effort=effort())
    assert placed.attainment > 0.9


def test_where_memory_is_short_there_are_candidates_with_even_weights_as_well():
    whole = random_problem(np.random.default_rng(2), nodes=3, masks=chain_masks(12), alike=0.0, limits=Limits())

    def heaviest(found: tuple[Candidate, ...]) -> float:
        """Of the two-stage ways the one with the smallest large stage."""
        return min(max(end - begin for begin, end in c.spans) for c in found if c.stages == 2)

    fast, tight = candidates_of(whole, (1, 2)), candidates_of(whole, (1, 2), tight=True)
    assert set(fast) <= set(tight)
    share = whole.weight[-1] / 2
    possible = min(max(w, whole.weight[-1] - w) for w in whole.weight.tolist())
    assert heaviest(tight) <= max(1.6 * share, possible)
    assert heaviest(tight) < heaviest(fast)


def test_wrong_questions_are_named():
    with pytest.raises(InputError, match="did you mean 'greedy'"):
        plan_many(models(1, (1,)), fleet(1), [np.zeros(0)], method="gredy")
    with pytest.raises(InputError, match="arrivals are given for 0"):
        plan_many(models(1, (1,)), fleet(1), [])
