"""Which way the gateway sends a request: the quickest that is open, spares and its own copy of the model last."""

from gateway_story import L1, L2, L3, R1, R2, R3, R4, VIA_A, VIA_C, A, B, C, Story, answer, launch, lost

from cutwater.engine.gateway.figures import GatewaySnapshot
from cutwater.engine.vocabulary import (
    Complete,
    Dial,
    DialFailed,
    Hangup,
    LinkId,
    Lost,
    Opened,
    Received,
    Rerouted,
    Route,
    StandIn,
    Tick,
)
from cutwater.units import RequestId
from cutwater.wire.message import Hop

WHOLE = Route((Hop("unix:whole", "plain"),), degraded=True)


def test_links_are_dialled_for_new_ways_and_hung_up_when_their_last_flight_is_over() -> None:
    story = Story(VIA_A)
    assert story.ask(R1, at=1.0) == [launch(R1)]
    newer = Route((C, B), epoch=1)
    assert story.tell(Rerouted((newer,)), at=2.0) == [Dial("unix:c")]
    assert story.ask(R2, at=2.5) == []
    assert story.tell(Opened(L2, 8, "unix:c"), at=3.0) == [launch(R2, L2, newer, budget=9.5)]
    assert story.machine.snapshot() == GatewaySnapshot(flying=2, epochs={0: 1, 1: 1}, accepted=2, open=True)
    assert story.tell(Received(L1, answer(R1)), at=4.0) == [Hangup(L1), Complete(R1)]
    assert story.tell(Lost(L1, "closed"), at=4.1) == []


def test_a_retry_goes_by_the_new_ways() -> None:
    story = Story(VIA_A)
    story.ask(R1, at=1.0)
    newer = Route((C, B), epoch=1)
    story.tell(Rerouted((newer,)), at=2.0)
    story.tell(Opened(L2, 8, "unix:c"), at=2.0)
    assert story.tell(Lost(L1, "reset"), at=3.0) == [launch(R1, L2, newer, attempt=2, budget=8.0)]


def test_a_link_that_opens_when_nothing_needs_it_any_more_is_hung_up() -> None:
    story = Story(VIA_A)
    story.tell(Rerouted((VIA_A, VIA_C)), at=1.0)
    assert story.tell(Rerouted((VIA_A,)), at=2.0) == []
    assert story.tell(Opened(L2, 8, "unix:c"), at=3.0) == [Hangup(L2)]


def test_the_least_predicted_delay_wins_and_what_is_seen_replaces_what_was_predicted() -> None:
    quick = Route((A, B), seconds=(0.010, 0.010), latency=0.020)
    slow = Route((C,), seconds=(0.025,), latency=0.025)
    story = Story(quick, slow)
    assert story.ask(R1, at=1.0) == [launch(R1, L1, quick)]
    assert story.ask(R2, at=1.0) == [launch(R2, L2, slow)]
    assert story.ask(R3, at=1.0) == [launch(R3, L1, quick)]
    story.tell(Received(L1, answer(R1, seconds=(0.110, 0.010))), at=2.0)
    story.tell(Received(L1, answer(R3, seconds=(0.110, 0.010))), at=2.0)
    story.tell(Received(L2, answer(R2, seconds=(0.025,))), at=2.0)
    assert story.ask(R4, at=2.0) == [launch(R4, L2, slow)]
    story.tell(Received(L2, answer(R4, seconds=(0.025,))), at=2.1)
    assert story.ask(RequestId(5), at=13.0) == [launch(RequestId(5), L1, quick)]


def test_the_network_counts_too() -> None:
    far = Route((A,), seconds=(0.010,), latency=0.100)
    near = Route((C,), seconds=(0.020,), latency=0.025)
    story = Story(far, near)
    assert [story.ask(request, at=1.0)[0].link for request in (R1, R2, R3)] == [L2, L2, L2]  # type: ignore[union-attr]


def test_a_spare_is_taken_where_no_other_way_is_open_and_not_where_one_is_only_busy() -> None:
    spare = Route((C, B), spare=True)
    story = Story(VIA_A, spare, credits=1)
    assert story.ask(R1, at=1.0) == [launch(R1)]
    assert story.ask(R2, at=1.0) == []
    assert story.tell(Lost(L1, "reset"), at=2.0) == [launch(R1, L2, spare, attempt=2, budget=9.0)]
    story.tell(Tick(), at=2.1)
    assert story.tell(Opened(L3, 4, "unix:a"), at=2.2) == [launch(R2, L3, budget=8.8)]


def test_a_worker_that_comes_back_under_a_new_name_is_trusted_at_once_and_one_with_the_old_name_is_not() -> None:
    story = Story(VIA_A, Route((C, B)))
    story.ask(R1, at=1.0)
    story.tell(Received(L1, lost(R1, "unix:b")), at=2.0)
    assert story.tell(Rerouted((VIA_A, VIA_C)), at=2.1) == []
    fresh = Route((A, Hop("unix:b2", "plain")))
    assert story.tell(Rerouted((fresh,)), at=2.2) == [Hangup(L2), launch(R1, L1, fresh, attempt=2, budget=8.8)]


def test_with_nothing_else_left_the_gateway_answers_by_itself_and_says_so() -> None:
    story = Story(VIA_A, WHOLE)
    story.ask(R1, at=1.0, timeout=60.0)
    assert story.tell(Lost(L1, "reset"), at=2.0) == []
    assert story.tell(Tick(), at=2.1) == [Dial("unix:a")]
    assert story.tell(DialFailed("unix:a", "nobody there"), at=2.2) == []
    assert story.tell(Tick(), at=2.5) == [Dial("unix:a")]
    assert story.tell(Tick(), at=3.0) == [StandIn("unix:whole", True), Dial("unix:whole")]
    assert story.tell(Opened(L2, 8, "unix:whole"), at=4.0) == [launch(R1, L2, WHOLE, attempt=2, budget=57.0)]
    assert story.tell(Received(L2, answer(R1, attempt=2)), at=5.0) == [Complete(R1, degraded=True)]
    assert story.machine.snapshot().degraded == 1
    # The workers are back: they are tried, trusted again, and after a while the copy goes.
    assert story.tell(Opened(L3, 8, "unix:a"), at=6.0) == []
    assert story.ask(R2, at=6.5) == [launch(R2, L3)]
    story.tell(Received(L3, answer(R2, seconds=(0.1, 0.1))), at=7.0)
    assert story.ask(R3, at=8.0) == [launch(R3, L3)]
    assert story.tell(Tick(), at=17.0) == [StandIn("unix:whole", False), Hangup(L2)]


def test_the_stand_in_is_asked_for_again_when_its_link_is_lost() -> None:
    story = Story(WHOLE)
    assert story.ask(R1, at=0.5) == []
    assert story.tell(Tick(), at=1.0) == [StandIn("unix:whole", True), Dial("unix:whole")]
    story.tell(Opened(L1, 8, "unix:whole"), at=1.5)
    assert story.tell(Lost(L1, "reset"), at=2.0) == []
    assert story.tell(Tick(), at=2.1) == [StandIn("unix:whole", True), Dial("unix:whole")]


def test_nobody_stands_in_while_nobody_waits() -> None:
    story = Story(VIA_A, WHOLE)
    story.tell(Lost(L1, "reset"), at=1.0)
    assert story.tell(Tick(), at=1.1) == [Dial("unix:a")]
    assert story.tell(Tick(), at=5.0) == []
    assert story.ask(R1, at=6.0) == [StandIn("unix:whole", True), Dial("unix:whole")]


def test_with_no_ways_at_all_a_request_waits_until_there_are_some() -> None:
    story = Story(VIA_A)
    assert story.tell(Rerouted(()), at=1.0) == [Hangup(L1)]
    assert story.ask(R1, at=2.0) == []
    assert story.tell(Rerouted((VIA_C,)), at=3.0) == [Dial("unix:c")]
    assert story.tell(Opened(LinkId(9), 8, "unix:c"), at=4.0) == [launch(R1, LinkId(9), VIA_C, budget=8.0)]
