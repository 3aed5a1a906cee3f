"""The gateway's decisions, told as stories: every accepted request gets exactly one answer, and it is the right one."""

from cutwater.engine.admission import Admission
from cutwater.engine.fault import Fault
from cutwater.engine.gateway import Gateway, GatewayOptions, GatewaySnapshot
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Drain,
    Fail,
    GatewayCommand,
    GatewayEvent,
    LinkId,
    Lost,
    Opened,
    Paused,
    Received,
    Resumed,
    Route,
    Send,
    Stop,
    Tick,
    Withdrawn,
    WorkerGone,
)
from cutwater.units import RequestId
from cutwater.wire.message import Answer, Cancel, Credit, Failure, Hop, Infer, TensorSpec

L1, L2 = LinkId(1), LinkId(2)
A, B, C = Hop("unix:a", "plain"), Hop("unix:b", "zstd"), Hop("unix:c", "plain")
X = (TensorSpec("x", "float32", (1, 4), 16),)
R1, R2, R3, R4 = map(RequestId, (1, 2, 3, 4))
KILLED = Fault("WorkerLost", "stage-2 was killed by SIGKILL", "stage-2", True)


class Story:
    """A machine to tell events to; its books are checked after each."""

    def __init__(self, *routes: Route, window: int = 64, queue: int = 64, credits: int = 8) -> None:
        options = GatewayOptions(admission=Admission(window=window, queue=queue))
        self.machine = Gateway(routes or (Route((A, B), "lz4"),), options)
        self.tell(Opened(L1, credits, "unix:a"), at=0.0)

    def tell(self, event: GatewayEvent, at: float) -> list[GatewayCommand]:
        commands = self.machine.handle(event, at)
        self.machine.validate()
        return commands

    def ask(self, request: RequestId, at: float, timeout: float = 10.0) -> list[GatewayCommand]:
        return self.tell(Asked(request, timeout, "plain", X), at)


def launch(request: RequestId, link: LinkId = L1, budget: float = 10.0, route: tuple[Hop, ...] = (B,)) -> Send:
    return Send(link, Infer(request, 1, budget, route, "lz4", "plain", X))


def answer(request: RequestId, attempt: int = 1) -> Answer:
    return Answer(request, attempt, "lz4", X, ())


def test_a_request_leaves_at_once_and_its_answer_completes_it() -> None:
    story = Story()
    assert story.ask(R1, at=1.0) == [launch(R1)]
    assert story.tell(Received(L1, answer(R1)), at=2.0) == [Complete(R1)]
    assert story.machine.snapshot() == GatewaySnapshot(queued=0, flying=0, answered=1, failed=0, refused=0, late=0)


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


def test_a_broken_link_behind_a_stage_waits_for_the_one_who_knows_why() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    broken = Failure(R1, 1, "LinkLost", "stage-1 lost its link to unix:b", "stage-1", True)
    assert story.tell(Received(L1, broken), at=2.0) == []
    assert story.machine.wake_at() == 2.5
    assert story.tell(WorkerGone("unix:b", KILLED), at=2.1) == [Fail(R1, KILLED), Fail(R2, KILLED)]
    assert story.ask(R3, at=3.0) == [Fail(R3, KILLED)]


def test_if_nobody_knows_why_the_lost_link_itself_is_the_answer() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    story.tell(Received(L1, Failure(R1, 1, "LinkLost", "gone", "stage-1", True)), at=2.0)
    assert story.tell(Tick(), at=2.5) == [Fail(R1, Fault("LinkLost", "gone", "stage-1", True))]


def test_when_the_gateways_own_link_breaks_every_open_request_ends_and_so_does_what_waits() -> None:
    story = Story(window=1)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    assert story.tell(Lost(L1, "reset"), at=2.0) == []
    lost = Fault("LinkLost", "the link to unix:a is lost: reset", "gateway", True)
    assert story.tell(Tick(), at=2.5) == [Fail(R1, lost), Fail(R2, lost)]
    assert story.machine.wake_at() is None


def test_of_two_replicas_the_one_with_less_to_do_is_chosen() -> None:
    story = Story(Route((A, B), "lz4"), Route((C, B), "lz4"))
    story.tell(Opened(L2, 8, "unix:c"), at=0.0)
    assert story.ask(R1, at=1.0) == [launch(R1, L1)]
    assert story.ask(R2, at=1.0) == [launch(R2, L2)]
    story.tell(Received(L2, answer(R2)), at=2.0)
    assert story.ask(R3, at=2.0) == [launch(R3, L2)]


def test_when_one_replica_dies_the_other_goes_on() -> None:
    story = Story(Route((A, B), "lz4"), Route((C, B), "lz4"))
    story.tell(Opened(L2, 8, "unix:c"), at=0.0)
    story.ask(R1, at=1.0)
    story.ask(R2, at=1.0)
    assert story.tell(WorkerGone("unix:a", KILLED), at=2.0) == [Fail(R1, KILLED)]
    assert story.tell(Received(L2, answer(R2)), at=2.0) == [Complete(R2)]
    assert [story.ask(request, at=3.0) for request in (R3, R4)] == [[launch(R3, L2)], [launch(R4, L2)]]


def test_a_draining_gateway_finishes_what_it_has() -> None:
    story = Story()
    story.ask(R1, at=1.0)
    assert story.tell(Drain(), at=2.0) == []
    assert story.ask(R2, at=2.0) == [Fail(R2, Fault("Refused", "the gateway is draining", "gateway", True))]
    assert story.tell(Received(L1, answer(R1)), at=3.0) == [Complete(R1), Stop()]
