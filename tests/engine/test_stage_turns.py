"""A stage worker among others on its node: it asks before it computes, and what it waits for counts as queueing."""

from cutwater.engine.stage.batching import Batching
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.vocabulary import (
    Compute,
    Computed,
    Forget,
    GiveBack,
    Go,
    Key,
    LinkId,
    Opened,
    Recall,
    Received,
    Result,
    Send,
    StageCommand,
    StageEvent,
    Tick,
    Want,
)
from cutwater.units import RequestId, Seconds, StageId
from cutwater.wire.message import Answer, Failure, Infer, TensorSpec

GATEWAY = LinkId(1)
X = (TensorSpec("x", "float32", (1, 4), 16),)
R1, R2, R3 = (Key(RequestId(n), 1) for n in (1, 2, 3))


class Story:
    """A machine to tell events to; its books are checked after each."""

    def __init__(self, batching: Batching = Batching(), expected: Seconds = 0.0) -> None:  # noqa: B008
        axes = {"x": 0} if batching.limit > 1 else {}
        options = StageOptions(batching=batching, batch_axes=axes, in_turn=0.0, expected=expected)
        self.machine = StageWorker(StageId("stage-1"), options)
        self.tell(Opened(GATEWAY, 0), at=0.0)

    def tell(self, event: StageEvent, at: Seconds) -> list[StageCommand]:
        commands = self.machine.handle(event, at)
        self.machine.validate()
        return commands

    def ask(self, key: Key, at: Seconds, budget: Seconds = 10.0) -> list[StageCommand]:
        return self.tell(Received(GATEWAY, Infer(*key, budget, (), "plain", "plain", X), 16), at)

    def computed(self, batch: int, *keys: Key, began: Seconds, at: Seconds) -> list[StageCommand]:
        return self.tell(Computed(batch, began, at, tuple(Result(key, X) for key in keys)), at)


def sent(commands: list[StageCommand]) -> list[type]:
    return [type(command.message) if isinstance(command, Send) else type(command) for command in commands]


def test_one_that_is_alone_asks_once_and_computes_from_then_on() -> None:
    story = Story()
    assert story.ask(R1, at=1.0) == [Want(1.0)]
    assert story.tell(Go(keep=True), at=1.1) == [Compute(1, (R1,))]
    assert sent(story.computed(1, R1, began=1.1, at=1.6)) == [Answer]
    assert story.ask(R2, at=2.0) == [Compute(2, (R2,))]


def test_one_among_others_gives_its_place_back_before_its_answer_leaves() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.tell(Go(), at=1.1)
    assert sent(story.computed(1, R1, began=1.1, at=1.6)) == [GiveBack, Answer]
    assert story.ask(R2, at=2.0) == [Want(2.0, usual=0.5)]


def test_one_that_is_called_back_goes_on_with_older_work_and_asks_for_newer() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.tell(Go(keep=True), at=1.0)
    story.ask(R2, at=1.1)
    assert story.tell(Recall(1.15), at=1.16) == []
    story.ask(R3, at=1.2)
    assert sent(story.computed(1, R1, began=1.0, at=1.3)) == [Compute, Answer]
    assert story.computed(2, R2, began=1.3, at=1.39)[0] == Want(1.2, usual=0.3 + 0.2 * (0.09 - 0.3))


def test_one_that_is_called_back_while_it_has_nothing_to_do_gives_back_at_once() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.tell(Go(keep=True), at=1.0)
    story.computed(1, R1, began=1.0, at=1.5)
    assert story.tell(Recall(2.0), at=2.0) == [GiveBack()]


def test_a_turn_that_comes_when_nobody_waits_any_more_is_given_back() -> None:
    story = Story()
    story.ask(R1, at=1.0, budget=0.5)
    assert sent(story.tell(Tick(), at=1.5)) == [Failure, Forget]
    assert story.tell(Go(until=1.2), at=1.6) == [GiveBack()]


def test_waiting_for_a_turn_is_queueing_and_neither_computing_nor_a_hang() -> None:
    story = Story()
    story.ask(R1, at=1.0, budget=1000.0)
    for at in (2.0, 3.0):
        story.tell(Tick(), at)
    story.tell(Go(until=1.0), at=101.0)
    assert story.machine.snapshot().busy == 0.0
    answered = story.computed(1, R1, began=101.0, at=101.5)
    mark = next(command.message for command in answered if isinstance(command, Send)).trail[0]  # type: ignore[union-attr]
    assert (mark.started - mark.received, mark.finished - mark.started) == (100.0, 0.5)
    assert story.machine.snapshot().busy == 0.5


def test_a_batch_is_made_when_the_turn_comes_not_when_it_is_asked_for() -> None:
    story = Story(Batching(limit=8))
    assert story.ask(R1, at=1.0) == [Want(1.0)]
    assert story.ask(R2, at=1.1) == []
    assert story.tell(Go(until=1.05), at=1.2) == [Compute(1, (R1, R2))]


def test_no_turn_is_asked_for_as_long_as_company_is_waited_for() -> None:
    story = Story(Batching(limit=2, patience=0.1))
    assert story.ask(R1, at=1.0) == []
    assert story.machine.wake_at() == 1.1
    assert story.ask(R2, at=1.05) == [Want(1.0)]
    assert story.tell(Go(keep=True), at=1.06) == [Compute(1, (R1, R2))]


def test_the_next_batch_is_given_away_early_only_while_nobody_else_waits_for_the_place() -> None:
    story = Story(expected=0.004)
    story.ask(R1, at=1.0)
    assert story.tell(Go(keep=True), at=1.0) == [Compute(1, (R1,))]
    assert story.ask(R2, at=1.0) == [Compute(2, (R2,))]
    story.tell(Recall(until=0.5), at=1.001)
    story.computed(1, R1, began=1.0, at=1.004)
    assert story.ask(R3, at=1.004) == []
