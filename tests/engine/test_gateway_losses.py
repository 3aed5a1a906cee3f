"""The gateway when workers and links are lost: requests go again by another way, late answers are dropped."""

from gateway_story import L1, L2, R1, R2, R3, R4, VIA_A, VIA_C, A, B, D, Story, answer, launch, lost

from cutwater.engine.fault import Fault
from cutwater.engine.gateway.retries import Quarantine
from cutwater.engine.vocabulary import (
    Complete,
    Dial,
    DialFailed,
    Drain,
    Fail,
    Hangup,
    LinkId,
    Lost,
    Opened,
    Received,
    Rerouted,
    Route,
    Send,
    Stop,
    Tick,
    WorkerGone,
)
from cutwater.units import RequestId
from cutwater.wire.message import Cancel, Failure, Hop

KILLED = Fault("WorkerLost", "stage-2 was killed by SIGKILL", "stage-2", True)
BY_D = Route((Hop("unix:c", "plain"), D))


def test_a_kill_in_the_middle_of_a_chain_sends_the_request_by_the_other_way_and_the_late_answer_is_dropped() -> None:
    story = Story(VIA_A, BY_D)
    assert story.ask(R1, at=1.0) == [launch(R1)]
    assert story.tell(Received(L1, lost(R1, "unix:b")), at=2.0) == [launch(R1, L2, BY_D, attempt=2, budget=9.0)]
    assert story.tell(Received(L1, answer(R1)), at=2.5) == []
    assert story.tell(Received(L2, answer(R1, attempt=2)), at=3.0) == [Complete(R1)]
    snapshot = story.machine.snapshot()
    assert (snapshot.answered, snapshot.retried, snapshot.late, snapshot.suspects) == (1, 1, 1, ("unix:b",))


def test_a_lost_link_sends_all_it_carried_by_the_other_way_before_those_that_wait_and_is_dialled_again() -> None:
    story = Story(VIA_A, VIA_C, window=4)
    for request in (R1, R2, R3, R4, RequestId(5)):
        story.ask(request, at=1.0)
    assert story.tell(Lost(L1, "silent for 1.5 s"), at=2.0) == [
        launch(R1, L2, VIA_C, attempt=2, budget=9.0),
        launch(R3, L2, VIA_C, attempt=2, budget=9.0),
    ]
    assert story.tell(Tick(), at=2.1) == [Dial("unix:a")]
    assert story.tell(DialFailed("unix:a", "nobody there"), at=2.2) == []
    assert story.tell(Tick(), at=2.5) == [Dial("unix:a")]
    assert story.machine.snapshot().suspects == ("unix:a",)


def test_without_another_way_a_request_waits_for_the_link_and_then_tries_it_alone() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    assert story.tell(Lost(L1, "reset"), at=2.0) == []
    assert story.tell(Tick(), at=2.1) == [Dial("unix:a")]
    assert story.tell(Opened(L2, 8, "unix:a"), at=2.2) == [launch(R1, L2, attempt=2, budget=8.8)]
    again = story.tell(Received(L2, answer(R1, attempt=2)), at=3.0)
    assert again == [Complete(R1), launch(R2, L2, attempt=2, budget=8.0)]
    assert story.machine.snapshot().suspects == ()


def test_the_deadline_wins_over_every_retry() -> None:
    story = Story()
    story.ask(R1, at=1.0, timeout=1.5)
    story.tell(Lost(L1, "reset"), at=2.0)
    late = "no answer within 1.5 s; the request was still waiting for a way through the stages (unix:a: reset)"
    assert story.tell(Tick(), at=2.5) == [Fail(R1, Fault("DeadlineExceeded", late, "gateway")), Dial("unix:a")]


def test_a_worker_that_was_lost_is_tried_by_one_request_after_a_second_and_then_after_two() -> None:
    story = Story(VIA_A, BY_D)
    story.ask(R1, at=1.0)
    story.tell(Received(L1, lost(R1, "unix:b")), at=2.0)
    story.tell(Tick(), at=3.0)
    assert story.ask(R2, at=3.0) == [launch(R2)]
    assert story.ask(R3, at=3.0) == [launch(R3, L2, BY_D)]
    assert story.tell(Received(L1, lost(R2, "unix:b")), at=3.5) == [launch(R2, L2, BY_D, attempt=2, budget=9.5)]
    story.tell(Tick(), at=4.5)
    assert story.ask(R4, at=4.6) == [launch(R4, L2, BY_D)]
    story.tell(Tick(), at=5.5)
    fifth, sixth, seventh = map(RequestId, (5, 6, 7))
    assert story.ask(fifth, at=5.5) == [launch(fifth)]
    assert story.tell(Received(L1, answer(fifth)), at=5.7) == [Complete(fifth)]
    assert story.machine.snapshot().suspects == ()
    assert [story.ask(sixth, at=6.0), story.ask(seventh, at=6.0)] == [[launch(sixth)], [launch(seventh)]]


def test_a_request_in_a_hurry_does_not_try_a_worker_that_was_lost() -> None:
    story = Story(VIA_A, BY_D)
    story.ask(R1, at=1.0)
    story.tell(Received(L1, lost(R1, "unix:b")), at=2.0)
    story.tell(Tick(), at=3.0)
    assert story.ask(R2, at=3.0, timeout=4.0) == [launch(R2, L2, BY_D, budget=4.0)]


def test_if_all_are_in_a_hurry_one_has_to_try_it_in_the_end() -> None:
    story = Story(VIA_A, BY_D)
    story.ask(R1, at=1.0)
    story.tell(Received(L1, lost(R1, "unix:b")), at=2.0)
    story.tell(Tick(), at=3.0)
    assert story.ask(R2, at=12.75, timeout=4.0) == [launch(R2, L2, BY_D, budget=4.0)]
    assert story.ask(R3, at=13.0, timeout=4.0) == [launch(R3, budget=4.0)]


def test_a_refusal_benches_the_one_who_refuses_and_does_not_count_against_the_request() -> None:
    story = Story(VIA_A, VIA_C)
    story.ask(R1, at=1.0)
    refused = Failure(R1, 1, "Refused", "stage-1 is draining", "stage-1", True)
    assert story.tell(Received(L1, refused), at=1.5) == [launch(R1, L2, VIA_C, attempt=2, budget=9.5)]
    assert story.machine.snapshot().suspects == ()
    assert story.ask(R2, at=1.6) == [launch(R2, L2, VIA_C)]


def test_the_third_worker_a_request_takes_down_is_its_last_and_it_does_not_drag_others_along() -> None:
    story = Story(window=8)
    poison, other = R1, R2
    story.ask(poison, at=1.0, timeout=100.0)
    story.ask(other, at=1.0, timeout=100.0)
    fault = Fault("LinkLost", "the link to unix:a is lost: reset", "gateway", True)
    for link, attempt, at in ((L1, 2, 2.0), (L2, 3, 3.0)):
        assert [type(command) for command in story.tell(Lost(link, "reset"), at)] == []
        story.tell(Tick(), at=at + 0.2)
        (alone,) = story.tell(Opened(LinkId(link + 1), 8, "unix:a"), at=at + 0.3)
        assert alone == launch(poison, LinkId(link + 1), attempt=attempt, budget=101.0 - at - 0.3)
    assert story.tell(Lost(LinkId(3), "reset"), at=4.0)[0] == Fail(
        poison,
        Fault(
            "Quarantined",
            "3 workers were lost while they had this request; the last time: the link to unix:a is lost: reset",
            "gateway",
        ),
    )
    snapshot = story.machine.snapshot()
    assert (snapshot.quarantine, snapshot.quarantined) == ((Quarantine(poison, (fault, fault, fault)),), 1)
    story.tell(Tick(), at=4.2)
    (launched,) = story.tell(Opened(LinkId(4), 8, "unix:a"), at=4.3)
    assert launched.key == (other, 2)  # type: ignore[union-attr]


def test_requests_with_one_life_left_fly_one_after_the_other_and_hold_nobody_else_up() -> None:
    story = Story(VIA_A, VIA_C, window=8)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    for attempt in (1, 2):
        for request in (R1, R2):
            story.tell(Received(L1 if request is R1 else L2, lost(request, "unix:nobody", attempt)), at=2.0)
    assert story.machine.snapshot().flying == 1
    assert [type(command).__name__ for command in story.ask(R3, at=2.0)] == ["Launch"]
    (complete, follows) = story.tell(Received(L1, answer(R1, attempt=3)), at=3.0)
    assert complete == Complete(R1)
    assert follows.key == (R2, 3)  # type: ignore[union-attr]


def test_a_worker_that_is_gone_for_good_is_on_no_way_any_more() -> None:
    story = Story(VIA_A, BY_D)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    assert story.tell(WorkerGone("unix:b", KILLED), at=2.0) == [
        Send(L1, Cancel(R1, 1)),
        Hangup(L1),
        launch(R1, L2, BY_D, attempt=2, budget=9.0),
    ]
    assert story.tell(Lost(L1, "closed"), at=2.1) == []
    assert story.ask(R3, at=3.0) == [launch(R3, L2, BY_D)]


def test_when_the_last_way_is_gone_for_good_the_reason_is_everyones_answer_until_there_is_another() -> None:
    story = Story(window=1)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    assert story.tell(Received(L1, lost(R1, "unix:b")), at=2.0) == []
    assert story.tell(WorkerGone("unix:b", KILLED), at=2.1)[:2] == [Fail(R1, KILLED), Fail(R2, KILLED)]
    assert story.ask(R3, at=3.0) == [Fail(R3, KILLED)]
    story.tell(Rerouted((Route((A, D)),)), at=4.0)
    assert story.tell(Opened(L2, 8, "unix:a"), at=4.1) == []
    assert story.ask(R4, at=5.0) == [launch(R4, L2, Route((A, D)))]


def test_a_draining_gateway_still_sends_again_what_it_has_accepted() -> None:
    story = Story(VIA_A, BY_D)
    story.ask(R1, at=1.0)
    story.tell(Drain(), at=1.5)
    assert story.tell(Received(L1, lost(R1, B.address)), at=2.0) == [launch(R1, L2, BY_D, attempt=2, budget=9.0)]
    assert story.tell(Received(L2, answer(R1, attempt=2)), at=3.0) == [Complete(R1), Stop()]
