"""Whether something grows, from samples with chance in them."""

from random import Random

import pytest

from cutwater.lab.soak import Sample, Trend, trends


def samples(per_hour: float, noise: float = 1e6, hours: float = 0.5) -> list[Sample]:
    """240 samples of a process of 100 MB that grows by so many bytes an hour, after a warm-up that grows faster."""
    rng = Random(3)
    found = []
    for k in range(240):
        share = k / 239
        warming = 20e6 * min(share / 0.15, 1.0)
        memory = 80e6 + warming + per_hour * hours * share + rng.gauss(0.0, noise)
        found.append(Sample(share * hours * 3600.0, "gateway", int(memory), 30, 4, rng.choice((0, 0, 0, 1))))
    return found


def memory_of(found: list[Trend]) -> Trend:
    return next(trend for trend in found if trend.what == "memory")


def test_what_only_warms_up_is_flat() -> None:
    found = trends(samples(per_hour=0.0))
    assert [trend.what for trend in found] == ["memory", "descriptors", "threads", "queue"]
    assert all(trend.flat for trend in found)


def test_a_leak_is_seen_through_the_noise() -> None:
    leak = memory_of(trends(samples(per_hour=20e6)))
    assert not leak.flat
    assert leak.slope == pytest.approx(20e6, abs=leak.margin)


def test_one_descriptor_every_ten_minutes_is_growth() -> None:
    leaking = [
        Sample(each.at, each.process, each.memory, 30 + int(each.at // 600.0 * 1.0), 4, 0) for each in samples(0.0)
    ]
    found = {trend.what: trend.flat for trend in trends(leaking)}
    assert found == {"memory": True, "descriptors": False, "threads": True, "queue": True}


def test_who_was_there_only_for_a_while_is_left_out() -> None:
    assert trends([*samples(0.0)[:60], Sample(1800.0, "node-1", 1, 1, 1, 0)]) == []
