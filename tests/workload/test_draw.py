"""Arrivals are what their description says: as many, as varied, at those times; bounds follow from how many are drawn.

A stationary renewal process of rate r has r T requests in T, with a standard deviation of CV sqrt(r T). The CV that n
Gamma gaps show deviates from the true one, c, by c sqrt((1 + c²) / 2n) (delta method). Five of these are allowed.
"""

import numpy as np
import pytest
from numpy.random import default_rng

from cutwater.errors import BadQuantity
from cutwater.workload.arrivals import (
    Bursts,
    Constant,
    Diurnal,
    Gamma,
    Modulated,
    Poisson,
    Replay,
    State,
    Step,
    Steps,
    Sum,
    Times,
    Windows,
)
from cutwater.workload.curve import mean_rate
from cutwater.workload.draw import draw
from cutwater.workload.figures import figures

SIGMAS = 5.0


def variation(times: Times) -> float:
    gaps = np.diff(times)
    return float(gaps.std() / gaps.mean())


def between(times: Times, begin: float, end: float) -> int:
    return int(((times >= begin) & (times < end)).sum())


def test_constant_arrivals_come_at_equal_distances_from_the_start() -> None:
    assert draw(Constant(4.0), 1.2, default_rng(0)).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0, 8.0])
def test_gamma_gaps_have_the_rate_and_the_cv_asked_for(cv: float) -> None:
    times = draw(Gamma(50.0, cv), 2000.0, default_rng(1))
    expected = 50.0 * 2000.0
    assert abs(len(times) - expected) < SIGMAS * cv * expected**0.5
    assert abs(variation(times) - cv) < SIGMAS * cv * ((1 + cv * cv) / (2 * expected)) ** 0.5


def test_poisson_counts_vary_as_much_as_they_are() -> None:
    found = figures(draw(Poisson(40.0), 4000.0, default_rng(2)), 4000.0)
    assert abs(found.dispersion[1.0] - 1.0) < SIGMAS * (2 / 4000) ** 0.5
    assert found.cv is not None
    assert abs(found.cv - 1.0) < SIGMAS / 160000**0.5


def test_clumps_that_began_before_the_start_are_neither_missed_nor_counted_twice() -> None:
    """A renewal process begun with a whole gap would have (CV² - 1) / 2 = 31 requests too many in every draw."""
    counts = [len(draw(Gamma(10.0, 8.0), 20.0, default_rng(seed))) for seed in range(400)]
    assert abs(float(np.mean(counts)) - 200.0) < SIGMAS * float(np.std(counts)) / 400**0.5


def test_the_same_seed_gives_the_same_requests_to_the_bit_and_another_seed_others() -> None:
    kind = Modulated((State(5.0, 3.0), State(80.0, 1.0)), cv=2.0)
    first, again, other = (draw(kind, 100.0, default_rng(seed)) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_steps_change_the_rate_at_their_times_and_the_last_one_stays() -> None:
    times = draw(Steps((Step(0.0, 20.0), Step(100.0, 0.0), Step(200.0, 90.0))), 300.0, default_rng(3))
    low, none, high = (between(times, begin, begin + 100) for begin in (0, 100, 200))
    assert abs(low - 2000) < SIGMAS * 2000**0.5
    assert none == 0
    assert abs(high - 9000) < SIGMAS * 9000**0.5


def test_steps_after_the_end_are_not_reached() -> None:
    short, long = Steps((Step(0.0, 20.0),)), Steps((Step(0.0, 20.0), Step(50.0, 900.0)))
    assert draw(short, 50.0, default_rng(3)).tobytes() == draw(long, 50.0, default_rng(3)).tobytes()


def test_bursts_come_when_they_should_and_pauses_idle() -> None:
    times = draw(Bursts(200.0, burst=2.0, pause=8.0, idle=5.0), 500.0, default_rng(4))
    inside = int((times % 10 < 2).sum())
    assert abs(inside - 200 * 100) < SIGMAS * 20000**0.5
    assert abs(len(times) - inside - 5 * 400) < SIGMAS * 2000**0.5


def test_a_day_has_its_peak_where_it_was_put_and_its_average_overall() -> None:
    times = draw(Diurnal(30.0, swing=0.8, period=1000.0, peak=250.0), 1000.0, default_rng(5))
    assert abs(len(times) - 30000) < SIGMAS * 30000**0.5
    for begin, angle in ((0, np.pi / 2), (250, 0.0), (750, np.pi)):
        window = between(times, max(0, begin - 25), begin + 25)
        length = 25 if begin == 0 else 50
        wanted = length * 30 * (1 + 0.8 * np.cos(angle))
        slope = 30 * 0.8 * 2 * np.pi / 1000 * length**2 / 2 if begin == 0 else 0.02 * wanted  # the window has a width
        assert abs(window - wanted) < SIGMAS * wanted**0.5 + slope


def test_a_modulated_rate_spends_its_time_as_its_stays_say() -> None:
    calm, busy, duration = State(5.0, 4.0), State(60.0, 1.0), 20000.0
    times = draw(Modulated((calm, busy)), duration, default_rng(6))
    share = np.array([0.8, 0.2])
    rate = float(share @ [5.0, 60.0])
    # The variance of a two-state rate's integral: 2 T p q (difference)² over the sum of the rates of leaving.
    jumps = 2 * duration * share.prod() * 55.0**2 / (1 / 4.0 + 1 / 1.0)
    assert mean_rate(Modulated((calm, busy)), duration) == pytest.approx(rate)
    assert abs(len(times) - rate * duration) < SIGMAS * (rate * duration + jumps) ** 0.5


def test_moves_say_which_state_follows_which() -> None:
    """A, then B or C; back to A from both: three quarters of the visits to B and C are to B."""
    states = (State(0.0, 1.0, (0.0, 3.0, 1.0)), State(100.0, 1.0, (1.0, 0.0, 0.0)), State(0.0, 1.0, (1.0, 0.0, 0.0)))
    assert Modulated(states).shares().tolist() == pytest.approx([0.5, 0.375, 0.125])
    assert mean_rate(Modulated(states), 60.0) == pytest.approx(37.5)


def test_another_cv_leaves_the_jumps_of_the_rate_where_they_are() -> None:
    """Two states so far apart that every request tells which one it came in."""
    states = (State(0.0, 10.0), State(500.0, 10.0))
    seconds = [
        set(np.floor(draw(Modulated(states, cv), 500.0, default_rng(7))).astype(int).tolist()) for cv in (0.5, 1.5)
    ]
    assert len(seconds[0] & seconds[1]) > 0.95 * len(seconds[0] | seconds[1])


def test_windows_have_each_their_rate_and_their_cv_and_an_end() -> None:
    times = draw(Windows(500.0, (40.0, 0.0, 80.0), (4.0, 1.0, 0.5)), 9999.0, default_rng(8))
    first, second, third = (times[(times >= at) & (times < at + 500)] for at in (0, 500, 1000))
    assert abs(len(first) - 20000) < SIGMAS * 4 * 20000**0.5
    assert abs(variation(first) - 4) < SIGMAS * 4 * (17 / 40000) ** 0.5
    assert len(second) == 0
    assert abs(len(third) - 40000) < SIGMAS * 0.5 * 40000**0.5
    assert abs(variation(third) - 0.5) < SIGMAS * 0.5 * (1.25 / 80000) ** 0.5
    assert len(first) + len(third) == len(times)


def test_a_replay_is_exact_and_may_be_faster_or_begin_later() -> None:
    times = np.array([0.0, 1.0, 4.0, 6.0, 6.0])
    assert draw(Replay(times, 7.0), 100.0, default_rng(0)).tolist() == [0.0, 1.0, 4.0, 6.0, 6.0]
    assert draw(Replay(times, 7.0, speed=2.0, skip=1.0), 2.0, default_rng(0)).tolist() == [0.0, 1.5]


def test_a_sum_has_the_requests_of_its_parts_in_order() -> None:
    times = draw(Sum((Constant(2.0), Replay(np.array([0.25, 0.5]), 1.0))), 1.0, default_rng(0))
    assert times.tolist() == [0.0, 0.25, 0.5, 0.5]
    twice = draw(Sum((Poisson(500.0), Poisson(500.0))), 10.0, default_rng(9))
    assert len(np.unique(twice)) == len(twice)  # equal parts do not draw the same


def test_the_dispersion_of_gamma_counts_grows_to_the_square_of_the_cv() -> None:
    found = figures(draw(Gamma(100.0, 3.0), 4000.0, default_rng(10)), 4000.0, windows=(0.01, 10.0))
    assert found.dispersion[0.01] < 0.75 * found.dispersion[10.0]
    assert abs(found.dispersion[10.0] - 9.0) < SIGMAS * 9.0 * (2 / 400) ** 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poisson(-1.0), "rate: -1 must be above 0"),
        (lambda: Poisson(float("nan")), "rate: nan is not a finite number"),
        (lambda: Gamma(1.0, 0.0), "cv: 0 must be above 0"),
        (lambda: Gamma(1.0, 101.0), "cv: 101 must be at most 100"),
        (lambda: Diurnal(1.0, 1.2), "swing: 1.2 must be at most 1"),
        (lambda: Steps((Step(1.0, 1.0),)), "steps: the first step begins at 0"),
        (lambda: Steps((Step(0.0, 1.0), Step(0.0, 2.0))), "steps[1].at: 0 s must be after the step before it, at 0 s"),
        (lambda: Modulated((State(1.0, 1.0),)), "states: needs at least two"),
        (lambda: Modulated((State(1.0, 1.0, (1.0, 1.0)), State(2.0, 1.0))), "states[0].moves: needs a weight for"),
        (
            lambda: Modulated((State(1.0, 1.0), State(2.0, 1.0, (0, 0, 1)), State(3.0, 1.0, (0, 1, 0)))),
            "states: from each state every other must be reached",
        ),
        (lambda: Windows(1.0, (1.0, -2.0), (1.0, 1.0)), "rates[1]: -2 must be at least 0"),
        (lambda: Windows(1.0, (1.0, 2.0), (1.0,)), "cvs: 2 rates need as many CVs"),
        (lambda: Replay(np.array([1.0, 0.5]), 2.0), "times[1]: 0.5 s comes after 1 s: the times must ascend"),
        (lambda: Sum(()), "parts: needs at least one"),
        (lambda: draw(Poisson(1.0), 0.0, default_rng(0)), "duration: 0 s must be above 0"),
        (lambda: draw(Poisson(1.0), 1e9, default_rng(0)), "duration: 1e+09 s must be above 0 and at most"),
        (lambda: draw(Diurnal(1.0, 0.5, 0.001), 9e3, default_rng(0)), "period: is so short that the rate changes 9.2"),
        (lambda: draw(Bursts(1.0, 1e-6, 1e-6), 60.0, default_rng(0)), "burst: is so short that the rate changes 6e+07"),
        (lambda: draw(Poisson(1e9), 1.0, default_rng(0)), "rate: 1e+09 requests in 1 s are more than 100,000,000"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_field_and_the_reason(make: object, message: str) -> None:
    with pytest.raises(BadQuantity) as refused:
        make()  # type: ignore[operator]
    assert str(refused.value).startswith(message)
