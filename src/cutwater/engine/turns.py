"""Turns: which of a node's workers compute now, when there are more of them than places.

Where several workers share cores by the system's time slices, all that wait get on at once, and each of them slowly: a
burst then takes twice as long on average as it does one after the other. So a node has as many places as batches can
be computed at once without sharing a core, and a worker computes only while it has one. Places are given in the order
in which work came, whichever worker it is for.

Rules: a place is given to the worker whose oldest request came first. Who has one computes without asking for as long
as nobody else waits, and keeps it even while it has nothing to do if nobody else wanted one of late; so a worker that
is alone asks once. While others wait it goes on with what came before theirs, but asks again now and then, which shows
that it lives. Who says nothing for too long, because it is stopped or hangs, has lost its place: nobody waits for one
who may never come back, and if it does, two of them share a core for a moment.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cutwater.engine.vocabulary import GiveBack, Go, Recall, Tick, Wait, Want
from cutwater.units import NodeId, Seconds, WorkerId

LEAST: Seconds = 1e-3
"""Batches that usually take less are computed without a turn: they end within the first time slice that the system
gives them, so they hardly ever mix, and to ask would cost a tenth of them."""
RENEWAL: Seconds = 0.25
"""Who has a place that others wait for asks anew after so long, once its batch is done."""
GRACE: Seconds = 0.25
"""What it has beyond that, at least."""
PATIENCE = 3
"""How many times its usual batch it has beyond that, if that is more."""
LATELY: Seconds = 1.0
"""Who wanted a place in so long is likely to want one again."""


class Said(msgspec.Struct, frozen=True, tag=True):
    """A worker of this node has said this."""

    worker: WorkerId
    word: Want | GiveBack


class Left(msgspec.Struct, frozen=True, tag=True):
    """This worker has ended."""

    worker: WorkerId


class Say(msgspec.Struct, frozen=True, tag=True):
    """Say this to a worker."""

    worker: WorkerId
    word: Go | Recall | Wait


TurnsEvent = Said | Left | Tick
TurnsCommand = Say


class TurnsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has."""

    places: int = 1
    """How many batches it computes at once."""


class TurnsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Who computes, and who waits to."""

    holders: tuple[WorkerId, ...]
    waiting: tuple[WorkerId, ...]
    """The next one first."""
    lost: int
    """How often a place was taken from one who said nothing, since the start."""


class _Hold:
    """A place that somebody has."""

    __slots__ = ("due", "until", "usual")

    def __init__(self, usual: Seconds) -> None:
        self.usual = usual
        self.until: Seconds | None = None
        """What it was told of those who wait."""
        self.due: Seconds | None = None
        """When it is lost, unless it says something; None: nobody waits."""


class Turns:
    """The machine of a node's turns; see `cutwater.engine.machine.Machine`."""

    def __init__(self, node: NodeId, options: TurnsOptions = TurnsOptions()) -> None:  # noqa: B008
        self.node = node
        self.options = options
        self._holds: dict[WorkerId, _Hold] = {}
        self._waiting: dict[WorkerId, Want] = {}
        self._wanted: dict[WorkerId, Seconds] = {}
        """When each worker last wanted a place."""
        self._lost = 0
        self._out: list[TurnsCommand] = []

    def handle(self, event: TurnsEvent, now: Seconds) -> list[TurnsCommand]:
        """See `Machine.handle`."""
        self._out = out = []
        _EVENTS[type(event.word) if type(event) is Said else type(event)](self, event, now)
        granted = self._grant()
        if self._waiting:
            self._press(now, granted)
        else:
            for hold in self._holds.values():
                hold.due = None
        for worker in granted:
            out.append(Say(worker, Go(self._holds[worker].until, self._alone(worker, now))))
        return out

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`; a node has a handful of workers."""
        return min((hold.due for hold in self._holds.values() if hold.due is not None), default=None)

    def snapshot(self) -> TurnsSnapshot:
        """See `Machine.snapshot`."""
        waiting = sorted(self._waiting, key=self._turn)
        return TurnsSnapshot(holders=tuple(self._holds), waiting=tuple(waiting), lost=self._lost)

    # Events

    def _want(self, event: Said, now: Seconds) -> None:
        worker, word = event.worker, event.word
        assert isinstance(word, Want)
        self._wanted[worker] = now
        if word.again:
            if worker in self._holds:
                return
            self._out.append(Say(worker, Wait()))
        self._holds.pop(worker, None)
        self._waiting[worker] = word

    def _give_back(self, event: Said, now: Seconds) -> None:
        self._holds.pop(event.worker, None)  # it may have been lost before

    def _left(self, event: Left, now: Seconds) -> None:
        for books in (self._holds, self._waiting, self._wanted):
            books.pop(event.worker, None)

    def _tick(self, event: Tick, now: Seconds) -> None:
        for worker, hold in tuple(self._holds.items()):
            if hold.due is not None and hold.due <= now:
                del self._holds[worker]
                self._lost += 1

    # What follows

    def _turn(self, worker: WorkerId) -> tuple[Seconds, WorkerId]:
        return self._waiting[worker].since, worker

    def _grant(self) -> list[WorkerId]:
        """Give away what is free, in the order in which work came."""
        granted = []
        while self._waiting and len(self._holds) < self.options.places:
            worker = min(self._waiting, key=self._turn)
            self._holds[worker] = _Hold(self._waiting.pop(worker).usual)
            granted.append(worker)
        return granted

    def _press(self, now: Seconds, granted: list[WorkerId]) -> None:
        """See that everyone who has a place knows whose work waits; whoever is granted one is told with that."""
        until = min(want.since for want in self._waiting.values())
        for worker, hold in self._holds.items():
            if hold.due is None:
                hold.due = now + RENEWAL + max(GRACE, PATIENCE * hold.usual)
            if hold.until is not None and hold.until <= until:
                continue
            hold.until = until
            if worker not in granted:
                self._out.append(Say(worker, Recall(until)))

    def _alone(self, worker: WorkerId, now: Seconds) -> bool:
        """Whether there is a place for everyone who has one, or wanted one of late."""
        lately = {each for each, when in self._wanted.items() if now - when < LATELY}
        return len(lately.union(self._holds, (worker,))) <= self.options.places

    def validate(self) -> None:
        """See `Machine.validate`."""
        assert len(self._holds) <= self.options.places
        assert not self._waiting or len(self._holds) == self.options.places
        assert not self._waiting.keys() & self._holds.keys()
        assert self._waiting.keys() <= self._wanted.keys()
        if self._waiting:
            first = min(want.since for want in self._waiting.values())
            assert all(h.until is not None and h.until <= first and h.due is not None for h in self._holds.values())


_EVENTS: Mapping[type, Callable[[Turns, Any, Seconds], None]] = {
    Want: Turns._want,
    GiveBack: Turns._give_back,
    Left: Turns._left,
    Tick: Turns._tick,
}
