"""A node's keeper, told as stories: what is wanted is fetched, started and kept up; what is not is ended."""

from random import Random

import msgspec
import pytest

from cutwater.engine.control import (
    Assigned,
    End,
    Ended,
    Fetch,
    Fetched,
    KeeperCommand,
    KeeperEvent,
    Report,
    Start,
    Started,
)
from cutwater.engine.facts.nodes import Assignment, Phase, WorkerSpec
from cutwater.engine.fault import Fault
from cutwater.engine.keeper import Keeper, KeeperOptions
from cutwater.engine.vocabulary import Tick
from cutwater.units import NodeId, StageId, WorkerId

NODE = NodeId("pi-a")
KILLED = Fault("WorkerLost", "killed by SIGKILL", "pi-a", True)
NO_BLOB = Fault("BadBlob", "there is none", "pi-a")


def spec(name: str, blob: str = "") -> WorkerSpec:
    return WorkerSpec(
        worker=WorkerId(name), model="m", epoch=1, stage=StageId("stage-1"), blob=blob or f"blob-{name}", nbytes=1,
        inputs=(), outputs=(), token="t",
    )  # fmt: skip


W1, W2, W3 = spec("w1"), spec("w2"), spec("w3")


def wanted(*specs: WorkerSpec, term: int = 1) -> Assigned:
    return Assigned(Assignment(node=NODE, term=term, workers=specs))


def started(what: WorkerSpec) -> Started:
    return Started(worker=what.worker, addresses=(f"unix:/{what.worker}",), pid=7, memory=100)


class Story:
    def __init__(self, **options: float) -> None:
        self.machine = Keeper(NODE, KeeperOptions(**options))  # type: ignore[arg-type]

    def tell(self, event: KeeperEvent, at: float) -> list[KeeperCommand]:
        commands = self.machine.handle(event, at)
        self.machine.validate()
        return commands

    def serving(self, what: WorkerSpec, at: float = 0.0) -> None:
        self.tell(wanted(what), at)
        self.tell(Fetched(what.blob), at)
        self.tell(started(what), at)

    def phases(self) -> dict[str, Phase]:
        return {state.worker: state.phase for state in self.machine.snapshot().workers}


def test_what_will_be_wanted_is_fetched_in_advance_and_started_when_it_is_wanted() -> None:
    story = Story()
    coming = Assignment(node=NODE, term=1, coming=("blob-w1",))
    assert story.tell(Assigned(coming), at=1.0) == [Fetch("blob-w1")]
    assert story.tell(Fetched("blob-w1", NO_BLOB), at=2.0) == []
    assert story.tell(wanted(W1), at=3.0) == [Fetch("blob-w1"), Report()]
    assert story.tell(Fetched("blob-w1"), at=3.1) == [Start(W1), Report()]


def test_a_wanted_worker_is_fetched_started_and_serves_until_it_is_not_wanted() -> None:
    story = Story()
    assert story.tell(wanted(W1), at=1.0) == [Fetch("blob-w1"), Report()]
    assert story.tell(Fetched("blob-w1"), at=2.0) == [Start(W1), Report()]
    assert story.tell(started(W1), at=3.0) == [Report()]
    (state,) = story.machine.snapshot().workers
    assert (state.phase, state.addresses, state.pid, state.memory) == (Phase.READY, ("unix:/w1",), 7, 100)
    assert story.tell(wanted(W1), at=4.0) == []
    assert story.tell(wanted(), at=5.0) == [End(W1.worker, 10.0), Report()]
    assert story.phases() == {"w1": Phase.DRAINING}
    assert story.tell(Ended(W1.worker, KILLED), at=6.0) == [Report()]
    assert story.phases() == {}
    assert story.machine.wake_at() is None


def test_a_worker_that_ends_by_itself_is_started_again_after_a_pause_that_doubles() -> None:
    story = Story(backoff=0.2, backoff_limit=0.5)
    story.serving(W1)
    now = 0.0
    for restarts, pause in ((1, 0.2), (2, 0.4), (3, 0.5), (4, 0.5)):
        assert story.tell(Ended(W1.worker, KILLED), at=now) == [Report()]
        (state,) = story.machine.snapshot().workers
        assert (state.phase, state.restarts, state.fault) == (Phase.BACKING_OFF, restarts, KILLED)
        assert (state.addresses, state.pid) == ((), None)
        assert story.machine.wake_at() == now + pause
        now += pause
        assert story.tell(Tick(), at=now) == [Fetch("blob-w1"), Report()]
        assert story.tell(Fetched("blob-w1"), at=now) == [Start(W1), Report()]
        story.tell(started(W1), at=now)
    (state,) = story.machine.snapshot().workers
    assert (state.phase, state.restarts, state.fault) == (Phase.READY, 4, None)


def test_a_worker_that_served_for_long_starts_anew_with_the_shortest_pause() -> None:
    story = Story(backoff=0.2, steady=60.0)
    story.serving(W1)
    for now in (0.0, 61.0, 122.0):
        story.tell(Ended(W1.worker, KILLED), at=now)
        assert story.machine.wake_at() == now + 0.2
        story.tell(Tick(), at=now + 0.2)
        story.tell(Fetched("blob-w1"), at=now + 0.2)
        story.tell(started(W1), at=now + 0.2)


def test_a_file_that_cannot_be_had_is_asked_for_again() -> None:
    story = Story(backoff=1.0)
    story.tell(wanted(W1), at=0.0)
    assert story.tell(Fetched("blob-w1", NO_BLOB), at=1.0) == [Report()]
    assert story.machine.snapshot().workers[0].fault == NO_BLOB
    assert story.tell(Tick(), at=1.5) == []
    assert story.tell(Tick(), at=2.0) == [Fetch("blob-w1"), Report()]


def test_two_workers_of_one_file_fetch_it_once() -> None:
    twins = (spec("w1", "blob"), spec("w2", "blob"))
    story = Story()
    assert story.tell(wanted(*twins), at=0.0) == [Fetch("blob"), Report()]
    assert story.tell(Fetched("blob"), at=1.0) == [Start(twins[0]), Start(twins[1]), Report()]


def test_only_so_many_load_at_once_and_the_others_follow() -> None:
    story = Story(loads=1)
    story.tell(wanted(W1, W2, W3), at=0.0)
    assert story.tell(Fetched("blob-w2"), at=1.0) == [Start(W2), Report()]
    assert story.tell(Fetched("blob-w1"), at=1.0) == [Report()]
    assert story.tell(Fetched("blob-w3"), at=1.0) == [Report()]
    assert story.tell(started(W2), at=2.0) == [Start(W1), Report()]
    assert story.tell(Ended(W1.worker, KILLED), at=3.0) == [Start(W3), Report()]


def test_what_has_no_process_yet_is_simply_forgotten() -> None:
    story = Story()
    story.tell(wanted(W1), at=0.0)
    assert story.tell(wanted(), at=1.0) == [Report()]
    assert story.tell(Fetched("blob-w1"), at=2.0) == []
    assert story.phases() == {}


def test_a_worker_that_is_wanted_again_while_it_drains_is_started_again_when_it_has_ended() -> None:
    story = Story()
    story.serving(W1)
    assert story.tell(wanted(), at=1.0) == [End(W1.worker, 10.0), Report()]
    assert story.tell(wanted(W1), at=1.5) == []
    assert story.tell(Ended(W1.worker, KILLED), at=2.0) == [Fetch("blob-w1"), Report()]


def test_a_worker_that_begins_to_serve_when_it_is_no_longer_wanted_still_drains() -> None:
    story = Story()
    story.tell(wanted(W1), at=0.0)
    story.tell(Fetched("blob-w1"), at=0.0)
    assert story.tell(wanted(), at=1.0) == [End(W1.worker, 10.0), Report()]
    assert story.tell(started(W1), at=1.1) == []
    assert story.phases() == {"w1": Phase.DRAINING}


def test_an_older_term_and_another_nodes_assignment_are_ignored() -> None:
    story = Story()
    story.tell(wanted(W1, term=5), at=0.0)
    assert story.tell(wanted(term=4), at=1.0) == []
    assert story.tell(Assigned(Assignment(node=NodeId("pi-b"), term=9)), at=1.0) == []
    assert story.phases() == {"w1": Phase.FETCHING}
    assert story.tell(wanted(term=6), at=2.0) == [Report()]


def test_without_a_word_from_above_everything_goes_on() -> None:
    story = Story()
    story.serving(W1)
    assert story.machine.wake_at() is None
    assert story.tell(Tick(), at=10_000.0) == []
    assert story.phases() == {"w1": Phase.READY}


class Hands(Story):
    """A story whose commands are obeyed some time later, in any order, and not always with success."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)
        self.now = 0.0
        self.open: list[KeeperCommand] = []
        self.running: set[WorkerId] = set()

    def say(self, event: KeeperEvent) -> None:
        self.open += [command for command in self.tell(event, self.now) if not isinstance(command, Report)]

    def obey(self, fails: bool) -> None:
        command = self.open.pop(self.random.randrange(len(self.open)))
        match command:
            case Fetch(blob):
                self.say(Fetched(blob, NO_BLOB if fails else None))
            case Start(what) if fails:
                self.say(Ended(what.worker, KILLED))
            case Start(what):
                self.running.add(what.worker)
                self.say(started(what))
            case End(worker, _):
                # What is ended before it has begun does not begin.
                self.open = [c for c in self.open if not (isinstance(c, Start) and c.spec.worker == worker)]
                self.kill(worker)

    def kill(self, worker: WorkerId) -> None:
        self.running.discard(worker)
        self.say(Ended(worker, KILLED))

    def anything(self) -> None:
        """One random thing happens."""
        self.now += self.random.random()
        match self.random.randrange(4):
            case 0:
                self.say(wanted(*self.random.sample((W1, W2, W3), self.random.randrange(4))))
            case 1 if self.running:
                self.kill(self.random.choice(sorted(self.running)))
            case 2:
                self.say(Tick())
            case _ if self.open:
                self.obey(fails=self.random.random() < 0.3)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_in_the_end_exactly_what_is_wanted_runs(seed: int) -> None:
    hands = Hands(seed)
    for _ in range(80):
        hands.anything()
    last = hands.random.sample((W1, W2, W3), hands.random.randrange(4))
    hands.say(wanted(*last))
    for _ in range(60):
        hands.now += 1.0
        hands.say(Tick())
        while hands.open:
            hands.obey(fails=False)
    assert hands.phases() == {what.worker: Phase.READY for what in last}
    assert hands.running == {what.worker for what in last}


def test_a_worker_of_the_same_name_that_is_another_one_takes_the_place_of_the_old_one() -> None:
    story = Story()
    story.serving(W1)
    other = msgspec.structs.replace(W1, token="another", blob="blob-other")
    assert story.tell(wanted(other, term=2), at=1.0) == [End(W1.worker, 10.0), Report()]
    assert story.tell(Ended(W1.worker, KILLED), at=2.0) == [Fetch("blob-other"), Report()]
    assert story.tell(Fetched("blob-other"), at=3.0) == [Start(other), Report()]
    relaxed = msgspec.structs.replace(other, credits=99)  # another coordinator's opinion is no reason to stop serving
    assert story.tell(wanted(relaxed, term=3), at=4.0) == []


def test_a_worker_that_hangs_while_it_loads_is_ended_and_started_again() -> None:
    story = Story(load_limit=60.0, loads=1)
    story.tell(wanted(W1, W2), at=0.0)
    story.tell(Fetched("blob-w1"), at=1.0)
    story.tell(Fetched("blob-w2"), at=2.0)  # waits for its turn, which is no hanging
    assert story.machine.wake_at() == 61.0
    assert story.tell(Tick(), at=60.9) == []
    assert story.tell(Tick(), at=61.0) == [End(W1.worker, 0.0)]
    assert story.machine.wake_at() is None
    assert story.tell(Ended(W1.worker, KILLED), at=61.5) == [Start(W2), Report()]
    assert story.phases() == {"w1": Phase.BACKING_OFF, "w2": Phase.LOADING}
    assert story.tell(started(W2), at=70.0) == [Fetch("blob-w1"), Report()]
    assert story.phases() == {"w1": Phase.FETCHING, "w2": Phase.READY}
