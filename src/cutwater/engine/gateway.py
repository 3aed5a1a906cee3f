"""Gateway: takes requests in and owns each one until it is answered, a result or a typed error, by its deadline."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cutwater.engine.admission import Admission
from cutwater.engine.fault import Fault
from cutwater.engine.flights import Flights, Record
from cutwater.engine.lanes import Lane
from cutwater.engine.lives import Flight, FlightStep
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Drain,
    Fail,
    GatewayCommand,
    GatewayEvent,
    Key,
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
from cutwater.units import Seconds
from cutwater.wire.message import Address, Answer, Cancel, Credit, Failure, Infer

WHERE = "gateway"


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway behaves."""

    admission: Admission = Admission()
    grace: Seconds = 0.5
    """How long a request whose link broke waits for the reason before its client hears of a lost link."""


class GatewaySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway in figures."""

    queued: int
    flying: int
    answered: int
    failed: int
    refused: int
    late: int
    """Answers to earlier attempts, or to requests that had ended; dropped."""


class Gateway:
    """The machine at the entrance; see `cutwater.engine.machine.Machine`."""

    def __init__(self, routes: Sequence[Route], options: GatewayOptions = GatewayOptions()) -> None:  # noqa: B008
        self.options = options
        self._routes = list(routes)
        self._flights = Flights()
        self._lanes = {route.hops[0].address: Lane(route.hops[0].address) for route in routes}
        self._lane_of: dict[LinkId, Lane] = {}
        self._broken: dict[Address, tuple[Seconds, Fault]] = {}
        """First hops whose link is lost: until when somebody may say why, and what is said otherwise."""
        self._end: Fault | None = None
        """Why the last route went."""
        self._draining = False
        self._answered = self._failed = self._refused = self._late = 0
        self._out: list[GatewayCommand] = []

    def handle(self, event: GatewayEvent, now: Seconds) -> list[GatewayCommand]:
        """See `Machine.handle`."""
        out: list[GatewayCommand] = []
        self._out = out
        _EVENTS[type(event)](self, event, now)
        self._launch(now)
        self._flights.sweep()
        if self._draining and not self._flights:
            out.append(Stop())
        return out

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`."""
        alarm = self._flights.wake_at()
        for until, _ in self._broken.values():
            alarm = until if alarm is None else min(alarm, until)
        return alarm

    def snapshot(self) -> GatewaySnapshot:
        """See `Machine.snapshot`."""
        return GatewaySnapshot(
            queued=len(self._flights.queued),
            flying=self._flights.flying,
            answered=self._answered,
            failed=self._failed,
            refused=self._refused,
            late=self._late,
        )

    # Clients

    def _asked(self, event: Asked, now: Seconds) -> None:
        if self._end is not None:
            self._refuse(event, self._end)
        elif self._draining:
            self._refuse(event, Fault("Refused", "the gateway is draining", WHERE, True))
        elif event.timeout <= 0:
            self._refuse(event, Fault("DeadlineExceeded", "the request had no time left when it was asked", WHERE))
        elif not self.options.admission.admits(len(self._flights.queued)):
            full = f"{len(self._flights.queued)} requests are already waiting; ask again later or more slowly"
            self._refuse(event, Fault("Refused", full, WHERE, True))
        else:
            assert self._flights.get(event.request) is None, f"request id {event.request} is already in use"
            self._flights.accept(Record(event, now))

    def _refuse(self, event: Asked, fault: Fault) -> None:
        self._refused += 1
        self._out.append(Fail(event.request, fault))

    def _withdrawn(self, event: Withdrawn, now: Seconds) -> None:
        record = self._flights.get(event.request)
        if record is not None:
            self._cancel(record)
            self._flights.end(record, FlightStep.FAIL)

    # Launching

    def _launch(self, now: Seconds) -> None:
        """Send what waits, as far as the window and the links' credit go."""
        flights = self._flights
        while flights.queued and self.options.admission.launches(flights.flying):
            route = self._choose()
            if route is None:
                return
            record = flights.get(next(iter(flights.queued)))
            lane = self._lanes[route.hops[0].address]
            assert record is not None and lane.link is not None
            flights.launch(record, route, lane.link)
            lane.send(Key(record.request, record.attempt))
            asked = record.asked
            message = Infer(
                record.request,
                record.attempt,
                max(record.deadline - now, 0.0),
                route.hops[1:],
                route.reply_packing,
                asked.packing,
                asked.tensors,
            )
            self._out.append(Send(lane.link, message))

    def _choose(self) -> Route | None:
        """The usable route whose busiest worker has least to do; of equals the one with least to do in all."""
        usable = [route for route in self._routes if self._lanes[route.hops[0].address].usable]
        if len(usable) <= 1:
            return usable[0] if usable else None
        outstanding = self._flights.outstanding

        def load(route: Route) -> tuple[int, int]:
            counts = [outstanding.get(hop.address, 0) for hop in route.hops]
            return max(counts), sum(counts)

        return min(usable, key=load)

    # Links

    def _opened(self, event: Opened, now: Seconds) -> None:
        assert event.address is not None, "the gateway dials; nobody dials it"
        lane = self._lanes[event.address]
        lane.open(event.link, event.credits)
        self._lane_of[event.link] = lane

    def _lost(self, event: Lost, now: Seconds) -> None:
        lane = self._lane_of.pop(event.link)
        lane.link = None
        fault = Fault("LinkLost", f"the link to {lane.address} is lost: {event.reason}", WHERE, True)
        for record in self._flights:
            if record.link == event.link and record.state is Flight.FLYING:
                self._flights.doubt(record, fault, now + self.options.grace)
        if any(route.hops[0].address == lane.address for route in self._routes):
            self._broken[lane.address] = (now + self.options.grace, fault)

    def _paused(self, event: Paused, now: Seconds) -> None:
        self._lane_of[event.link].paused = True

    def _resumed(self, event: Resumed, now: Seconds) -> None:
        self._lane_of[event.link].paused = False

    def _worker_gone(self, event: WorkerGone, now: Seconds) -> None:
        self._broken.pop(event.address, None)
        self._routes = [route for route in self._routes if all(hop.address != event.address for hop in route.hops)]
        for record in self._flights:
            if record.route is not None and any(hop.address == event.address for hop in record.route.hops):
                self._fail(record, event.fault)
        if not self._routes:
            self._end = event.fault
            for record in self._flights:
                self._fail(record, event.fault)

    # Messages

    def _received(self, event: Received, now: Seconds) -> None:
        message = event.message
        if type(message) is Credit:
            self._lane_of[event.link].credits += message.count
            return
        assert type(message) is Answer or type(message) is Failure, f"a worker does not send {type(message).__name__}"
        record = self._flights.get(message.request)
        if record is None or record.attempt != message.attempt or record.state is not Flight.FLYING:
            self._late += 1
        elif type(message) is Answer:
            self._lane_of[event.link].away.discard(Key(record.request, record.attempt))
            self._answered += 1
            self._flights.end(record, FlightStep.ANSWER)
            self._out.append(Complete(record.request))
        elif type(message) is Failure:
            fault = Fault(message.kind, message.message, message.where, message.retryable)
            if message.kind == "LinkLost":
                self._flights.doubt(record, fault, now + self.options.grace)
            else:
                self._fail(record, fault)

    # Ends

    def _fail(self, record: Record, fault: Fault) -> None:
        self._flights.end(record, FlightStep.FAIL)
        if record.link in self._lane_of:
            self._lane_of[record.link].away.discard(Key(record.request, record.attempt))
        self._failed += 1
        self._out.append(Fail(record.request, fault))

    def _cancel(self, record: Record) -> None:
        """Tell the stages, if they have it."""
        if record.state is Flight.FLYING and record.link in self._lane_of:
            self._out.append(Send(record.link, Cancel(record.request, record.attempt)))

    def _tick(self, event: Tick, now: Seconds) -> None:
        for address, (until, fault) in tuple(self._broken.items()):
            if until <= now:
                self._worker_gone(WorkerGone(address, fault), now)
        for record in self._flights.due(now):
            if record.doubt is not None and now < record.deadline:
                self._fail(record, record.doubt)
                continue
            self._cancel(record)
            waited = "waiting for room in the window" if record.state is Flight.QUEUED else "on its way"
            late = f"no answer within {record.asked.timeout:g} s; the request was still {waited}"
            self._fail(record, Fault("DeadlineExceeded", late, WHERE))

    def _drain(self, event: Drain, now: Seconds) -> None:
        self._draining = True

    def validate(self) -> None:
        """See `Machine.validate`."""
        counts: dict[Address, int] = {}
        for record in self._flights:
            assert record.state in (Flight.QUEUED, Flight.FLYING, Flight.SUSPECT)
            assert (record.request in self._flights.queued) == (record.state is Flight.QUEUED)
            for hop in record.route.hops if record.route else ():
                counts[hop.address] = counts.get(hop.address, 0) + 1
        assert counts == {address: count for address, count in self._flights.outstanding.items() if count}
        assert self._flights.flying <= self.options.admission.window
        for lane in self._lane_of.values():
            assert lane.credits >= 0


_EVENTS: Mapping[type, Callable[[Gateway, Any, Seconds], None]] = {
    Opened: Gateway._opened,
    Received: Gateway._received,
    Lost: Gateway._lost,
    Paused: Gateway._paused,
    Resumed: Gateway._resumed,
    Asked: Gateway._asked,
    Withdrawn: Gateway._withdrawn,
    WorkerGone: Gateway._worker_gone,
    Drain: Gateway._drain,
    Tick: Gateway._tick,
}
