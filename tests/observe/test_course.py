"""The time of a request is laid out without gaps, whatever the clocks of its stages say."""

import pytest
from endings import HOP, LATENCY, MS, QUEUE, answered

from cutwater.api.finished import Finished
from cutwater.observe.course import Part, hops, lay

SAME, TWO_AHEAD, ALL_OTHER = (0.0, 0.0, 0.0), (0.0, 500.0, 500.0), (-900.0, 12.0, 7e5)


def leaves(parts: tuple[Part, ...]) -> list[Part]:
    return [leaf for part in parts for leaf in (part.parts or (part,))]


def test_on_one_clock_every_hop_is_measured() -> None:
    found = hops(answered())
    assert found.agreed
    assert found.seconds == pytest.approx([HOP] * 4)
    assert found.total == pytest.approx(4 * HOP)
    assert found.wait == pytest.approx(QUEUE)


@pytest.mark.parametrize("clocks", [TWO_AHEAD, ALL_OTHER, (1e4, 0.0, 0.0), (0.0, 0.0, -1e4)])
def test_on_several_clocks_the_sum_of_the_hops_is_still_known(clocks: tuple[float, ...]) -> None:
    found = hops(answered(clocks))
    assert not found.agreed
    assert found.total == pytest.approx(4 * HOP)
    assert sum(found.seconds) == pytest.approx(4 * HOP)
    assert min(found.seconds) >= 0


def test_stages_that_share_another_clock_show_the_hop_between_them() -> None:
    seconds = hops(answered(TWO_AHEAD)).seconds
    assert seconds[0] == pytest.approx(HOP), "the first stage has the gateway's clock"
    assert seconds[2] == pytest.approx(HOP), "the last two have the same"


@pytest.mark.parametrize("clocks", [SAME, TWO_AHEAD, ALL_OTHER])
def test_parts_follow_each_other_and_fill_the_latency(clocks: tuple[float, ...]) -> None:
    parts = lay(answered(clocks))
    assert [part.name for part in parts] == [
        "queue",
        "hop gateway -> stage-1",
        "stage-1",
        "hop stage-1 -> stage-2",
        "stage-2",
        "hop stage-2 -> stage-3",
        "stage-3",
        "hop stage-3 -> gateway",
    ]
    now = 0.0
    for leaf in leaves(parts):
        assert leaf.begin == pytest.approx(now, abs=1e-9)
        assert leaf.end >= leaf.begin
        now = leaf.end
    assert now == pytest.approx(LATENCY)
    assert sum(leaf.end - leaf.begin for leaf in leaves(parts)) == pytest.approx(LATENCY)


def test_a_stage_consists_of_what_it_did() -> None:
    stage = lay(answered(ALL_OTHER))[4]
    took = {part.name: part.end - part.begin for part in stage.parts}
    assert took == pytest.approx({"queue": MS, "decode": MS, "compute": 4 * MS, "encode": MS, "hold": MS})


def test_where_nobody_knows_when_it_left_the_gateway_waiting_is_part_of_the_first_hop() -> None:
    first, *_ = parts = lay(answered()._replace(launched=0.0))
    assert first.name == "hop gateway -> stage-1"
    assert first.end - first.begin == pytest.approx(QUEUE + HOP)
    assert parts[-1].end == pytest.approx(LATENCY)


def test_a_stage_that_claims_more_time_than_there_was_stays_inside_the_request() -> None:
    request: Finished = answered()._replace(ended=1000.0 + 2 * QUEUE)
    now = 0.0
    for leaf in leaves(lay(request)):
        assert leaf.begin == pytest.approx(now, abs=1e-9) and leaf.end >= leaf.begin
        now = leaf.end
    assert now == pytest.approx(2 * QUEUE)


def test_what_was_not_answered_has_no_parts() -> None:
    assert lay(answered()._replace(trail=())) == ()
