"""A fit gives back what was put in, and scaling changes what it says and nothing else.

How far an estimate may be off is said at the top of test_draw.py.
"""

import numpy as np
import pytest
from numpy.random import default_rng

from cutwater.errors import BadQuantity, BadSetting
from cutwater.workload.arrivals import (
    Arrivals,
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
    Windows,
)
from cutwater.workload.curve import mean_rate
from cutwater.workload.draw import draw
from cutwater.workload.figures import figures
from cutwater.workload.fit import fit
from cutwater.workload.scale import described, fitted, scaled, scaled_workload
from cutwater.workload.schedule import Schedule
from cutwater.workload.workload import Demand, Mix, Workload

SIGMAS = 5.0


def spread(cv: float, n: float) -> float:
    return SIGMAS * cv * ((1 + cv * cv) / (2 * n)) ** 0.5


def test_a_fit_recovers_each_window_s_rate_and_cv() -> None:
    asked = Windows(100.0, (50.0, 200.0, 100.0), (3.0, 0.5, 1.0))
    found = fit(draw(asked, 300.0, default_rng(1)), 300.0, 100.0)
    for rate, cv, rate_found, cv_found in zip(asked.rates, asked.cvs, found.rates, found.cvs, strict=True):
        n = rate * 100
        assert abs(rate_found - rate) < SIGMAS * cv * n**0.5 / 100
        assert abs(cv_found - cv) < spread(cv, n) + cv / n**0.5  # the rate is estimated from the same gaps


def test_what_is_drawn_from_a_fit_has_the_recording_s_rate_and_cv() -> None:
    recording = draw(Gamma(80.0, 4.0), 1000.0, default_rng(2))
    again = draw(fit(recording, 1000.0, 250.0), 1000.0, default_rng(3))
    assert abs(len(again) - len(recording)) < SIGMAS * 4 * len(recording) ** 0.5
    first, second = figures(recording, 1000.0), figures(again, 1000.0)
    assert first.cv is not None
    assert second.cv is not None
    assert abs(first.cv - second.cv) < spread(4.0, len(recording)) + spread(4.0, 20000)


def test_a_rate_that_changes_between_windows_is_not_taken_for_clumps() -> None:
    times = draw(Steps((Step(0.0, 10.0), Step(100.0, 1000.0))), 200.0, default_rng(4))
    found = fit(times, 200.0, 100.0)
    assert figures(times, 200.0).cv > 2.5  # type: ignore[operator]
    assert abs(found.cvs[0] - 1) < SIGMAS / 1000**0.5
    assert abs(found.cvs[1] - 1) < SIGMAS / 100000**0.5


def test_windows_with_few_gaps_share_one_cv_and_empty_ones_have_no_rate() -> None:
    times = np.concatenate([draw(Gamma(1.0, 2.0), 2000.0, default_rng(5)), [2090.0]])
    found = fit(times, 2100.0, 5.0)
    assert len(set(found.cvs)) == 1
    assert found.rates[401] == 0.0
    assert found.cvs[0] > 1.3
    assert fit(np.array([0.0, 1.0, 2.0]), 3.0, 1.0).cvs == (1.0, 1.0, 1.0)


def test_requests_that_do_not_vary_are_fitted_as_evenly_as_a_gamma_can() -> None:
    found = fit(np.arange(1000) / 10.0, 100.0, 50.0)
    assert found.rates == (10.0, 10.0)
    assert found.cvs == (0.01, 0.01)


@pytest.mark.parametrize("duration, window", [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_fit_without_time_or_requests_is_refused(duration: float, window: float) -> None:
    with pytest.raises(BadQuantity, match="must be above 0"):
        fit(np.array([0.0]), duration, window)
    with pytest.raises(BadQuantity, match="without requests"):
        fit(np.empty(0), 1.0, 1.0)


KINDS: list[Arrivals] = [
    Poisson(20.0),
    Gamma(20.0, 2.0),
    Steps((Step(0.0, 30.0), Step(400.0, 10.0))),
    Bursts(40.0, burst=50.0, pause=50.0, idle=2.0),
    Diurnal(20.0, 0.5, period=250.0),
    Modulated((State(10.0, 5.0), State(40.0, 5.0))),
    Windows(250.0, (10.0, 20.0, 30.0, 20.0), (1.0, 2.0, 1.0, 2.0)),
    Replay(np.sort(default_rng(6).uniform(0.0, 1000.0, 20000)), 1000.0),
    Sum((Poisson(5.0), Gamma(10.0, 2.0))),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_scaling_the_rate_scales_what_is_expected_at_every_time(kind: Arrivals) -> None:
    more = scaled(kind, rate=2.5, window=100.0)
    assert mean_rate(more, 1000.0) == pytest.approx(2.5 * mean_rate(kind, 1000.0))
    assert mean_rate(more, 500.0) == pytest.approx(2.5 * mean_rate(kind, 500.0))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_scaling_the_cv_makes_it_burstier_and_keeps_the_rate(kind: Arrivals) -> None:
    duration = 1000.0
    clumped = scaled(kind, cv=4.0, window=250.0)
    assert mean_rate(clumped, duration) == pytest.approx(mean_rate(kind, duration))
    before, after = (figures(draw(each, duration, default_rng(7)), duration) for each in (kind, clumped))
    assert before.cv is not None
    assert after.cv is not None
    assert after.cv > 1.7 * before.cv


def test_a_recording_s_cv_is_multiplied() -> None:
    """From the fit: a Poisson recording with its CV times three is a Gamma process of CV three."""
    recording = Replay(draw(Poisson(100.0), 600.0, default_rng(8)), 600.0)
    times = draw(scaled(recording, cv=3.0, window=300.0), 600.0, default_rng(9))
    assert abs((figures(times, 600.0).cv or 0) - 3.0) < 2 * spread(3.0, 60000)


def test_a_replay_is_scaled_as_it_would_be_replayed() -> None:
    recording = Replay(np.arange(0.0, 100.0, 0.5), 100.0, speed=2.0, skip=50.0)
    assert scaled(recording, rate=3.0, window=25.0) == Windows(25.0, (12.0,), (0.01,))


def test_scaling_by_one_gives_the_same_and_by_nothing_is_refused() -> None:
    assert all(scaled(kind) is kind for kind in KINDS)
    assert scaled(Constant(2.0), rate=2.0) == Constant(4.0)
    with pytest.raises(BadSetting, match="constant arrivals have no variation"):
        scaled(Constant(2.0), cv=2.0)
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadQuantity, match="no factor to scale by"):
            scaled(Poisson(1.0), rate=factor)
    with pytest.raises(BadQuantity, match="cv: 200 must be at most 100"):
        scaled(Gamma(1.0, 20.0), cv=10.0)


def test_a_workload_is_scaled_in_all_its_parts() -> None:
    workload = Workload(
        {"a": Demand(Poisson(1.0), slo=0.5), "b": Demand()}, 60.0, 5, {"m": Mix(Gamma(2.0, 3.0), {"b": 1.0})}
    )
    assert scaled_workload(workload, rate=2.0, cv=2.0) == Workload(
        {"a": Demand(Gamma(2.0, 2.0), slo=0.5), "b": Demand()}, 60.0, 5, {"m": Mix(Gamma(4.0, 6.0), {"b": 1.0})}
    )


def test_recordings_are_described_before_anything_is_scaled() -> None:
    recording = Replay(np.arange(0.0, 60.0, 0.5), 60.0)
    both = Sum((recording, Poisson(1.0)))
    workload = Workload({"a": Demand(both), "b": Demand(Gamma(2.0, 3.0))}, 60.0)
    found = described(workload, window=30.0)
    assert found.models["a"].arrivals == Sum((Windows(30.0, (2.0, 2.0), (0.01, 0.01)), Poisson(1.0)))
    assert found.models["b"] == workload.models["b"]


@pytest.mark.parametrize(("duration", "window"), [(21.0, 0.7), (42.0, 0.7), (2.7, 0.3)])
def test_windows_that_fill_a_recording_leave_no_sliver_that_only_rounding_makes(duration: float, window: float) -> None:
    assert np.ceil(duration / window) > round(duration / window), "rounded up past the whole number"
    rates = fit(np.arange(0.0, duration, window / 3), duration, window).rates
    assert rates == pytest.approx([3 / window] * round(duration / window), rel=0.4)


def test_a_schedule_is_fitted_model_by_model() -> None:
    schedule = Schedule({"a": np.arange(100) / 10, "silent": np.empty(0)}, 10.0, {"a": 0.5})
    assert fitted(schedule, 5.0, seed=4) == Workload(
        {"a": Demand(Windows(5.0, (10.0, 10.0), (0.01, 0.01)), 0.5)}, 10.0, 4
    )
