"""Who comes in at the gateway's door, who has to go again, and in which order they fly."""

import msgspec
from gateway_story import L1, R1, R2, R3, R4, VIA_A, A, B, C, D, Story, X, answer, launch, lost

from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import Asked, Complete, Fail, GatewayCommand, Received, Rerouted, Route, Tick
from cutwater.units import RequestId, StageId
from cutwater.wire.message import Answer, Mark

R5, R6, R7 = map(RequestId, (5, 6, 7))
EIGHTH = Route((A,), seconds=(0.125,), latency=0.125)
"""Answers eight requests per second."""
HALVES = (Route((A, B), seconds=(0.125, 0.0625)), Route((C, B), seconds=(0.125, 0.0625)))
"""The first stage twice: sixteen per second."""


def refused(commands: list[GatewayCommand]) -> Fault:
    """The only thing that happens is that somebody is refused, so."""
    (fail,) = commands
    assert isinstance(fail, Fail) and fail.fault.kind == "Refused" and fail.fault.retryable
    return fail.fault


def test_who_would_be_answered_too_late_is_refused_at_once_and_told_when_to_ask_again() -> None:
    story = Story(EIGHTH)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    message = (
        "an answer would take 0.398 s, with 2 requests before it, and it was given 0.375 s; ask again later, or give "
        "it more time"
    )
    assert story.ask(R3, at=1.0, timeout=0.375) == [Fail(R3, Fault("Refused", message, "gateway", True, 0.3984375))]
    assert story.ask(R4, at=1.0, timeout=0.5) == [launch(R4, route=EIGHTH, budget=0.5)]
    snapshot = story.machine.snapshot()
    assert (snapshot.accepted, snapshot.refused) == (3, 1)


def test_whoever_has_work_before_it_can_ask_hears_what_would_be_said_and_nothing_changes() -> None:
    story = Story(EIGHTH)
    story.ask(R1, at=1.0)
    before = story.machine.snapshot()
    asked = Asked(R2, 0.375)
    assert story.machine.outlook(asked, 0, 1.0) is None
    fault = story.machine.outlook(asked, 1, 1.0)
    assert fault is not None and (fault.kind, fault.retry_after) == ("Refused", 0.3984375)
    assert story.machine.snapshot() == before
    quiet = Story(EIGHTH)
    assert quiet.machine.outlook(asked, 0, 1.0) is None
    assert quiet.machine.outlook(asked, 9, 1.0) is not None


def test_while_nobody_is_under_way_a_request_may_try_whatever_is_predicted() -> None:
    story = Story(EIGHTH)
    assert story.ask(R1, at=1.0, timeout=2**-9) == [launch(R1, route=EIGHTH, budget=2**-9)]


def test_as_long_as_nothing_is_known_nobody_is_refused_for_lack_of_time() -> None:
    story = Story(VIA_A, window=1)
    story.ask(R1, at=1.0)
    assert story.ask(R2, at=1.0, timeout=0.001) == []


def test_what_was_seen_replaces_what_the_plan_predicted() -> None:
    story = Story(EIGHTH, window=1, credits=100)
    for number in range(1, 60):
        story.ask(RequestId(number), at=1.0, timeout=60.0)
    for number in range(1, 50):  # it takes twice as long as planned
        story.land(RequestId(number), at=1.0 + 0.2 * number)
    before = story.machine.snapshot()
    assert (before.flying, before.queued) == (1, 9)
    fault = refused(story.ask(RequestId(99), at=10.8, timeout=2.0))
    assert 2.2 < fault.retry_after < 2.5
    assert story.ask(RequestId(100), at=10.8, timeout=3.0) == []


def test_a_line_that_stands_still_is_worth_less_with_every_moment() -> None:
    story = Story(EIGHTH, window=1, credits=100)
    for number in range(1, 60):
        story.ask(RequestId(number), at=1.0, timeout=60.0)
    for number in range(1, 50):
        story.land(RequestId(number), at=1.0 + 0.1 * number)
    assert story.ask(RequestId(60), at=6.0, timeout=2.0) == []
    assert story.ask(RequestId(61), at=7.0, timeout=2.0) == []
    newcomer, waiting = story.ask(RequestId(62), at=8.0, timeout=2.0)
    assert (newcomer.request, waiting.request) == (62, 60)  # type: ignore[union-attr]


def test_with_half_the_workers_only_half_as_many_come_in() -> None:
    story = Story(*HALVES, credits=1)
    assert len(story.ask(R1, at=1.0)) == len(story.ask(R2, at=1.0)) == 1
    assert story.ask(R3, at=1.0, timeout=0.24) == []
    assert story.tell(Received(L1, lost(R1, "unix:a")), at=1.0)[0].request == R3  # type: ignore[union-attr]
    assert refused(story.ask(R4, at=1.0, timeout=0.375)).retry_after == 0.3984375


def test_who_waits_in_vain_is_ended_before_anything_is_computed_for_it() -> None:
    story = Story(EIGHTH, window=1)
    story.ask(R1, at=1.0)
    assert story.ask(R2, at=1.0, timeout=0.375) == []
    message = (
        "after 0.188 s in the line an answer would still take 0.25 s, and it was given 0.375 s; ask again later, or "
        "give it more time"
    )
    assert story.tell(Tick(), at=1.1875) == [Fail(R2, Fault("Refused", message, "gateway", True, 0.3984375))]
    snapshot = story.machine.snapshot()
    assert (snapshot.failed, snapshot.dropped, snapshot.refused) == (1, 1, 0)


def test_of_two_that_wait_the_one_that_can_still_make_it_flies() -> None:
    story = Story(EIGHTH, window=1)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0, timeout=0.5)
    story.ask(R3, at=1.0, timeout=5.0)
    complete, fail, launched = story.tell(Received(L1, answer(R1)), at=1.49)
    assert (complete, fail.request, launched) == (  # type: ignore[union-attr]
        Complete(R1),
        R2,
        launch(R3, route=EIGHTH, budget=5.0 - (1.49 - 1.0)),
    )


def test_higher_priority_flies_first_and_what_flies_again_before_all() -> None:
    story = Story(window=2)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    for request, priority in ((R3, 0), (R4, -1), (R5, 7), (R6, 7)):
        assert story.ask(request, at=1.0, priority=priority) == []
    assert story.land(R2, at=1.1) == [R5]
    story.tell(Received(L1, lost(R1, "unix:nobody")), at=1.2)
    assert story.machine.snapshot().flying == 2
    assert story.land(R5, at=1.3) == [R6]
    assert story.land(R1, at=1.3) == []  # an answer to its first attempt
    story.tell(Received(L1, answer(R1, attempt=2)), at=1.4)
    assert story.land(R6, at=1.5) == [R4]


def test_who_is_served_later_does_not_count_for_who_is_served_sooner() -> None:
    story = Story(EIGHTH, window=1)
    story.ask(R1, at=1.0)
    for number in range(10, 30):
        assert story.ask(RequestId(number), at=1.0) == []
    refused(story.ask(R2, at=1.0, timeout=1.0))
    assert story.ask(R3, at=1.0, timeout=1.0, priority=1) == []
    assert story.ask(R4, at=1.0, timeout=1.0, client="another") == []


def test_clients_take_turns_however_many_requests_each_has_waiting() -> None:
    story = Story(window=1)
    story.ask(R1, at=1.0, client="greedy")
    for number in range(10, 60):
        story.ask(RequestId(number), at=1.0, client="greedy")
    assert story.land(R1, at=1.1) == [10]
    story.ask(R2, at=1.1, client="modest")
    story.ask(R3, at=1.1, client="modest")
    order = []
    flying = RequestId(10)
    for step in range(5):
        (flying,) = story.land(flying, at=1.2 + step)
        order.append(flying)
    assert order == [11, R2, 12, R3, 13]


def test_where_the_line_is_full_the_more_urgent_displaces_the_last_of_the_least_urgent() -> None:
    story = Story(EIGHTH, window=1, queue=3)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0, priority=1)
    story.ask(R3, at=1.0)
    story.ask(R4, at=1.0)
    message = "3 requests were waiting, and one came that is served sooner; ask again later or more slowly"
    assert story.ask(R5, at=1.0, priority=1) == [Fail(R4, Fault("Refused", message, "gateway", True, 0.6640625))]
    assert refused(story.ask(R6, at=1.0)).message.startswith("3 requests are already waiting; ask again")
    assert [story.land(R1, at=1.1), story.land(R2, at=1.2), story.land(R5, at=1.3)] == [[R2], [R5], [R3]]


def test_where_the_line_is_full_the_client_with_the_most_waiting_loses_its_newest() -> None:
    story = Story(window=1, queue=4)
    story.ask(R1, at=1.0, client="greedy")
    for request in (R2, R3, R4, R5):
        story.ask(request, at=1.0, client="greedy")
    (fail,) = story.ask(R6, at=1.0, client="modest")
    assert (fail.request, fail.fault.kind) == (R5, "Refused")  # type: ignore[union-attr]
    refused(story.ask(R7, at=1.0, client="greedy"))


def test_with_short_deadlines_no_more_are_under_way_than_keep_the_stages_busy() -> None:
    story = Story(EIGHTH)
    for number in range(1, 4):
        story.ask(RequestId(number), at=1.0, timeout=1.0)
    for number in range(1, 4):
        story.land(RequestId(number), at=1.0 + 0.1 * number)
    for number in range(11, 18):
        assert story.ask(RequestId(number), at=2.0, timeout=1.0) != [] or story.machine.snapshot().queued
    snapshot = story.machine.snapshot()
    assert snapshot.flying < 5 and snapshot.flying + snapshot.queued >= 6


def test_where_workers_take_several_at_once_enough_are_under_way_to_fill_a_batch() -> None:
    def flying(route: Route) -> int:
        story = Story(route, credits=100)
        story.ask(R1, at=1.0, timeout=1.0)
        story.land(R1, at=1.125)
        for number in range(2, 60):
            story.ask(RequestId(number), at=1.125, timeout=1.0)
        return story.machine.snapshot().flying

    assert flying(EIGHTH) == 4
    assert flying(msgspec.structs.replace(EIGHTH, batch=4)) == 7  # four that are computed, and most of the next batch


def test_enough_are_under_way_for_what_workers_take_now_not_for_what_they_once_took() -> None:
    four = Route((A, B, C, D), seconds=(0.125,) * 4, latency=0.5)

    def flying(batch: int) -> int:
        story = Story(msgspec.structs.replace(four, batch=batch), credits=100)
        mark = Mark(StageId(""), 0.0, 0.0, 0.125, 0.125, batch, 0, 0, 0.0, 0.0)
        for number in range(1, 60):
            story.ask(RequestId(number), at=float(number), timeout=1.0)
            story.tell(Received(L1, Answer(RequestId(number), 1, "plain", X, (mark,) * 4)), number + 0.5)
        story.tell(Rerouted((four,)), at=60.0)
        for number in range(101, 140):
            story.ask(RequestId(number), at=61.0, timeout=1.0)
        return story.machine.snapshot().flying

    assert flying(8) == flying(1) > 5


def test_where_answers_come_late_more_time_is_wanted_and_it_does_not_matter_how_late() -> None:
    story = Story(EIGHTH, credits=100)
    for number in range(1, 41):
        story.ask(RequestId(number), at=float(number), timeout=0.5)
        story.tell(Tick(), at=number + 0.5)
    story.ask(R1, at=50.0)
    assert 0.5 < refused(story.ask(R2, at=50.0, timeout=0.5)).retry_after < 1.2


def test_who_had_no_time_to_begin_with_says_nothing_about_others() -> None:
    story = Story(EIGHTH, credits=100)
    for number in range(1, 41):
        story.ask(RequestId(number), at=float(number), timeout=0.01)
        story.tell(Tick(), at=number + 0.5)
    story.ask(R1, at=50.0)
    assert story.ask(R2, at=50.0, timeout=0.5) != []


def test_other_ways_are_judged_by_what_is_known_of_their_workers() -> None:
    story = Story(EIGHTH, window=1)
    story.ask(R1, at=1.0)
    assert story.ask(R2, at=1.0, timeout=0.5) == []
    story.tell(Rerouted((Route((A,), epoch=1, seconds=(0.4,)),)), at=1.0)
    assert story.ask(R3, at=1.0, timeout=0.5) == []  # the worker is the same, and is expected to take an eighth
    story.tell(Rerouted((Route((A, B), epoch=2, seconds=(0.1, 0.4)),)), at=1.0)
    assert refused(story.ask(R4, at=1.0, timeout=0.82)).retry_after == 1.0625 * 0.8
