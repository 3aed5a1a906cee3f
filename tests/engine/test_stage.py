"""A stage worker's decisions, told as stories: what it hears, when, and exactly what it asks for."""

from cutwater.engine.fault import Fault
from cutwater.engine.stage.batching import Batching
from cutwater.engine.stage.figures import StageSnapshot
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.vocabulary import (
    Compute,
    Computed,
    Dial,
    DialFailed,
    Die,
    Drain,
    Forget,
    Key,
    LinkId,
    Lost,
    Opened,
    Paused,
    Received,
    Relay,
    Result,
    Resumed,
    Send,
    StageCommand,
    StageEvent,
    Stop,
    Tick,
)
from cutwater.units import RequestId, StageId
from cutwater.wire.message import Answer, Cancel, Credit, Failure, Hop, Infer, Mark, TensorSpec

ME = StageId("stage-1")
GATEWAY, NEXT = LinkId(1), LinkId(2)
X = (TensorSpec("x", "float32", (1, 4), 16),)
Y = (TensorSpec("y", "float32", (1, 2), 8),)
ON = (Hop("unix:next", "zstd"),)
R1, R2, R3 = (Key(RequestId(n), 1) for n in (1, 2, 3))


class Story:
    """A machine to tell events to; its books are checked after each."""

    def __init__(self, **options: object) -> None:
        self.machine = StageWorker(ME, StageOptions(**options))  # type: ignore[arg-type]
        self.tell(Opened(GATEWAY, 0), at=0.0)

    def tell(self, event: StageEvent, at: float) -> list[StageCommand]:
        commands = self.machine.handle(event, at)
        self.machine.validate()
        return commands

    def ask(self, key: Key, at: float, route: tuple[Hop, ...] = (), budget: float = 10.0) -> list[StageCommand]:
        return self.tell(Received(GATEWAY, infer(key, route, budget), 16), at)

    def computed(self, batch: int, *results: Result, at: float) -> list[StageCommand]:
        return self.tell(Computed(batch, at - 0.5, at, results), at)

    def away(self, key: Key, at: float) -> None:
        """Bring ``key`` to the next stage, over a link that is opened for it."""
        self.ask(key, at, ON)
        self.computed(1, Result(key, Y), at=at)
        self.tell(Opened(NEXT, 4, "unix:next"), at)


def infer(key: Key, route: tuple[Hop, ...] = (), budget: float = 10.0) -> Infer:
    return Infer(*key, budget, route, "lz4", "plain", X)


def mark(received: float, started: float, finished: float, sent: float, batch: int = 1) -> Mark:
    return Mark(ME, received, started, finished, sent, batch, 16, 8, 0.0, 0.0)


def test_the_last_stage_computes_and_answers_over_the_link_the_request_came_by() -> None:
    story = Story()
    assert story.ask(R1, at=1.0) == [Compute(1, (R1,))]
    assert story.computed(1, Result(R1, Y), at=2.0) == [
        Send(GATEWAY, Answer(*R1, "lz4", Y, (mark(1.0, 1.5, 2.0, 2.0),))),
    ]


def test_a_stage_in_the_middle_dials_once_hands_on_with_what_is_left_of_the_route_and_relays_the_answer() -> None:
    story = Story()
    assert story.ask(R1, at=1.0, route=ON) == [Compute(1, (R1,))]
    assert story.computed(1, Result(R1, Y), at=2.0) == [Dial("unix:next")]
    assert story.tell(Opened(NEXT, 4, "unix:next"), at=3.0) == [
        Send(NEXT, Infer(*R1, 8.0, (), "lz4", "zstd", Y, (mark(1.0, 1.5, 2.0, 3.0),))),
    ]
    answer = Answer(*R1, "lz4", Y, ())
    assert story.tell(Received(NEXT, answer), at=4.0) == [Relay(GATEWAY, answer)]
    assert story.machine.snapshot() == StageSnapshot(
        queued=0, computing=0, ready=0, away=0, done=1, failed=0, late=0, computed=1, busy=0.5, seconds=0.5
    )


def test_the_next_batch_starts_before_the_last_one_is_sent() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    assert story.ask(R2, at=1.1) == []
    assert story.computed(1, Result(R1, Y), at=2.0) == [
        Compute(2, (R2,)),
        Send(GATEWAY, Answer(*R1, "lz4", Y, (mark(1.0, 1.5, 2.0, 2.0),))),
    ]


def test_without_credit_of_the_next_link_a_result_waits_and_so_does_the_credit_it_came_with() -> None:
    story = Story(credits=2)
    story.ask(R1, at=1.0, route=ON)
    story.computed(1, Result(R1, Y), at=2.0)
    assert story.tell(Opened(NEXT, 0, "unix:next"), at=2.5) == []
    assert story.machine.snapshot().ready == 1
    sent, granted = story.tell(Received(NEXT, Credit(1)), at=3.0)
    assert isinstance(sent, Send) and isinstance(sent.message, Infer)
    assert granted == Send(GATEWAY, Credit(1))


def test_a_paused_link_is_not_written_to_until_it_resumes() -> None:
    story = Story()
    story.away(R1, at=1.0)
    story.tell(Paused(NEXT), at=2.0)
    story.ask(R2, at=2.0, route=ON)
    assert story.computed(2, Result(R2, Y), at=3.0) == []
    (sent,) = story.tell(Resumed(NEXT), at=4.0)
    assert isinstance(sent, Send) and sent.link == NEXT


def test_credit_rides_with_an_answer_once_it_is_a_quarter() -> None:
    story = Story(credits=8)
    story.ask(R1, at=1.0)
    assert [type(command) for command in story.computed(1, Result(R1, Y), at=2.0)] == [Send]
    story.ask(R2, at=3.0)
    assert story.computed(2, Result(R2, Y), at=4.0)[1:] == [Send(GATEWAY, Credit(2))]


def test_credit_goes_alone_once_it_is_half() -> None:
    story = Story(credits=4)
    story.away(R1, at=1.0)
    story.ask(R2, at=2.0, route=ON)
    sent, granted = story.computed(2, Result(R2, Y), at=3.0)
    assert isinstance(sent, Send) and sent.link == NEXT
    assert granted == Send(GATEWAY, Credit(2))


def test_who_sends_without_credit_is_refused_and_disturbs_nobody() -> None:
    story = Story(credits=1)
    story.ask(R1, at=1.0)
    refused = "stage-1 gives 1 credits on a link and this one had none left"
    assert story.ask(R2, at=1.1) == [Forget(R2), Send(GATEWAY, Failure(*R2, "Refused", refused, ME, True))]
    assert story.computed(1, Result(R1, Y), at=2.0)[0] == Send(
        GATEWAY, Answer(*R1, "lz4", Y, (mark(1.0, 1.5, 2.0, 2.0),))
    )


def test_a_batch_fills_up_to_its_limit_or_goes_when_patience_ends() -> None:
    story = Story(batching=Batching(limit=2, patience=0.25), batch_axes={"x": 0})
    assert story.ask(R1, at=1.0) == []
    assert story.machine.wake_at() == 1.25
    assert story.ask(R2, at=1.1) == [Compute(1, (R1, R2))]
    story.computed(1, Result(R1, Y), Result(R2, Y), at=2.0)
    assert story.ask(R3, at=3.0) == []
    assert story.tell(Tick(), at=3.25) == [Compute(2, (R3,))]


def test_requests_of_other_shapes_do_not_share_a_batch_but_other_batch_sizes_do() -> None:
    story = Story(batching=Batching(limit=3), batch_axes={"x": 0})
    story.ask(Key(RequestId(9), 1), at=1.0)
    for key, shape in ((R1, (1, 4)), (R2, (1, 5)), (R3, (2, 4))):
        wide = Infer(*key, 10.0, (), "lz4", "plain", (TensorSpec("x", "float32", shape, 16),))
        assert story.tell(Received(GATEWAY, wide, 16), at=1.1) == []
    commands = story.computed(1, Result(Key(RequestId(9), 1), Y), at=2.0)
    assert commands[0] == Compute(2, (R1, R3))


def test_one_bad_request_in_a_batch_fails_alone() -> None:
    story = Story(batching=Batching(limit=2, patience=1.0), batch_axes={"x": 0})
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    fault = Fault("StageFailed", "NaN in an index", ME)
    assert story.computed(1, Result(R1, fault=fault), Result(R2, fault=fault), at=2.0) == [Compute(2, (R2,))]
    assert story.computed(2, Result(R2, Y), at=3.0)[0] == Compute(3, (R1,))
    assert story.computed(3, Result(R1, fault=fault), at=4.0)[0] == Send(
        GATEWAY, Failure(*R1, "StageFailed", "NaN in an index", ME, False)
    )


def test_a_cancelled_request_is_dropped_where_it_is() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    assert story.tell(Received(GATEWAY, Cancel(*R2)), at=1.1) == [Forget(R2)]
    assert story.tell(Received(GATEWAY, Cancel(*R1)), at=1.2) == []
    assert story.computed(1, Result(R1, Y), at=2.0) == [Forget(R1)]


def test_a_cancel_follows_the_request_to_the_next_stage_and_its_late_answer_is_dropped() -> None:
    story = Story()
    story.away(R1, at=1.0)
    assert story.tell(Received(GATEWAY, Cancel(*R1)), at=3.0) == [Send(NEXT, Cancel(*R1))]
    assert story.tell(Received(NEXT, Answer(*R1, "lz4", Y, ())), at=4.0) == []
    assert story.machine.snapshot().late == 1


def test_a_request_whose_time_is_over_is_answered_so_and_not_computed() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0, budget=2.0)
    assert story.machine.wake_at() == 3.0
    late = Failure(*R2, "DeadlineExceeded", "no time left in stage-1 (queued)", ME, False)
    assert story.tell(Tick(), at=3.0) == [Send(GATEWAY, late), Forget(R2)]
    story.computed(1, Result(R1, Y), at=3.5)
    assert story.machine.wake_at() is None


def test_a_lost_link_on_fails_what_was_on_it_and_the_next_request_dials_again() -> None:
    story = Story()
    story.away(R1, at=1.0)
    lost = Failure(*R1, "LinkLost", "stage-1 lost its link to unix:next: reset by peer", ME, True, (), "unix:next")
    assert story.tell(Lost(NEXT, "reset by peer"), at=3.0) == [Send(GATEWAY, lost)]
    story.ask(R2, at=4.0, route=ON)
    assert story.computed(2, Result(R2, Y), at=5.0) == [Dial("unix:next")]
    failed = Failure(*R2, "Refused", "stage-1 has no link to unix:next: nobody there", ME, True, (), "unix:next")
    assert story.tell(DialFailed("unix:next", "nobody there"), at=6.0)[:2] == [Send(GATEWAY, failed), Forget(R2)]


def test_a_lost_link_back_drops_what_came_by_it() -> None:
    story = Story()
    story.away(R1, at=1.0)
    story.ask(R2, at=2.0)
    story.ask(R3, at=2.0)
    assert set(story.tell(Lost(GATEWAY, "gone"), at=3.0)) == {Send(NEXT, Cancel(*R1)), Forget(R3)}
    assert story.computed(2, Result(R2, Y), at=4.0) == [Forget(R2)]


def test_a_draining_stage_finishes_what_it_has_and_refuses_the_rest() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    assert story.tell(Drain(), at=1.5) == []
    refused = Failure(*R2, "Refused", "stage-1 is draining", ME, True)
    assert story.ask(R2, at=1.6) == [Forget(R2), Send(GATEWAY, refused)]
    assert story.computed(1, Result(R1, Y), at=2.0)[-1] == Stop()


def test_a_link_that_closes_without_having_carried_anything_is_no_event_at_all() -> None:
    assert Story().tell(Lost(GATEWAY, "bye"), at=1.0) == []


def test_what_was_not_handed_on_when_the_link_broke_was_not_there_and_is_only_refused() -> None:
    story = Story()
    story.ask(R1, at=1.0, route=ON)
    story.computed(1, Result(R1, Y), at=1.0)
    story.tell(Opened(NEXT, 1, "unix:next"), at=1.0)
    story.ask(R2, at=2.0, route=ON)
    story.computed(2, Result(R2, Y), at=2.0)
    lost = Failure(*R1, "LinkLost", "stage-1 lost its link to unix:next: silent", ME, True, (), "unix:next")
    refused = Failure(*R2, "Refused", "stage-1 has no link to unix:next: silent", ME, True, (), "unix:next")
    assert story.tell(Lost(NEXT, "silent"), at=3.0) == [
        Send(GATEWAY, lost),
        Send(GATEWAY, refused),
        Forget(R2),
    ]


def test_a_batch_that_hangs_is_the_end_of_its_worker_and_the_fault_of_nobody_who_waited_behind_it() -> None:
    story = Story()
    for number in range(4, 14):
        key = Key(RequestId(number), 1)
        story.ask(key, at=0.0)
        story.computed(number - 3, Result(key, Y), at=0.5)
    story.ask(R1, at=1.0, budget=100.0)
    story.ask(R2, at=2.0, budget=100.0)
    assert story.machine.wake_at() == 11.0
    assert story.tell(Tick(), at=11.0) == []
    assert story.machine.wake_at() == 11.5
    reason = "stage-1 hangs: a batch of 1 usually takes 0.5 s"
    assert story.tell(Tick(), at=11.5) == [
        Send(GATEWAY, Failure(*R1, "WorkerLost", reason, ME, True)),
        Send(GATEWAY, Failure(*R2, "Refused", f"{reason}; this request was not in it", ME, True)),
        Forget(R2),
        Die(f"{reason} and took over 10 s"),
    ]
    refused = Failure(*R3, "Refused", "stage-1 is draining", ME, True)
    assert story.ask(R3, at=12.0)[:2] == [Forget(R3), Send(GATEWAY, refused)]


def test_a_process_that_was_stopped_finds_its_batch_finished_and_lives_on() -> None:
    story = Story()
    story.ask(R1, at=1.0, budget=100.0)
    assert story.tell(Tick(), at=21.0) == []
    assert story.computed(1, Result(R1, Y), at=21.1)[0] == Send(
        GATEWAY, Answer(*R1, "lz4", Y, (mark(1.0, 20.6, 21.1, 21.1),))
    )
    assert story.machine.wake_at() is None


def test_where_batches_are_short_the_next_is_given_away_while_one_computes() -> None:
    story = Story(expected=0.004)
    assert story.ask(R1, at=1.0) == [Compute(1, (R1,))]
    assert story.ask(R2, at=1.0) == [Compute(2, (R2,))]
    assert story.ask(R3, at=1.0) == []
    assert story.machine.snapshot().computing == 1 and story.machine.snapshot().queued == 2
    (answer, following) = story.tell(Computed(1, 1.0, 1.004, (Result(R1, Y),)), at=1.004)
    assert isinstance(answer, Send) and following == Compute(3, (R3,))
    assert story.machine.wake_at() == 1.004 + 5.0  # the second one computes from here on


def test_a_batch_given_away_too_early_to_be_dropped_is_computed_in_vain_and_forgotten() -> None:
    story = Story(expected=0.004)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    assert story.tell(Received(GATEWAY, Cancel(*R2), 0), at=1.001) == []
    story.tell(Computed(1, 1.0, 1.004, (Result(R1, Y),)), at=1.004)
    assert story.tell(Computed(2, 1.004, 1.008, (Result(R2, Y),)), at=1.008)[0] == Forget(R2)


def test_long_batches_and_batches_that_may_grow_are_given_away_one_by_one() -> None:
    for options in ({"expected": 0.5}, {"expected": 0.004, "batching": Batching(limit=4), "batch_axes": {"x": 0}}):
        story = Story(**options)
        story.ask(R1, at=1.0)
        assert story.ask(R2, at=1.0) == []
