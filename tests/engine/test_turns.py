"""Turns: who computes on a node, told as stories, and in random worlds in which workers stop, hang and die."""

from collections import deque
from random import Random

import pytest

from cutwater.engine.replay import make, replay
from cutwater.engine.stage.place import SILENCE, Place
from cutwater.engine.trace import Trace, from_line, to_line
from cutwater.engine.turns import GRACE, LATELY, RENEWAL, Left, Said, Say, Turns, TurnsEvent, TurnsOptions
from cutwater.engine.vocabulary import GiveBack, Go, Recall, StageCommand, Tick, Wait, Want
from cutwater.units import NodeId, Seconds, WorkerId

A, B, C = map(WorkerId, "abc")
NODE = NodeId("n")


class Story:
    """A machine to tell what workers say; its books are checked after each word."""

    def __init__(self, places: int = 1) -> None:
        self.machine = Turns(NODE, TurnsOptions(places=places))

    def tell(self, event: Said | Left | Tick, at: Seconds) -> list[Say]:
        commands = self.machine.handle(event, at)
        self.machine.validate()
        return commands

    def want(self, worker: WorkerId, at: Seconds, since: Seconds | None = None, usual: Seconds = 0.0) -> list[Say]:
        return self.tell(Said(worker, Want(at if since is None else since, usual)), at)

    def back(self, worker: WorkerId, at: Seconds) -> list[Say]:
        return self.tell(Said(worker, GiveBack()), at)


def test_a_worker_that_is_alone_asks_once() -> None:
    story = Story()
    assert story.want(A, at=1.0) == [Say(A, Go(keep=True))]
    assert story.machine.wake_at() is None


def test_a_kept_place_is_called_back_when_somebody_else_wants_it() -> None:
    story = Story()
    story.want(A, at=1.0)
    assert story.want(B, at=9.0) == [Say(A, Recall(9.0))]
    assert story.back(A, at=9.1) == [Say(B, Go(keep=True))]
    # A comes back: now both have wanted one of late, and whoever has nothing to do gives it back.
    assert story.want(A, at=9.2) == [Say(B, Recall(9.2))]
    assert story.back(B, at=9.3) == [Say(A, Go(keep=False))]
    assert story.back(A, at=9.4) == []
    assert story.want(B, at=9.2 + LATELY) == [Say(B, Go(keep=True))]


def test_places_are_given_in_the_order_in_which_work_came() -> None:
    story = Story()
    story.want(A, at=1.0)
    story.want(C, at=1.3, since=1.2)
    # B says it later, but its work is older; who computes need not do anything that came after that.
    assert story.want(B, at=1.4, since=1.1) == [Say(A, Recall(1.1))]
    assert story.want(A, at=1.5, since=1.15) == [Say(B, Go(until=1.15))]
    assert story.back(B, at=1.6) == [Say(A, Go(until=1.2))]
    assert story.back(A, at=1.7) == [Say(C, Go())]


def test_as_many_compute_as_there_are_places() -> None:
    story = Story(places=2)
    assert story.want(A, at=1.0) == [Say(A, Go(keep=True))]
    assert story.want(B, at=1.1) == [Say(B, Go(keep=True))]
    assert story.want(C, at=1.2) == [Say(A, Recall(1.2)), Say(B, Recall(1.2))]
    assert story.back(B, at=1.3) == [Say(C, Go())]


def test_who_asks_anew_while_others_wait_goes_on_if_its_work_is_older() -> None:
    story = Story()
    story.want(A, at=1.0)
    story.want(B, at=1.2)
    assert story.want(A, at=1.3, since=1.1) == [Say(A, Go(until=1.2))]


def test_who_asks_twice_hears_that_it_was_heard() -> None:
    story = Story()
    story.want(A, at=1.0)
    story.want(B, at=1.1)
    again = Want(1.1, again=True)
    assert story.tell(Said(B, again), at=2.1) == [Say(B, Wait())]
    # The answer and the question may cross: then the question says nothing new.
    assert story.back(A, at=2.2) == [Say(B, Go(keep=True))]
    assert story.tell(Said(B, again), at=2.3) == []
    assert story.machine.snapshot().holders == (B,)


def test_who_says_nothing_loses_its_place_and_who_has_died_loses_it_at_once() -> None:
    story = Story()
    story.want(A, at=1.0, usual=0.01)
    story.want(B, at=2.0, usual=0.2)
    assert story.machine.wake_at() == 2.0 + RENEWAL + GRACE
    assert story.tell(Tick(), at=2.0 + RENEWAL + GRACE) == [Say(B, Go(keep=True))]
    assert story.machine.snapshot().lost == 1
    # What A says when it goes on after all is nothing special.
    assert story.back(A, at=2.6) == []
    assert story.want(A, at=3.0) == [Say(B, Recall(3.0))]
    # Nobody is given less time than three of its batches take.
    assert story.machine.wake_at() == pytest.approx(3.0 + RENEWAL + 0.6)
    assert story.tell(Left(B), at=3.1) == [Say(A, Go(keep=True))]


def test_a_place_is_not_lost_once_nobody_waits_for_it_any_more() -> None:
    story = Story()
    story.want(A, at=1.0, usual=0.01)
    story.want(B, at=2.0)
    story.tell(Left(B), at=2.1)
    assert story.machine.wake_at() is None
    # Who wants it later waits as long as anybody.
    assert story.want(C, at=5.0) == []
    assert story.machine.wake_at() == 5.0 + RENEWAL + GRACE
    assert story.tell(Tick(), at=5.0 + RENEWAL + GRACE) == [Say(C, Go(keep=True))]


def test_one_who_waits_and_dies_is_forgotten() -> None:
    story = Story()
    story.want(A, at=1.0)
    story.want(B, at=1.1)
    assert story.tell(Left(B), at=1.2) == []
    assert story.back(A, at=1.3) == []


def test_a_trace_of_turns_replays() -> None:
    trace, machine = Trace(), Turns(NODE, TurnsOptions(places=2))
    trace.begin("n", machine)
    events: list[TurnsEvent] = [
        Said(A, Want(0.5, 0.1)),
        Said(B, Want(0.6)),
        Said(C, Want(0.7)),
        Said(A, GiveBack()),
        Tick(),
        Left(B),
    ]
    for at, event in enumerate(events, 1):
        trace.append(float(at), "n", event, list(machine.handle(event, float(at))))
    lines = [from_line(to_line(line)) for line in [*trace.births.values(), *trace]]
    found = replay(lines)
    assert (found.steps, found.machines, found.difference) == (6, 1, None)
    assert make(trace.births["n"]).snapshot() == Turns(NODE, TurnsOptions(places=2)).snapshot()


class Worker:
    """One in a random world: requests wait, one at a time is computed, words travel in order and take their time."""

    def __init__(self, name: WorkerId, usual: Seconds) -> None:
        self.name = name
        self.usual = usual
        self.place = Place(0.0)
        self.queue: deque[Seconds] = deque()
        self.computing: Seconds | None = None
        """When it will be done."""
        self.in_turn = False
        """What computes has a place."""
        self.up: deque[Want | GiveBack] = deque()
        self.down: deque[Go | Recall | Wait] = deque()
        self.stopped = self.dead = False
        self.done = 0

    def go_on(self, now: Seconds) -> None:
        """As a stage's worker does after every event."""
        out: list[StageCommand] = []
        if self.computing is None and self.queue:
            if self.place.may_compute(self.queue[0], self.usual, now, out):
                self.queue.popleft()
                self.in_turn = bool(self.place._held)
                self.computing = now + self.usual
        elif self.computing is None:
            self.place.idle(out)
        self.up += out  # type: ignore[arg-type]
        self.place.validate()


class World:
    """A node and its workers; time passes in steps, and each step one thing happens."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.machine = Turns(NODE, TurnsOptions(places=rng.choice((1, 1, 2))))
        self.workers = {name: Worker(name, rng.choice((0.003, 0.02, 0.1))) for name in (A, B, C)[: rng.choice((2, 3))]}
        self.taken_away: set[WorkerId] = set()
        """Who has lost its place and not said anything since."""
        self.asked = 0

    def tell(self, event: Said | Left | Tick) -> None:
        before = set(self.machine.snapshot().holders)
        for command in self.machine.handle(event, self.now):
            worker = self.workers[command.worker]
            if not worker.dead:
                worker.down.append(command.word)
        self.machine.validate()
        if isinstance(event, Tick):
            self.taken_away |= before - set(self.machine.snapshot().holders)
        waiting = [self.workers[name].place._asked for name in self.machine.snapshot().waiting]
        sinces = [want.since for want in waiting if want is not None]
        assert sinces == sorted(sinces)

    def step(self, *, trouble: bool) -> None:
        """One thing happens to somebody."""
        self.now += self.rng.expovariate(1 / 0.004)
        worker = self.rng.choice(list(self.workers.values()))
        what = self.rng.random()
        if trouble and what < 0.004 and not worker.dead:
            worker.stopped = not worker.stopped
        elif trouble and what < 0.005 and sum(not each.dead for each in self.workers.values()) > 1:
            if not worker.dead:
                worker.dead, worker.computing = True, None
                worker.up.clear()
                self.taken_away.discard(worker.name)
                self.tell(Left(worker.name))
        elif what < 0.12 and not worker.dead:
            worker.queue.append(self.now)
            self.asked += 1
            if not worker.stopped:
                worker.go_on(self.now)
        self.pass_on()

    def pass_on(self) -> None:
        """Words arrive, batches end, alarms ring."""
        for worker in self.workers.values():
            while worker.up and not worker.dead and self.rng.random() < 0.7:
                word = worker.up.popleft()
                if isinstance(word, GiveBack) or not word.again:
                    self.taken_away.discard(worker.name)
                self.tell(Said(worker.name, word))
            if worker.stopped or worker.dead:
                continue
            if worker.down and self.rng.random() < 0.7:
                worker.place.told(worker.down.popleft(), self.now)
            if worker.computing is not None and worker.computing <= self.now:
                worker.computing = None
                worker.done += 1
            out: list[StageCommand] = []
            worker.place.tick(self.now, out)
            worker.up += out  # type: ignore[arg-type]
            worker.go_on(self.now)
        due = self.machine.wake_at()
        if due is not None and due <= self.now:
            self.tell(Tick())
        self.check()

    def check(self) -> None:
        """Nobody computes beside the places but those that had lost theirs."""
        computing = {w.name for w in self.workers.values() if w.computing is not None and w.in_turn and not w.dead}
        assert len(computing - self.taken_away) <= self.machine.options.places


@pytest.mark.parametrize("seed", range(150))
def test_in_a_random_world_everybody_computes_in_the_end_and_nobody_without_a_place(seed: int) -> None:
    world = World(Random(seed))
    for _ in range(600):
        world.step(trouble=True)
    alive = [worker for worker in world.workers.values() if not worker.dead]
    for worker in alive:
        worker.stopped = False
    waiting = {worker.name: worker.done + len(worker.queue) for worker in alive}
    for _ in range(4000):
        if all(worker.done >= waiting[worker.name] for worker in alive):
            break
        world.step(trouble=False)
    assert all(worker.done >= waiting[worker.name] for worker in alive)


def test_every_order_of_a_few_things_leaves_the_books_right() -> None:
    """All ways in which two workers can want a place, give it back and end, four things long."""
    words: tuple[Want | GiveBack, ...] = (Want(0.0), GiveBack())
    things: list[TurnsEvent] = [Left(A), Left(B), Tick(), *(Said(worker, word) for worker in (A, B) for word in words)]
    seen = 0
    paths: list[tuple[int, ...]] = [()]
    while paths:
        path = paths.pop()
        machine = Turns(NODE)
        for number, thing in enumerate(path, 1):
            machine.handle(things[thing], float(number))
            machine.validate()
        seen += 1
        if len(path) < 4:
            paths += [(*path, next_) for next_ in range(len(things))]
    assert seen == sum(len(things) ** n for n in range(5))


def test_who_is_not_answered_asks_again_and_then_computes_all_the_same() -> None:
    place, out = Place(0.0), list[StageCommand]()
    assert not place.may_compute(1.0, 0.1, 1.0, out)
    assert not place.may_compute(1.0, 0.1, 1.5, out)
    assert out == [Want(1.0, 0.1)]
    place.tick(1.0 + SILENCE, out)
    again = Want(1.0, 0.1, again=True)
    assert out == [Want(1.0, 0.1), again]
    place.told(Wait(), 1.9)
    assert place.wake_at() == 1.9 + SILENCE
    place.tick(1.9 + SILENCE, out)
    place.tick(1.9 + 2 * SILENCE, out)
    assert place.may_compute(1.0, 0.1, 4.0, out)
    assert out == [Want(1.0, 0.1), again, again]
    place.told(Go(keep=True), 5.0)
    assert place.may_compute(6.0, 0.1, 6.0, out)
    place.told(Recall(6.5), 6.6)
    assert not place.may_compute(7.0, 0.1, 7.0, out)
    assert out[3:] == [Want(7.0, 0.1)]


def test_a_turn_is_not_handed_on_after_every_short_batch() -> None:
    place, out = Place(0.0), list[StageCommand]()
    assert not place.may_compute(1.0, 0.002, 1.0, out)
    place.told(Go(until=1.0), 1.1)
    assert place.may_compute(1.0, 0.002, 1.1, out)
    assert place.may_compute(1.05, 0.002, 1.102, out)
    assert out == [Want(1.0, 0.002)]
    assert not place.may_compute(1.06, 0.002, 1.104, out)
    assert out == [Want(1.0, 0.002), Want(1.06, 0.002)]


def test_batches_too_short_to_ask_for_are_computed_without_a_place() -> None:
    place, out = Place(0.001), list[StageCommand]()
    assert place.may_compute(1.0, 0.0005, 1.0, out)
    assert out == []
    assert not place.may_compute(1.0, 0.002, 1.1, out)
    place.told(Go(keep=True), 1.2)
    assert place.may_compute(1.3, 0.0005, 1.3, out)
    assert out == [Want(1.0, 0.002), GiveBack()]
