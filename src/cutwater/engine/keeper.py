"""Keeper: brings up on one node the workers that are wanted there, keeps them up, and ends those that are not."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

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
from cutwater.engine.facts.nodes import Assignment, Phase, WorkerSpec, WorkerState
from cutwater.engine.fault import Fault
from cutwater.engine.lives import step
from cutwater.engine.vocabulary import Tick
from cutwater.units import NodeId, Seconds, WorkerId
from cutwater.wire.message import Address


class WorkerStep(StrEnum):
    """What can happen to a worker on its node."""

    FETCH = "fetch"
    """Its stage file is here."""
    SERVE = "serve"
    FAIL = "fail"
    """It ended by itself, or its stage file cannot be had."""
    RETRY = "retry"
    DROP = "drop"
    """It is not wanted, and no process of it exists."""
    DRAIN = "drain"
    """It is not wanted; its process finishes what it has."""
    END = "end"
    """Its process, no longer wanted, has ended."""


WORKER_LIFE: Mapping[Phase, Mapping[WorkerStep, Phase]] = {
    Phase.FETCHING: {
        WorkerStep.FETCH: Phase.LOADING,
        WorkerStep.FAIL: Phase.BACKING_OFF,
        WorkerStep.DROP: Phase.GONE,
    },
    Phase.LOADING: {
        WorkerStep.SERVE: Phase.READY,
        WorkerStep.FAIL: Phase.BACKING_OFF,
        WorkerStep.DROP: Phase.GONE,
        WorkerStep.DRAIN: Phase.DRAINING,
    },
    Phase.READY: {WorkerStep.FAIL: Phase.BACKING_OFF, WorkerStep.DRAIN: Phase.DRAINING},
    Phase.BACKING_OFF: {WorkerStep.RETRY: Phase.FETCHING, WorkerStep.DROP: Phase.GONE},
    Phase.DRAINING: {WorkerStep.END: Phase.GONE},
    Phase.GONE: {},
}


class KeeperOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a node keeps its workers."""

    backoff: Seconds = 0.2
    """Pause before a worker that ended by itself is started again; doubles each time."""
    backoff_limit: Seconds = 10.0
    steady: Seconds = 60.0
    """A worker that served for so long starts anew with the shortest pause."""
    grace: Seconds = 10.0
    """How long a worker that is not wanted any more may take to finish what it has."""
    loads: int = 2
    """Most workers that load at once; the others wait for their turn."""
    load_limit: Seconds = 180.0
    """A worker that has not come up so long after its start hangs: its process is ended."""


class KeeperSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The node's workers as the keeper knows them; load and figures are added by whoever measures them."""

    term: int
    workers: tuple[WorkerState, ...]


class _Charge:
    """One worker in the keeper's care."""

    __slots__ = (
        "addresses", "began", "fault", "memory", "phase", "pid", "process", "restarts", "since", "spec", "streak",
    )  # fmt: skip

    def __init__(self, spec: WorkerSpec, now: Seconds) -> None:
        self.spec = spec
        self.phase = Phase.FETCHING
        self.since = now
        """When it came to its phase."""
        self.process = False
        """Whether it was started and has not ended."""
        self.began: Seconds | None = None
        """When its process was started, as long as that loads and is to be waited for."""
        self.restarts = 0
        """How often it ended by itself."""
        self.streak = 0
        """How often of late: without having served for long in between."""
        self.addresses: tuple[Address, ...] = ()
        self.pid: int | None = None
        self.memory = 0
        self.fault: Fault | None = None

    def take(self, taken: WorkerStep, now: Seconds) -> None:
        """Go to the phase that follows ``taken``."""
        self.phase = step(WORKER_LIFE, self.phase, taken)
        self.since = now
        self.began = None

    def state(self) -> WorkerState:
        """As a beat says it."""
        return WorkerState(
            worker=self.spec.worker,
            phase=self.phase,
            addresses=self.addresses,
            pid=self.pid,
            memory=self.memory,
            restarts=self.restarts,
            fault=self.fault,
        )


class Keeper:
    """The machine on a node; see `cutwater.engine.machine.Machine`. Without any word it keeps what it has."""

    def __init__(self, node: NodeId, options: KeeperOptions = KeeperOptions()) -> None:  # noqa: B008
        self.node = node
        self.options = options
        self._term = 0
        self._wanted: dict[WorkerId, WorkerSpec] = {}
        self._charges: dict[WorkerId, _Charge] = {}
        self._fetching: set[str] = set()
        """Blobs that are on their way."""
        self._out: list[KeeperCommand] = []

    def handle(self, event: KeeperEvent, now: Seconds) -> list[KeeperCommand]:
        """See `Machine.handle`."""
        before = {name: charge.phase for name, charge in self._charges.items()}
        self._out = []
        _EVENTS[type(event)](self, event, now)
        self._retry(now)
        self._give_up(now)
        self._load(now)
        if before != {name: charge.phase for name, charge in self._charges.items()}:
            self._out.append(Report())
        return self._out

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`; O(1) in the cluster's size: a node has a handful of workers."""
        pauses = [self._retry_at(c) for c in self._charges.values() if c.phase is Phase.BACKING_OFF]
        loads = [c.began + self.options.load_limit for c in self._charges.values() if c.began is not None]
        return min((*pauses, *loads), default=None)

    def snapshot(self) -> KeeperSnapshot:
        """See `Machine.snapshot`."""
        return KeeperSnapshot(term=self._term, workers=tuple(charge.state() for charge in self._charges.values()))

    def _assigned(self, event: Assigned, now: Seconds) -> None:
        assignment: Assignment = event.assignment
        if assignment.node != self.node or assignment.term < self._term:
            return
        self._term = assignment.term
        self._wanted = {spec.worker: spec for spec in assignment.workers}
        for charge in list(self._charges.values()):
            if charge.phase is not Phase.DRAINING and not _same(charge.spec, self._wanted.get(charge.spec.worker)):
                self._let_go(charge, now)
        for name, spec in self._wanted.items():
            if name not in self._charges:
                self._take_on(spec, now)
        for blob in assignment.coming:
            self._fetch(blob)

    def _take_on(self, spec: WorkerSpec, now: Seconds) -> None:
        self._charges[spec.worker] = _Charge(spec, now)
        self._fetch(spec.blob)

    def _let_go(self, charge: _Charge, now: Seconds) -> None:
        if charge.process:
            charge.take(WorkerStep.DRAIN, now)
            self._out.append(End(charge.spec.worker, self.options.grace))
        else:
            charge.take(WorkerStep.DROP, now)
            del self._charges[charge.spec.worker]

    def _fetch(self, blob: str) -> None:
        # Before each start: whoever fetches knows whether the file still is here, and whole.
        if blob not in self._fetching:
            self._fetching.add(blob)
            self._out.append(Fetch(blob))

    def _fetched(self, event: Fetched, now: Seconds) -> None:
        self._fetching.discard(event.blob)
        for charge in self._charges.values():
            if charge.phase is Phase.FETCHING and charge.spec.blob == event.blob:
                if event.fault is None:
                    charge.take(WorkerStep.FETCH, now)
                else:
                    self._fail(charge, event.fault, now)

    def _load(self, now: Seconds) -> None:
        """Start those whose file is here, as many at once as may load."""
        loading = [charge for charge in self._charges.values() if charge.phase is Phase.LOADING]
        room = self.options.loads - sum(charge.process for charge in loading)
        for charge in [charge for charge in loading if not charge.process][: max(room, 0)]:
            charge.process, charge.began = True, now
            self._out.append(Start(charge.spec))

    def _give_up(self, now: Seconds) -> None:
        """End those that hang while they load; they are started again as if they had ended by themselves."""
        for charge in self._charges.values():
            if charge.began is not None and now >= charge.began + self.options.load_limit:
                charge.began = None
                self._out.append(End(charge.spec.worker, 0.0))

    def _started(self, event: Started, now: Seconds) -> None:
        charge = self._charges.get(event.worker)
        if charge is None or not charge.process:
            return
        charge.addresses, charge.pid, charge.memory = event.addresses, event.pid, event.memory
        if charge.phase is Phase.LOADING:
            charge.take(WorkerStep.SERVE, now)
            charge.fault = None

    def _ended(self, event: Ended, now: Seconds) -> None:
        charge = self._charges.get(event.worker)
        if charge is None or not charge.process:
            return
        charge.process = False
        charge.addresses, charge.pid, charge.memory = (), None, 0
        if charge.phase is not Phase.DRAINING:
            self._fail(charge, event.fault, now)
            return
        charge.take(WorkerStep.END, now)
        del self._charges[event.worker]
        spec = self._wanted.get(event.worker)
        if spec is not None:  # wanted again in the meantime
            self._take_on(spec, now)

    def _fail(self, charge: _Charge, fault: Fault, now: Seconds) -> None:
        if charge.phase is Phase.READY and now - charge.since >= self.options.steady:
            charge.streak = 0
        charge.take(WorkerStep.FAIL, now)
        charge.restarts += 1
        charge.streak += 1
        charge.fault = fault

    def _retry(self, now: Seconds) -> None:
        for charge in self._charges.values():
            if charge.phase is Phase.BACKING_OFF and now >= self._retry_at(charge):
                charge.take(WorkerStep.RETRY, now)
                self._fetch(charge.spec.blob)

    def _retry_at(self, charge: _Charge) -> Seconds:
        pause = self.options.backoff * 2.0 ** (min(charge.streak, 32) - 1)
        return charge.since + min(pause, self.options.backoff_limit)

    def _tick(self, event: Tick, now: Seconds) -> None:
        """What is due is looked for after every event."""

    def validate(self) -> None:
        """See `Machine.validate`."""
        with_process = (Phase.LOADING, Phase.READY, Phase.DRAINING)
        for name, charge in self._charges.items():
            assert charge.spec.worker == name and charge.phase is not Phase.GONE
            assert charge.phase in with_process or not charge.process
            assert charge.process or charge.phase not in (Phase.READY, Phase.DRAINING)
            assert name in self._wanted or charge.phase is Phase.DRAINING
            assert charge.phase is not Phase.FETCHING or charge.spec.blob in self._fetching
            assert bool(charge.addresses) <= (charge.phase in (Phase.READY, Phase.DRAINING))
        assert all(name in self._charges for name in self._wanted)
        assert sum(c.process for c in self._charges.values() if c.phase is Phase.LOADING) <= self.options.loads


def _same(spec: WorkerSpec, wanted: WorkerSpec | None) -> bool:
    """Whether what runs is what is wanted: a coordinator that has lost its memory gives names a second time."""
    return wanted is not None and (spec.token, spec.blob) == (wanted.token, wanted.blob)


_EVENTS: Mapping[type, Callable[[Keeper, Any, Seconds], None]] = {
    Assigned: Keeper._assigned,
    Fetched: Keeper._fetched,
    Started: Keeper._started,
    Ended: Keeper._ended,
    Tick: Keeper._tick,
}
