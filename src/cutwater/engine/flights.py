"""Flights: every request accepted and not answered, each with its state, attempt, deadline and route."""

from collections.abc import Iterator
from heapq import heappop, heappush

from cutwater.engine.fault import Fault
from cutwater.engine.lives import FLIGHT_LIFE, Flight, FlightStep, step
from cutwater.engine.vocabulary import Asked, LinkId, Route
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Address


class Record:
    """One flight; changed only by the `Gateway`."""

    __slots__ = ("asked", "attempt", "deadline", "doubt", "link", "request", "route", "state")

    def __init__(self, asked: Asked, now: Seconds) -> None:
        self.asked = asked
        self.request = asked.request
        self.deadline = now + asked.timeout
        self.attempt = 0
        """How often it was launched; an answer to an earlier attempt is not its answer."""
        self.state = Flight.QUEUED
        self.route: Route | None = None
        self.link: LinkId | None = None
        self.doubt: Fault | None = None
        """What it ends with if nobody knows better in time."""

    def take(self, taken: FlightStep) -> None:
        """Go to the state that follows ``taken``."""
        self.state = step(FLIGHT_LIFE, self.state, taken)


class Flights:
    """The open requests, found by id, by state and by deadline."""

    def __init__(self) -> None:
        self._records: dict[RequestId, Record] = {}
        self.queued: dict[RequestId, None] = {}
        """Waiting, in the order of asking."""
        self._alarms: list[tuple[Seconds, RequestId]] = []
        self.outstanding: dict[Address, int] = {}
        """Address -> flights whose route leads over it."""

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    @property
    def flying(self) -> int:
        """Launched and not answered."""
        return len(self._records) - len(self.queued)

    def get(self, request: RequestId) -> Record | None:
        """The open flight of ``request``, or None."""
        return self._records.get(request)

    def accept(self, record: Record) -> None:
        """A new flight, queued."""
        self._records[record.request] = record
        self.queued[record.request] = None
        heappush(self._alarms, (record.deadline, record.request))

    def launch(self, record: Record, route: Route, link: LinkId) -> None:
        """It leaves over ``link``."""
        record.take(FlightStep.LAUNCH)
        record.attempt += 1
        record.route, record.link = route, link
        del self.queued[record.request]
        for hop in route.hops:
            self.outstanding[hop.address] = self.outstanding.get(hop.address, 0) + 1

    def doubt(self, record: Record, fault: Fault, until: Seconds) -> None:
        """It will not be answered; until then somebody may say why."""
        record.take(FlightStep.DOUBT)
        record.doubt = fault
        heappush(self._alarms, (until, record.request))

    def end(self, record: Record, taken: FlightStep) -> None:
        """It is answered, one way or the other."""
        self.queued.pop(record.request, None)
        record.take(taken)
        del self._records[record.request]
        if record.route is not None:
            for hop in record.route.hops:
                self.outstanding[hop.address] -= 1

    def due(self, now: Seconds) -> Iterator[Record]:
        """Flights whose deadline, or the end of whose doubt, has come."""
        while self._alarms and self._alarms[0][0] <= now:
            record = self._records.get(heappop(self._alarms)[1])
            if record is not None:
                yield record

    def wake_at(self) -> Seconds | None:
        """The next alarm. Alarms of ended flights are swept out first, each once."""
        return self._alarms[0][0] if self._alarms else None

    def sweep(self) -> None:
        """Forget the alarms at the front that no flight needs any more."""
        while self._alarms and self._alarms[0][1] not in self._records:
            heappop(self._alarms)
