"""Gateway: takes requests in and owns each one until it is answered, a result or a typed error, by its deadline.

A request whose attempt ends without an answer flies again by another way; answers to earlier attempts are dropped. The
deadline always wins. Everything that happens to a request happens in this file; who comes in is decided in door.py, who
is next in line.py, which way it takes in ways.py, whether a link is dialled in reach.py, whether the gateway answers by
itself in fallback.py. Hence its length.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from cutwater.engine.alarms import Alarms
from cutwater.engine.fault import Fault
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.door import WHERE, Door
from cutwater.engine.gateway.fallback import Fallback
from cutwater.engine.gateway.figures import GatewaySnapshot, Tally
from cutwater.engine.gateway.flights import Flights
from cutwater.engine.gateway.neighbours import Share
from cutwater.engine.gateway.reach import Reach
from cutwater.engine.gateway.record import Record
from cutwater.engine.gateway.retries import STRIKES, Quarantine, strikes
from cutwater.engine.gateway.trust import Worker
from cutwater.engine.gateway.ways import Ways
from cutwater.engine.lives import Flight, FlightStep, Trust
from cutwater.engine.vocabulary import (
    Asked,
    Beside,
    Complete,
    Dial,
    DialFailed,
    Drain,
    Fail,
    GatewayCommand,
    GatewayEvent,
    Launch,
    Lost,
    Opened,
    Paused,
    Received,
    Rerouted,
    Resumed,
    Send,
    StandIn,
    Stop,
    Tick,
    Withdrawn,
    WorkerGone,
)
from cutwater.units import Seconds
from cutwater.wire.message import Address, Answer, Cancel, Credit, Failure

FLYING, ANSWER = Flight.FLYING, FlightStep.ANSWER  # looking a member up takes long


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway behaves."""

    admission: Admission = Admission()
    patience: Seconds = 1.0
    """How long requests wait for another way before the gateway answers by itself."""
    linger: Seconds = 10.0
    """How long another way must be open before its own copy of the model is taken down again."""


class Gateway:
    """The machine at the entrance; see `cutwater.engine.machine.Machine`. Its ways come by `Rerouted`."""

    def __init__(self, options: GatewayOptions = GatewayOptions()) -> None:  # noqa: B008
        self.options = options
        self._widest = options.admission.window
        self._alarms = Alarms()
        self._flights = Flights()
        self._ways = Ways()
        self._door = Door(options.admission, self._flights, self._ways)
        self.share = Share(self._flights, self._ways)
        """What the machines of other models are told of it."""
        self._reach = Reach(self._alarms)
        self._fallback = Fallback(self._alarms, options.patience, options.linger)
        self._end: Fault | None = None
        """Why the last way went for good."""
        self._standing: Address | None = None
        """Where the gateway's own copy of the model serves, or is to serve."""
        self._stopped = False
        self._tally = Tally()
        self._out: list[GatewayCommand] = []

    def handle(self, event: GatewayEvent, now: Seconds) -> list[GatewayCommand]:
        """See `Machine.handle`."""
        out: list[GatewayCommand] = []
        self._out = out
        _EVENTS[type(event)](self, event, now)
        ways, flights = self._ways, self._flights
        if ways.changed or ways.dark or self._standing is not None or self._reach.due:
            self._look(now)
        if flights.waiting:
            self._launch(now)
        flights.sweep()
        if self._door.draining and not flights and not self._stopped:
            self._stopped = True
            out.append(Stop())
        return out

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`."""
        deadline, alarm = self._flights.wake_at(), self._alarms.wake_at()
        if deadline is None or alarm is None:
            return alarm if deadline is None else deadline
        return deadline if deadline < alarm else alarm

    def snapshot(self) -> GatewaySnapshot:
        """See `Machine.snapshot`."""
        epochs: dict[int, int] = {}
        for record in self._flights:
            if record.way is not None:
                epoch = record.way.route.epoch
                epochs[epoch] = epochs.get(epoch, 0) + 1
        flights = self._flights
        return self._tally.snapshot(flights.waiting, flights.flying, epochs, self._ways.suspects(), open_=self.open)

    @property
    def open(self) -> bool:
        """Whether a way other than the gateway's own can be taken."""
        return not self._ways.dark

    def outlook(self, asked: Asked, ahead: int, now: Seconds) -> Fault | None:
        """Why a request would be refused that came now, after ``ahead`` others that are not here yet; None: it is not.

        Nothing changes, and nothing is promised: whoever has work before it can ask knows whether to begin with it.
        """
        return self._end or self._door.outlook(asked, self._ways.passable, now, ahead)

    def _told(self, event: Beside, now: Seconds) -> None:
        self._ways.beside.loads = event.loads

    # Clients

    def _asked(self, event: Asked, now: Seconds) -> None:
        flights, ways = self._flights, self._ways
        fault = self._end or self._door.refusal(event, ways.passable, now)
        if fault is not None:
            self._refuse(event, fault)
            return
        assert flights.get(event.request) is None, f"request id {event.request} is already in use"
        self._tally.accepted += 1
        if self._door.full:
            self._drop(*self._door.displaced(now))
        record = Record(event, now)
        flights.accept(record)
        if flights.waiting > 1 or not self._door.room or not self._fly(record, now):
            flights.line.add(record)

    def _refuse(self, event: Asked, fault: Fault) -> None:
        self._tally.refused += 1
        self._out.append(Fail(event.request, fault))

    def _withdrawn(self, event: Withdrawn, now: Seconds) -> None:
        record = self._flights.get(event.request)
        if record is not None:
            self._tally.withdrawn += 1
            self._cancel(record)
            self._leave_link(record)
            self._flights.end(record, FlightStep.FAIL)

    # Launching

    def _launch(self, now: Seconds) -> None:
        """Send what waits, as far as the window, the ways and the links' credit go, and nothing that is in vain."""
        flights, door, passable = self._flights, self._door, self._ways.passable
        while True:
            while (vain := door.vain(passable, now)) is not None:
                self._drop(*vain)
            first = flights.first()
            if first is None or not door.room or not self._fly(first, now):
                return

    def _fly(self, record: Record, now: Seconds) -> bool:
        """Send it on its way, if there is one that takes it right now."""
        left = record.deadline - now
        way = self._ways.choose(now, left)
        if way is None:
            return False
        link = way.lane.link
        assert link is not None
        if not self._flights.flying:
            self._door.flow.launched(now)
            self._ways.passed()
        record.beyond = self._door.beyond()
        self._flights.launch(record, way, link, now)
        self._out.append(Launch(link, record.key, way.route, left if left > 0.0 else 0.0))
        return True

    def _drop(self, record: Record, fault: Fault) -> None:
        """It waits no longer, and nothing was done for it."""
        self._tally.dropped += 1
        self._fail(record, fault)

    # Ways

    def _rerouted(self, event: Rerouted, now: Seconds) -> None:
        self._end = None
        self._ways.reroute(event.routes, self._reach.lane)
        self._door.flow.take(max((route.batch for route in event.routes), default=1))
        if event.window is not None:
            self._door.admission = msgspec.structs.replace(self._door.admission, window=event.window)
            self._widest = max(self._widest, event.window)

    def _worker_gone(self, event: WorkerGone, now: Seconds) -> None:
        """No way leads over it any more. What was there flies again; if no way is left at all, everything ends."""
        routes = [way.route for way in self._ways]
        left = [route for route in routes if all(hop.address != event.address for hop in route.hops)]
        if len(left) < len(routes):
            self._ways.reroute(left, self._reach.lane)
        for record in reversed(tuple(self._flights)):
            if record.way is not None and any(worker.address == event.address for worker in record.way.workers):
                self._cancel(record)
                self._retry(record, event.fault)
        if not left:
            self._end = event.fault
            for record in self._flights:
                if record.state is Flight.QUEUED:
                    self._fail(record, event.fault)

    def _look(self, now: Seconds) -> None:
        """See which ways are open, whether the gateway must answer by itself, and which links are needed."""
        ways, reach = self._ways, self._reach
        changed = ways.changed or reach.due
        if ways.changed:
            ways.look()
        if ways.rates is not None:
            self._door.flow.change(*ways.rates)
            ways.rates = None
        if ways.own is not None:
            self._fallback.judge(dark=ways.dark, waiting=self._flights.waiting > 0, now=now)
        standing = ways.own if self._fallback.on else None
        if standing == self._standing and not changed:
            return
        if self._standing is not None and self._standing != standing:
            self._out.append(StandIn(self._standing, False))
        self._standing = standing
        wanted = [way.lane.address for way in ways if not way.route.degraded]
        for command in reach.want(wanted if standing is None else [*wanted, standing], ways.own):
            if type(command) is Dial and command.address == standing:
                self._out.append(StandIn(standing, True))
            self._out.append(command)

    # Links

    def _opened(self, event: Opened, now: Seconds) -> None:
        self._out += self._reach.opened(event)
        assert event.address is not None
        worker = self._ways.worker(event.address)
        if worker is not None and worker.trust is Trust.BENCHED:
            worker.retry()
        self._ways.changed = True

    def _dial_failed(self, event: DialFailed, now: Seconds) -> None:
        self._reach.failed(event, now)
        self._bench(event.address, now, lost=True)

    def _lost(self, event: Lost, now: Seconds) -> None:
        found = self._reach.lost(event, now)
        if found is None:
            return
        lane, keys = found
        fault = Fault("LinkLost", f"the link to {lane.address} is lost: {event.reason}", WHERE, True)
        for key in reversed(keys):
            record = self._flights.get(key.request)
            assert record is not None and record.attempt == key.attempt
            self._retry(record, fault)
        self._bench(lane.address, now, lost=True)
        self._ways.changed = True

    def _paused(self, event: Paused, now: Seconds) -> None:
        if (lane := self._reach.by_link.get(event.link)) is not None:
            lane.paused = True

    def _resumed(self, event: Resumed, now: Seconds) -> None:
        if (lane := self._reach.by_link.get(event.link)) is not None:
            lane.paused = False

    def _bench(self, address: Address, now: Seconds, *, lost: bool) -> None:
        """Send no request to this worker for a while."""
        worker = self._ways.worker(address)
        if worker is not None and worker.lose(now, lost=lost):
            self._alarms.at(worker.until, partial(self._try, worker))
            self._ways.changed = True

    def _try(self, worker: Worker, now: Seconds) -> None:
        if worker.trust is Trust.BENCHED and now >= worker.until:
            worker.retry()
            self._ways.changed = True

    # Messages

    def _received(self, event: Received, now: Seconds) -> None:
        message = event.message
        if type(message) is Credit:
            if (lane := self._reach.by_link.get(event.link)) is not None:
                lane.credits += message.count
            return
        assert type(message) is Answer or type(message) is Failure, f"a worker does not send {type(message).__name__}"
        record = self._flights.get(message.request)
        if record is None or record.attempt != message.attempt or record.state is not FLYING:
            self._tally.late += 1
            return
        way = record.way
        assert way is not None
        if type(message) is Answer:
            self._ways.answered(way, message.trail, now)
            self._door.flow.answered(record, message.trail, self._flights.pressing, now, self._ways.passed())
            self._tally.answered += 1
            self._tally.degraded += way.route.degraded
            self._leave_link(record)
            self._flights.end(record, ANSWER)
            self._out.append(Complete(record.request, way.route.degraded))
        elif type(message) is Failure:
            fault = Fault(message.kind, message.message, message.where, message.retryable)
            if not message.retryable:
                self._leave_link(record)
                self._fail(record, fault)
                return
            reporter = way.workers[min(len(message.trail), len(way.workers) - 1)]
            self._retry(record, fault)
            self._bench(message.suspect or reporter.address, now, lost=strikes(fault) or message.suspect != "")

    # Ends

    def _retry(self, record: Record, fault: Fault) -> None:
        """Its attempt has ended; it flies again, unless it seems to be the one that does the damage."""
        self._leave_link(record)
        if strikes(fault):
            record.faults = (*record.faults, fault)
        if len(record.faults) < STRIKES:
            self._tally.retried += 1
            self._flights.retry(record)
            return
        quarantine = Quarantine(record.request, record.faults)
        self._tally.quarantined += 1
        self._tally.quarantine.append(quarantine)
        self._fail(record, quarantine.fault)

    def _fail(self, record: Record, fault: Fault) -> None:
        self._flights.end(record, FlightStep.FAIL)
        self._tally.failed += 1
        self._out.append(Fail(record.request, fault))

    def _cancel(self, record: Record) -> None:
        """Tell the stages, if they have it."""
        if record.link is not None and record.link in self._reach.by_link:
            self._out.append(Send(record.link, Cancel(record.request, record.attempt)))

    def _leave_link(self, record: Record) -> None:
        """Nothing comes back for this attempt, or nobody cares."""
        if record.link is not None:
            self._out += self._reach.leave(record.link, record.key)

    def _tick(self, event: Tick, now: Seconds) -> None:
        self._alarms.ring(now)
        for record in self._flights.due(now):
            self._cancel(record)
            self._leave_link(record)
            if record.way is not None:
                self._door.flow.missed(record, now)
                for worker in record.way.workers:
                    if worker.trust is Trust.TRIAL:
                        self._bench(worker.address, now, lost=worker.lost)
            late = f"no answer within {record.asked.timeout:g} s; the request was still {self._whereabouts(record)}"
            self._fail(record, Fault("DeadlineExceeded", late, WHERE))

    def _whereabouts(self, record: Record) -> str:
        if record.state is Flight.FLYING:
            return "on its way"
        if not self._ways.dark:
            return "waiting for room in the window"
        return f"waiting for a way through the stages ({self._reach.trouble or 'there is none'})"

    def _drain(self, event: Drain, now: Seconds) -> None:
        self._door.draining = True

    def validate(self) -> None:
        """See `Machine.validate`."""
        self._flights.validate()
        self._reach.validate()
        counts: dict[Worker, int] = {}
        for record in self._flights:
            for worker in record.way.workers if record.way else ():
                counts[worker] = counts.get(worker, 0) + 1
            if record.link is not None:
                assert record.key == (record.request, record.attempt)
                assert record.key in self._reach.by_link[record.link].away
        assert all(worker.outstanding == count for worker, count in counts.items())
        assert all(worker in counts or not worker.outstanding for way in self._ways for worker in way.workers)
        assert self._flights.flying <= self._widest
        assert sum(len(lane.away) for lane in self._reach.by_link.values()) == self._flights.flying
        assert self._tally.accepted == self._tally.ended + len(self._flights)


_EVENTS: Mapping[type, Callable[[Gateway, Any, Seconds], None]] = {
    Opened: Gateway._opened,
    Received: Gateway._received,
    Lost: Gateway._lost,
    DialFailed: Gateway._dial_failed,
    Paused: Gateway._paused,
    Resumed: Gateway._resumed,
    Asked: Gateway._asked,
    Withdrawn: Gateway._withdrawn,
    Rerouted: Gateway._rerouted,
    WorkerGone: Gateway._worker_gone,
    Beside: Gateway._told,
    Drain: Gateway._drain,
    Tick: Gateway._tick,
}
