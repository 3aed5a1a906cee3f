"""What one run says about a mean, a percentile and a share: exact where independent, wider where lateness lasts."""

import math

import numpy as np
import pytest

from cutwater.lab.load.doubt import Estimate, design_effect, mean, percentile, share, wilson


def test_a_percentile_is_the_latency_of_one_request() -> None:
    samples = np.random.default_rng(1).permutation(np.arange(1.0, 1001.0))
    assert [percentile(samples, at).value for at in (0.5, 0.9, 0.99, 0.999)] == [500.0, 900.0, 990.0, 999.0]
    assert percentile(np.array([7.0]), 0.99) == Estimate(7.0, 0.0, math.inf)


def test_nothing_bounds_a_percentile_that_few_samples_exceed() -> None:
    found = percentile(np.arange(1.0, 1001.0), 0.999)
    assert found.high == math.inf
    assert found.low > 990


@pytest.mark.parametrize(("value", "count"), [(0.0, 50), (1.0, 50), (0.99, 1000), (0.5, 3)])
def test_wilsons_interval_holds_the_share_and_stays_within_bounds(value: float, count: int) -> None:
    found = wilson(value, count)
    assert 0 <= found.low <= value <= found.high <= 1
    assert found.high - found.low > 0


def test_lateness_that_lasts_widens_what_independent_lateness_does_not() -> None:
    apart = np.ones(4000, bool)
    apart[::20] = False
    together = np.ones(4000, bool)
    together[1000:1200] = False  # the same share, in one go
    assert share(apart).value == share(together).value == 0.95
    assert design_effect(apart) == 1.0
    assert design_effect(together) > 50
    assert share(together).low < share(apart).low - 0.05


def test_of_three_samples_as_much_is_known_as_student_says() -> None:
    rng = np.random.default_rng(3)
    found = [mean(rng.normal(size=3)) for _ in range(1000)]
    held = sum(each.low <= 0 <= each.high for each in found)
    assert 930 <= held <= 970  # 95 %, within three standard deviations


def test_intervals_hold_what_is_true_about_as_often_as_they_say() -> None:
    """Waiting times that remember each other: an autoregression of the first order with a known median."""
    rng = np.random.default_rng(7)
    hits = {"mean": 0, "median": 0, "share": 0}
    for _ in range(200):
        noise = rng.normal(size=4000)
        samples = np.empty(4000)
        level = rng.normal() / math.sqrt(1 - 0.9**2)
        for k, step in enumerate(noise.tolist()):
            level = 0.9 * level + step
            samples[k] = level
        found = {"mean": mean(samples), "median": percentile(samples, 0.5)}
        hits["share"] += share(samples <= 0).low <= 0.5 <= share(samples <= 0).high
        for name, each in found.items():
            hits[name] += each.low <= 0 <= each.high
    assert all(176 <= count <= 200 for count in hits.values()), hits  # 95 %, within three standard deviations
