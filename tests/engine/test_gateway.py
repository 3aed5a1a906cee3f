"""The gateway while all goes well: every accepted request gets exactly one answer, and it is the right one."""

from gateway_story import L1, L2, R1, R2, R3, VIA_A, VIA_C, Story, answer, launch

from cutwater.engine.fault import Fault
from cutwater.engine.gateway.figures import GatewaySnapshot
from cutwater.engine.vocabulary import Complete, Drain, Fail, Paused, Received, Resumed, Send, Stop, Tick, Withdrawn
from cutwater.wire.message import Cancel, Credit, Failure


def test_a_request_leaves_at_once_and_its_answer_completes_it() -> None:
    story = Story()
    assert story.ask(R1, at=1.0) == [launch(R1)]
    assert story.machine.snapshot() == GatewaySnapshot(flying=1, epochs={0: 1}, accepted=1, open=True)
    assert story.tell(Received(L1, answer(R1)), at=2.0) == [Complete(R1)]
    assert story.machine.snapshot() == GatewaySnapshot(accepted=1, answered=1, open=True)


def test_outside_the_window_requests_wait_in_order_and_beyond_the_queue_they_are_refused() -> None:
    story = Story(window=1, queue=1)
    story.ask(R1, at=1.0)
    assert story.ask(R2, at=1.5) == []
    full = Fault("Refused", "1 requests are already waiting; ask again later or more slowly", "gateway", True)
    assert story.ask(R3, at=1.6) == [Fail(R3, full)]
    assert story.tell(Received(L1, answer(R1)), at=3.5) == [Complete(R1), launch(R2, budget=8.0)]


def test_without_credit_or_while_paused_requests_wait() -> None:
    story = Story(credits=1)
    story.ask(R1, at=1.0)
    assert story.ask(R2, at=1.0) == []
    story.tell(Paused(L1), at=1.0)
    assert story.tell(Received(L1, Credit(1)), at=1.0) == []
    assert story.tell(Resumed(L1), at=1.0) == [launch(R2)]


def test_a_deadline_ends_a_request_in_flight_and_one_that_waits() -> None:
    story = Story(window=1)
    story.ask(R1, at=1.0, timeout=2.0)
    story.ask(R2, at=1.0, timeout=3.0)
    assert story.machine.wake_at() == 3.0
    late = "no answer within 2 s; the request was still on its way"
    assert story.tell(Tick(), at=3.0) == [
        Send(L1, Cancel(R1, 1)),
        Fail(R1, Fault("DeadlineExceeded", late, "gateway")),
        launch(R2, budget=1.0),
    ]
    assert story.tell(Received(L1, answer(R1)), at=3.5) == []
    assert story.machine.snapshot().late == 1


def test_a_request_without_time_is_refused_at_the_door() -> None:
    none = Fault("DeadlineExceeded", "the request had no time left when it was asked", "gateway")
    assert Story().ask(R1, at=1.0, timeout=0.0) == [Fail(R1, none)]


def test_an_answer_to_another_attempt_is_fenced_off() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    assert story.tell(Received(L1, answer(R1, attempt=0)), at=2.0) == []
    assert story.tell(Received(L1, answer(R1)), at=3.0) == [Complete(R1)]
    assert story.tell(Received(L1, answer(R1)), at=4.0) == []
    assert story.machine.snapshot().late == 2


def test_a_stages_failure_is_the_requests_answer() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    failure = Failure(R1, 1, "BadTensor", "input 'x' must be float32", "stage-1", False)
    assert story.tell(Received(L1, failure), at=2.0) == [
        Fail(R1, Fault("BadTensor", "input 'x' must be float32", "stage-1"))
    ]


def test_a_withdrawn_request_is_cancelled_and_gets_no_answer() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    assert story.tell(Withdrawn(R1), at=2.0) == [Send(L1, Cancel(R1, 1))]
    assert story.tell(Withdrawn(R1), at=2.0) == []


def test_of_two_replicas_the_one_with_less_to_do_is_chosen() -> None:
    story = Story(VIA_A, VIA_C)
    assert story.ask(R1, at=1.0) == [launch(R1)]
    assert story.ask(R2, at=1.0) == [launch(R2, L2, VIA_C)]
    story.tell(Received(L2, answer(R2)), at=2.0)
    assert story.ask(R3, at=2.0) == [launch(R3, L2, VIA_C)]


def test_a_draining_gateway_finishes_what_it_has_and_stops_once() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    assert story.tell(Drain(), at=2.0) == []
    assert story.ask(R2, at=2.0) == [Fail(R2, Fault("Refused", "the gateway is draining", "gateway", True))]
    assert story.tell(Received(L1, answer(R1)), at=3.0) == [Complete(R1), Stop()]
    assert story.tell(Tick(), at=4.0) == []
