"""Rates and quantiles are those of the last seconds, and nothing older is kept."""

import pytest

from cutwater.services.gateway.lately import SPAN, Lately


def test_a_steady_stream_has_its_rate_and_its_latencies() -> None:
    lately = Lately(0.0)
    for k in range(2000):
        lately.add(k / 100, 0.010 if k % 100 else 0.500)
    assert lately.rate(20.0) == pytest.approx(100, rel=0.01)
    assert lately.quantiles(20.0, 0.5, 0.999) == [pytest.approx(0.010, rel=0.04), pytest.approx(0.500, rel=0.04)]


def test_the_first_answers_count_from_the_start() -> None:
    lately = Lately(100.0)
    lately.add(100.25, 0.001)
    assert lately.rate(100.5) == 2.0


def test_what_is_long_past_counts_no_more() -> None:
    lately = Lately(0.0)
    for k in range(100):
        lately.add(k, 1.0)
    assert lately.rate(200.0) == 0.0
    assert lately.quantiles(200.0, 0.5) == [0.0]
    assert len(lately._seconds) <= SPAN + 2
