"""The ledger: requests folded into seconds, phases and lists, in bounded memory."""

import sys

import pytest
from ended import ended

from cutwater.services.dashboard.ledger import RECENT, SPAN, Ledger, quantiles


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(clock)


def test_a_second_is_told_when_it_is_over(ledger: Ledger, clock: Clock) -> None:
    for fault in ("", "", "WorkerLost", "Refused", "Withdrawn"):
        ledger.observe(ended(fault=fault))
    assert ledger.rows() == {}
    clock.now += 1
    [row] = ledger.rows()["vit"]
    assert (row.at, row.answered, row.failed, row.refused) == (1000, 2, 1, 1)
    assert row.p50 == pytest.approx(0.010, rel=0.04)
    assert ledger.rows(since=1001) == {}


def test_phases_add_up_to_the_latency(ledger: Ledger) -> None:
    ledger.observe(ended(latency=0.012))
    ledger.observe(ended(latency=0.014))
    spent = ledger.spent("vit")
    assert spent is not None
    first, second, back = spent.stages
    assert list(first) == pytest.approx([0.001] * 5)
    assert second.compute == pytest.approx(0.001)
    assert back.hop == pytest.approx(0.003)
    assert spent.wait + sum(map(sum, spent.stages)) == pytest.approx(0.013)
    assert ledger.spent("other") is None


def test_what_is_kept_is_bounded_however_much_comes(ledger: Ledger, clock: Clock) -> None:
    for number in range(3 * SPAN):
        clock.now += 1
        ledger.observe(ended(2 * number))
        ledger.observe(ended(2 * number + 1, fault="DeadlineExceeded"))
    assert len(ledger.rows()["vit"]) < SPAN
    assert len(list(ledger.recent())) == RECENT
    assert len(list(ledger.failed())) == RECENT
    assert len(list(ledger.slowest())) <= SPAN
    assert sys.getsizeof(ledger.rows()["vit"][0].answered) < 100


def test_requests_are_found_by_model_by_slowness_and_by_name(ledger: Ledger, clock: Clock) -> None:
    ledger.observe(ended(1, latency=0.011))
    clock.now += 1
    ledger.observe(ended(2, latency=0.020))
    ledger.observe(ended(3, model="other", latency=0.5))
    assert [each.request for each in ledger.recent()] == ["g-3", "g-2", "g-1"]
    assert [each.request for each in ledger.slowest("vit")] == ["g-2", "g-1"]
    assert next(ledger.slowest()).request == "g-3"
    assert ledger.find("g-1") == ended(1, latency=0.011)
    assert ledger.find("g-9") is None


def test_quantiles_are_right_to_four_percent(ledger: Ledger, clock: Clock) -> None:
    for number in range(1, 101):
        ledger.observe(ended(number, latency=0.010 * number))
    clock.now += 1
    [row] = ledger.rows()["vit"]
    assert row.p50 == pytest.approx(0.5, rel=0.04)
    assert row.p99 == pytest.approx(0.99, rel=0.04)
    assert quantiles(ledger._models["vit"][0].latencies, 1.0) == [pytest.approx(1.0, rel=0.04)]
