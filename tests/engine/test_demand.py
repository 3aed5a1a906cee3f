"""What is asked for: its level, steps, trend and unevenness, and what has to be kept free for it."""

from itertools import pairwise
from math import inf
from random import Random

import pytest

from cutwater.engine.coordinator.demand import Demand, DemandOptions, headroom


def fed(*counts: int, waiting: int = 0) -> Demand:
    """A demand that was told of so many requests each second."""
    demand = Demand(0.0)
    for second, count in enumerate(counts, 1):
        demand.count(count, waiting)
        assert demand.sample(float(second))
    return demand


def poisson(rate: float, rng: Random) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < rate:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


def test_nothing_is_known_before_the_first_sample_is_complete():
    demand = Demand(0.0)
    demand.count(10, 0)
    assert not demand.sample(0.9)
    assert (demand.level, demand.ahead(10.0)) == (None, 0.0)
    assert demand.sample(1.0)
    assert demand.level == 10.0


def test_what_is_seen_late_counts_for_the_time_it_took():
    demand = Demand(0.0)
    demand.count(30, 0)
    demand.sample(3.0)
    assert demand.level == 10.0


def test_the_level_is_steady_while_requests_come_at_random():
    rng = Random(1)
    demand = fed(*(poisson(50.0, rng) for _ in range(60)))
    for second in range(61, 600):
        demand.count(poisson(50.0, rng), 0)
        demand.sample(float(second))
        assert demand.level == pytest.approx(50.0, rel=0.2)
    assert demand.dispersion == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize(("before", "after"), [(20, 90), (90, 20)])
def test_a_step_is_believed_within_three_samples(before, after):
    rng = Random(2)
    rates = [before] * 120 + [after] * 3
    demand = fed(*(poisson(rate, rng) for rate in rates))
    assert demand.level == pytest.approx(after, rel=0.25)
    # It is no sign that requests come unevenly.
    assert demand.dispersion < 3.0


def test_a_rise_that_is_small_for_what_is_usual_is_believed_once_it_adds_up():
    demand = fed(*[2] * 120, *[9] * 4)
    assert demand.level == pytest.approx(9, rel=0.1)
    believed = []
    for seed in range(20):
        rng = Random(seed)
        believed.append(fed(*(poisson(rate, rng) for rate in [10] * 90 + [25] * 6)).level >= 20)
    assert sum(believed) >= 18


@pytest.mark.parametrize(("rate", "cv"), [(5, 1.0), (30, 1.0), (5, 8.0), (30, 8.0)])
def test_what_merely_comes_unevenly_adds_up_to_no_step(rate, cv):
    rng = Random(4)
    counts, at = [0] * 3000, 0.0
    while (at := at + rng.gammavariate(1 / cv**2, cv**2 / rate)) < len(counts):
        counts[int(at)] += 1
    believed, never = Demand(0.0), Demand(0.0, DemandOptions(excess=inf))
    for second, count in enumerate(counts, 1):
        for demand in (believed, never):
            demand.count(count, 0)
            demand.sample(float(second))
        assert believed.level == never.level


def test_clumps_are_no_steps_once_it_is_known_that_they_come():
    rng = Random(3)
    clumps = [64 * (rng.random() < 0.5) for _ in range(900)]
    demand = fed(*clumps[:300])
    assert demand.dispersion == pytest.approx(32.0, rel=0.4)
    levels = []
    for second, count in enumerate(clumps[300:], 301):
        demand.count(count, 0)
        demand.sample(float(second))
        levels.append(demand.level)
    assert all(abs(b - a) < 8.0 for a, b in pairwise(levels))


def test_a_demand_that_rises_is_expected_to_go_on_and_one_that_falls_is_not():
    rising = fed(*range(100, 400))
    assert rising.level == pytest.approx(399, rel=0.03)
    assert rising.ahead(10.0) == pytest.approx(409, rel=0.03)
    falling = fed(*range(400, 100, -1))
    assert falling.ahead(10.0) == falling.level


def test_only_requests_that_wait_all_the_time_are_work_left_over():
    assert fed(5, 5, 5, 5, 5, 5, waiting=7).standing == 7
    demand = fed(5, 5, 5, 5, 5, waiting=7)
    demand.count(5, 0)
    demand.sample(6.0)
    assert demand.standing == 0


def test_the_more_uneven_and_the_more_urgent_the_more_is_kept_free():
    assert headroom(1.0, 1.0, 0.99) == pytest.approx(2.30, abs=0.01)
    assert headroom(64.0, 1.0, 0.99) == 64 * headroom(1.0, 1.0, 0.99)
    assert headroom(1.0, 0.1, 0.99) == pytest.approx(10 * headroom(1.0, 1.0, 0.99))
    assert headroom(1.0, 1.0, 0.999) == pytest.approx(1.5 * headroom(1.0, 1.0, 0.99))


def test_when_a_falling_demand_has_ended_silence_is_no_step():
    demand = fed(*([400] * 120), *range(400, 0, -4))
    lowest = demand.level
    for second in range(221, 281):
        demand.count(0, 0)
        demand.sample(float(second))
        assert demand.level <= lowest
        lowest = demand.level
    assert lowest < 0.5
