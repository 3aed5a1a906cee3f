"""Flights: every request accepted and not answered, each with its state, attempt, deadline and way."""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from cutwater.engine.gateway.line import Line
from cutwater.engine.gateway.record import QUEUED, Record
from cutwater.engine.gateway.ways import Way
from cutwater.engine.lives import FLIGHT_LIFE, Flight, FlightStep, step
from cutwater.engine.vocabulary import Asked, Key, LinkId
from cutwater.units import RequestId, Seconds

LAUNCH = FlightStep.LAUNCH  # looking a member up takes long
SPARE = 64
"""How many deadlines of flights that have ended may stay, besides as many as there are flights."""


class Flights:
    """The open requests, found by id, by state and by deadline."""

    def __init__(self) -> None:
        self.line = Line()
        """Waiting to fly for the first time."""
        self.waiting = 0
        """Accepted and not on their way."""
        self.flying = 0
        """Launched and not answered."""
        self._records: dict[RequestId, Record] = {}
        self._again: OrderedDict[RequestId, Record] = OrderedDict()
        """Waiting to fly again, the next one first."""
        self._apart: OrderedDict[RequestId, Record] = OrderedDict()
        """Those that wait to fly alone."""
        self._lonely: Record | None = None
        """The one of them that flies."""
        self._alarms: list[tuple[Seconds, RequestId]] = []

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    @property
    def pressing(self) -> bool:
        """Whether more could fly if there were room."""
        return bool(self.line or self._again)

    def get(self, request: RequestId) -> Record | None:
        """The open flight of ``request``, or None."""
        return self._records.get(request)

    def first(self) -> Record | None:
        """Whose turn it is."""
        if self._apart and self._lonely is None:
            return next(iter(self._apart.values()))
        if self._again:
            return next(iter(self._again.values()))
        return self.line.first()

    def before(self, asked: Asked) -> int:
        """How many are answered before what is asked now, as far as is known."""
        before = self.flying + self.waiting
        return before + self.line.before(asked) - len(self.line) if self.waiting else before

    def accept(self, record: Record) -> None:
        """A new flight; it is launched at once, or waits in the `line`."""
        alarms = self._alarms
        self._records[record.request] = record
        self.waiting += 1
        if len(alarms) > 2 * len(self._records) + SPARE:
            alarms = self._alarms = [alarm for alarm in alarms if alarm[1] in self._records]
            heapify(alarms)
        heappush(alarms, (record.deadline, record.request))

    def launch(self, record: Record, way: Way, link: LinkId, now: Seconds) -> None:
        """It leaves by ``way``, over ``link``."""
        record.state = step(FLIGHT_LIFE, record.state, LAUNCH)
        if record.alone:
            del self._apart[record.request]
            self._lonely = record
        elif record.attempt:
            del self._again[record.request]
        elif record.turn >= 0:
            self.line.remove(record, flies=True)
        record.attempt += 1
        record.key = key = Key(record.request, record.attempt)
        record.way, record.link = way, link
        record.launched, record.before = now, self.flying
        self.flying += 1
        self.waiting -= 1
        way.take()
        way.lane.send(key)

    def retry(self, record: Record) -> None:
        """Its attempt has ended; it is the next to fly."""
        record.state = step(FLIGHT_LIFE, record.state, FlightStep.RETRY)
        self._land(record)
        self.waiting += 1
        if record.alone:
            self._apart[record.request] = record
        else:
            self._again[record.request] = record
            self._again.move_to_end(record.request, last=False)

    def end(self, record: Record, taken: FlightStep) -> None:
        """It is answered, one way or the other."""
        if record.state is not QUEUED:
            self._land(record)
        else:
            self.waiting -= 1
            if record.turn >= 0:
                self.line.remove(record, flies=False)
            else:
                del (self._apart if record.alone else self._again)[record.request]
        record.state = step(FLIGHT_LIFE, record.state, taken)
        del self._records[record.request]

    def _land(self, record: Record) -> None:
        assert record.way is not None
        record.way.leave()
        record.way = record.link = None
        self.flying -= 1
        if record is self._lonely:
            self._lonely = None

    def due(self, now: Seconds) -> Iterator[Record]:
        """Flights whose deadline has come."""
        while self._alarms and self._alarms[0][0] <= now:
            record = self._records.get(heappop(self._alarms)[1])
            if record is not None:
                yield record

    def wake_at(self) -> Seconds | None:
        """The next deadline."""
        return self._alarms[0][0] if self._alarms else None

    def sweep(self) -> None:
        """Forget the deadlines at the front that no flight has any more."""
        alarms = self._alarms
        while alarms and alarms[0][1] not in self._records:
            heappop(alarms)

    def validate(self) -> None:
        """Raise AssertionError where the books contradict each other."""
        self.line.validate()
        in_line = {record.request for record in self.line}
        assert not self._again.keys() & self._apart.keys() and not in_line & (self._again.keys() | self._apart.keys())
        assert self.flying == sum(record.state is Flight.FLYING for record in self)
        assert self.waiting == len(in_line) + len(self._again) + len(self._apart)
        assert self._records.keys() <= {request for _, request in self._alarms}
        for record in self:
            assert record.state in (Flight.QUEUED, Flight.FLYING)
            waits = record.request in self._again or record.request in self._apart or record.request in in_line
            assert waits == (record.state is Flight.QUEUED) == (record.way is None)
            assert (record.request in in_line) == (record.attempt == 0)
            assert (record.request in self._apart or record is self._lonely) == record.alone
