"""A trace is written, read again, and folded."""

from cutwater.engine.fault import Fault
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.trace import Trace, from_lines, story, timeline, to_lines
from cutwater.engine.vocabulary import Asked, Complete, LinkId, Opened, Received, Rerouted, Route
from cutwater.errors import LinkLost, StageFailed
from cutwater.units import RequestId, StageId
from cutwater.wire.message import Answer, Hop, Mark, TensorSpec

LINK, R1, R2 = LinkId(1), RequestId(1), RequestId(2)
X = (TensorSpec("x", "float32", (1, 4), 16),)
TRAIL = (
    Mark(StageId("stage-1"), 1.0, 1.25, 1.75, 2.0, 2, 16, 16, 0.0, 0.0),
    Mark(StageId("stage-2"), 2.0, 2.0, 3.0, 3.0, 1, 16, 16, 0.0, 0.0),
)


def record(trace: Trace) -> Gateway:
    """Two requests, of which the first is answered."""
    machine = Gateway()
    for now, event in (
        (0.0, Rerouted((Route((Hop("unix:a", "plain"),)),))),
        (0.0, Opened(LINK, 8, "unix:a")),
        (1.0, Asked(R1, 9.0)),
        (1.5, Asked(R2, 9.0)),
        (4.0, Received(LINK, Answer(R1, 1, "plain", X, TRAIL), 16)),
    ):
        trace.append(now, "gateway", event, machine.handle(event, now))
    return machine


def test_a_trace_read_from_its_lines_is_the_trace_that_was_written() -> None:
    trace = Trace()
    record(trace)
    assert list(from_lines(to_lines(trace))) == list(trace)


def test_a_recorded_trace_replays_to_the_same_commands() -> None:
    trace = Trace()
    record(trace)
    again = Gateway()
    for step in from_lines(to_lines(trace)):
        assert again.handle(step.event, step.now) == step.commands


def test_timeline_and_story_are_folds() -> None:
    trace = Trace()
    record(trace)
    assert timeline(trace) == {R1: TRAIL}
    assert [type(step.event) for step in story(trace, R1)] == [Asked, Received]
    assert story(trace, R1)[-1].commands == [Complete(R1)]


def test_a_limited_trace_keeps_the_newest_steps_and_counts_all() -> None:
    trace = Trace(limit=2)
    record(trace)
    assert (len(trace), trace.written) == (2, 5)


def test_a_fault_becomes_the_error_it_names() -> None:
    assert type(Fault("LinkLost", "gone", "stage-1").error()) is LinkLost
    unknown = Fault("FromTheFuture", "odd", "stage-1").error()
    assert type(unknown) is StageFailed and str(unknown) == "FromTheFuture: odd"
    assert Fault.of(LinkLost("gone"), "stage-1") == Fault("LinkLost", "gone", "stage-1", True)
