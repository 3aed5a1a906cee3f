"""What holds for workloads of any kind: their requests are in order and in time, and their files say all of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from numpy.random import default_rng

from cutwater.workload.arrivals import (
    Arrivals,
    Bursts,
    Constant,
    Diurnal,
    Gamma,
    Modulated,
    Poisson,
    State,
    Step,
    Steps,
    Sum,
    Windows,
)
from cutwater.workload.curve import mean_rate
from cutwater.workload.draw import draw
from cutwater.workload.files import load_workload, save_workload
from cutwater.workload.scale import scaled
from cutwater.workload.workload import Demand, Mix, Workload, make

rates = some.floats(0.01, 500)
rates_or_none = some.just(0.0) | rates
cvs = some.floats(0.05, 20)
times = some.floats(0.01, 50)
steps = some.lists(some.builds(Step, times, rates_or_none), max_size=4, unique_by=lambda step: step.at).map(
    lambda later: Steps((Step(0.0, 5.0), *sorted(later, key=lambda step: step.at)))
)
windows = some.lists(some.tuples(rates_or_none, cvs), min_size=1, max_size=8)
simple: some.SearchStrategy[Arrivals] = (
    some.builds(Poisson, rates)
    | some.builds(Gamma, rates, cvs)
    | steps
    | some.builds(Bursts, rates, times, times, rates_or_none, cvs)
    | some.builds(Diurnal, rates, some.floats(0.01, 1), times, some.none() | times, cvs)
    | some.builds(
        Modulated, some.lists(some.builds(State, rates_or_none, times), min_size=2, max_size=4).map(tuple), cvs
    )
    | some.builds(lambda window, each: Windows(window, *map(tuple, zip(*each, strict=True))), times, windows)
)
kinds: some.SearchStrategy[Arrivals] = (
    simple | some.builds(Constant, rates) | some.builds(Sum, some.lists(simple, min_size=1, max_size=3).map(tuple))
)
names = some.from_regex(r"\A[a-z][a-z0-9_-]{0,8}\Z")
some_tries = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@some_tries
@given(kinds, some.floats(0.1, 20), some.integers(0, 9))
def test_requests_are_in_order_in_time_and_the_same_again(kind: Arrivals, duration: float, seed: int) -> None:
    drawn = draw(kind, duration, default_rng(seed))
    assert (np.diff(drawn) >= 0).all()
    assert ((drawn >= 0) & (drawn < duration)).all()
    assert drawn.tobytes() == draw(kind, duration, default_rng(seed)).tobytes()


@some_tries
@given(simple, some.floats(0.1, 3), some.floats(0.1, 2))
def test_scaling_multiplies_what_is_expected_whatever_the_kind(kind: Arrivals, rate: float, cv: float) -> None:
    assert mean_rate(scaled(kind, rate=rate, cv=cv), 20.0) == pytest.approx(rate * mean_rate(kind, 20.0))


@pytest.mark.slow
@some_tries
@given(some.dictionaries(names, kinds, min_size=1, max_size=3), some.data())
def test_a_file_says_everything_about_a_workload(
    tmp_path: Path, models: dict[str, Arrivals], data: some.DataObject
) -> None:
    shares = data.draw(some.dictionaries(some.sampled_from(sorted(models)), some.floats(0.1, 9), min_size=1))
    mixes = {"mix": Mix(data.draw(simple), shares)}
    slos = data.draw(some.lists(some.none() | times, min_size=len(models), max_size=len(models)))
    demands = {name: Demand(kind, slo) for (name, kind), slo in zip(models.items(), slos, strict=True)}
    workload = Workload(demands, data.draw(times), data.draw(some.integers(0, 2**64)), mixes)
    save_workload(workload, tmp_path / "w.yaml")
    assert load_workload(tmp_path / "w.yaml") == workload


@pytest.mark.slow
@some_tries
@given(some.dictionaries(names, simple, min_size=2, max_size=4), some.integers(0, 9))
def test_a_model_s_requests_do_not_depend_on_the_others(models: dict[str, Arrivals], seed: int) -> None:
    together = make(Workload({name: Demand(kind) for name, kind in models.items()}, 5.0, seed))
    for name, kind in models.items():
        alone = make(Workload({name: Demand(kind)}, 5.0, seed))
        assert alone.of(name).tobytes() == together.of(name).tobytes()
