"""A workload's models do not disturb each other: neither who else is there nor the order matters to a stream."""

import numpy as np
import pytest
from numpy.random import default_rng

from cutwater.errors import BadQuantity, NotFound
from cutwater.workload.arrivals import Constant, Gamma, Poisson, Times
from cutwater.workload.figures import figures
from cutwater.workload.schedule import Schedule
from cutwater.workload.workload import Demand, Mix, Workload, make

BERT, RESNET = Demand(Gamma(30.0, 3.0)), Demand(Poisson(50.0), slo=0.25)


def test_another_model_changes_nothing_for_those_that_were_there() -> None:
    alone = make(Workload({"bert": BERT}, 60.0, seed=3))
    beside = make(Workload({"resnet": RESNET, "vit": BERT, "bert": BERT}, 60.0, seed=3))
    assert alone.of("bert").tobytes() == beside.of("bert").tobytes()
    assert beside.of("vit").tobytes() != beside.of("bert").tobytes()
    assert beside.slos == {"resnet": 0.25}


def test_another_seed_changes_everything() -> None:
    one, two = (make(Workload({"bert": BERT}, 60.0, seed=seed)).of("bert") for seed in (1, 2))
    assert not np.intersect1d(one, two).size


def test_streams_of_different_models_are_uncorrelated() -> None:
    drawn = make(Workload({"a": Demand(Poisson(20.0)), "b": Demand(Poisson(20.0))}, 5000.0))
    counts = [np.histogram(drawn.of(model), 5000, (0, 5000))[0] for model in "ab"]
    assert abs(float(np.corrcoef(*counts)[0, 1])) < 5 / 5000**0.5


def test_a_mix_deals_each_request_to_one_model_by_its_weight() -> None:
    office = Mix(Poisson(100.0), {"bert": 80.0, "resnet": 20.0})
    drawn = make(Workload({"bert": Demand(), "resnet": Demand()}, 1000.0, mixes={"office": office}))
    total, bert = drawn.requests, len(drawn.of("bert"))
    assert abs(total - 100000) < 5 * 100000**0.5
    assert abs(bert - 0.8 * total) < 5 * (total * 0.8 * 0.2) ** 0.5
    assert abs((figures(drawn.of("bert"), 1000.0).cv or 0) - 1.0) < 5 / bert**0.5  # a share of Poisson is Poisson


def test_a_model_has_its_own_requests_and_its_share_of_mixes() -> None:
    mixes = {"office": Mix(Constant(2.0), {"bert": 1.0})}
    drawn = make(Workload({"bert": Demand(Constant(1.0))}, 2.0, mixes=mixes))
    assert drawn.of("bert").tolist() == [0.0, 0.0, 0.5, 1.0, 1.0, 1.5]


def test_a_schedule_can_be_walked_through_in_order() -> None:
    schedule = Schedule({"a": np.array([0.5, 2.0]), "b": np.array([0.25, 0.5])}, 3.0)
    assert list(schedule) == [(0.25, "b"), (0.5, "a"), (0.5, "b"), (2.0, "a")]
    assert [part.tolist() for part in schedule.merged()] == [[0.25, 0.5, 0.5, 2.0], [1, 0, 1, 0]]
    with pytest.raises(NotFound, match="no model 'c' in this schedule; known are a, b"):
        schedule.of("c")


def test_a_part_of_a_schedule_begins_at_zero() -> None:
    schedule = Schedule({"a": np.array([0.0, 1.0, 2.0, 3.0])}, 4.0)
    part = schedule.between(1.0, 2.0)
    assert (part.of("a").tolist(), part.duration) == ([0.0, 1.0], 2.0)
    for begin, length in ((3.0, 2.0), (-1.0, 2.0), (0.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(BadQuantity, match=r"no part of a schedule of 4 s"):
            schedule.between(begin, length)


def test_functions_are_dealt_out_to_models_in_turn() -> None:
    functions: dict[str, Times] = {f"f{k}": np.array([float(k), k + 10.0]) for k in range(5)}
    striped = Schedule(functions, 20.0).striped(["x", "y"])
    assert striped.of("x").tolist() == [0.0, 2.0, 4.0, 10.0, 12.0, 14.0]
    assert striped.of("y").tolist() == [1.0, 3.0, 11.0, 13.0]
    with pytest.raises(BadQuantity, match="not to x, x"):
        Schedule(functions, 20.0).striped(["x", "x"])


@pytest.mark.parametrize(
    ("models", "mixes", "message"),
    [
        ({}, {}, "models: needs at least one"),
        ({"bert": Demand()}, {}, "models.bert: needs the field 'arrivals', or a share in one of 'mixes'"),
        ({"bert": BERT}, {"m": Mix(Poisson(1.0), {})}, "mixes.m.shares: needs at least one model"),
        (
            {"bert": BERT},
            {"m": Mix(Poisson(1.0), {"brt": 1.0})},
            "mixes.m.shares.brt: there is no model 'brt' under 'models'; did you mean 'bert'?",
        ),
    ],
)
def test_a_workload_without_requests_or_of_unknown_models_is_refused(
    models: dict[str, Demand], mixes: dict[str, Mix], message: str
) -> None:
    with pytest.raises(BadQuantity) as refused:
        Workload(models, 60.0, mixes=mixes)
    assert str(refused.value) == message


def test_more_requests_than_can_be_drawn_are_refused_by_name() -> None:
    with pytest.raises(BadQuantity, match=r"models\.bert\.arrivals: rate: 1e\+12 requests in 1e\+06 s"):
        make(Workload({"bert": Demand(Poisson(1e6))}, 1e6))


def test_figures_say_what_can_be_counted_and_no_more() -> None:
    even = figures(np.arange(100) / 2.0, 50.0)
    assert (even.requests, even.rate, even.cv, even.dispersion, even.peak) == (100, 2.0, 0.0, {1.0: 0.0}, 1.0)
    none = figures(np.empty(0), 50.0)
    assert (none.requests, none.cv, none.dispersion, none.peak) == (0, None, {}, 1.0)
    burst = figures(np.array([30.0] * 7 + [31.0]), 100.0)
    assert burst.peak == pytest.approx(7 / 0.08)
    assert figures(default_rng(0).uniform(0, 5, 3), 5.0).dispersion == {}
