"""Flights: every request accepted and not answered, each with its state, attempt, deadline and way."""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heappop, heappush

from cutwater.engine.fault import Fault
from cutwater.engine.gateway.retries import STRIKES
from cutwater.engine.gateway.ways import Way
from cutwater.engine.lives import FLIGHT_LIFE, Flight, FlightStep, step
from cutwater.engine.vocabulary import Key, LinkId
from cutwater.units import RequestId, Seconds

QUEUED, LAUNCH = Flight.QUEUED, FlightStep.LAUNCH  # looking a member up takes long


class Record:
    """One flight; changed only by the `Gateway` and its `Flights`."""

    __slots__ = ("attempt", "deadline", "faults", "key", "link", "request", "state", "timeout", "way")

    def __init__(self, request: RequestId, timeout: Seconds, now: Seconds) -> None:
        self.request = request
        self.timeout = timeout
        self.deadline = now + timeout
        self.attempt = 0
        """How often it was launched; an answer to an earlier attempt is not its answer."""
        self.state = QUEUED
        self.key: Key
        """Of the newest attempt, from its launch on."""
        self.way: Way | None = None
        """While it is flying."""
        self.link: LinkId | None = None
        self.faults: tuple[Fault, ...] = ()
        """How those of its attempts ended that may have taken a worker down."""

    @property
    def alone(self) -> bool:
        """Whether one more fault ends it. Then it must not be another's: such requests fly one after the other."""
        return len(self.faults) >= STRIKES - 1


class Flights:
    """The open requests, found by id, by state and by deadline."""

    def __init__(self) -> None:
        self._records: dict[RequestId, Record] = {}
        self._queued: OrderedDict[RequestId, Record] = OrderedDict()
        """Waiting, in the order of asking; those that fly again come first."""
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
    def waiting(self) -> int:
        """Accepted and not on their way."""
        return len(self._queued) + len(self._apart)

    @property
    def flying(self) -> int:
        """Launched and not answered."""
        return len(self._records) - len(self._queued) - len(self._apart)

    def get(self, request: RequestId) -> Record | None:
        """The open flight of ``request``, or None."""
        return self._records.get(request)

    def first(self) -> Record | None:
        """Whose turn it is."""
        if self._apart and self._lonely is None:
            return next(iter(self._apart.values()))
        return next(iter(self._queued.values())) if self._queued else None

    def accept(self, record: Record) -> None:
        """A new flight, queued."""
        self._records[record.request] = self._queued[record.request] = record
        heappush(self._alarms, (record.deadline, record.request))

    def launch(self, record: Record, way: Way, link: LinkId) -> None:
        """It leaves by ``way``, over ``link``."""
        record.state = step(FLIGHT_LIFE, record.state, LAUNCH)
        record.attempt += 1
        record.key = key = Key(record.request, record.attempt)
        record.way, record.link = way, link
        if record.alone:
            del self._apart[record.request]
            self._lonely = record
        else:
            del self._queued[record.request]
        way.take()
        way.lane.send(key)

    def retry(self, record: Record) -> None:
        """Its attempt has ended; it is the next to fly."""
        record.state = step(FLIGHT_LIFE, record.state, FlightStep.RETRY)
        self._land(record)
        if record.alone:
            self._apart[record.request] = record
        else:
            self._queued[record.request] = record
            self._queued.move_to_end(record.request, last=False)

    def end(self, record: Record, taken: FlightStep) -> None:
        """It is answered, one way or the other."""
        if record.state is QUEUED:
            del (self._apart if record.request in self._apart else self._queued)[record.request]
        record.state = step(FLIGHT_LIFE, record.state, taken)
        self._land(record)
        del self._records[record.request]

    def _land(self, record: Record) -> None:
        if record.way is not None:
            record.way.leave()
            record.way = record.link = None
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
        assert not self._queued.keys() & self._apart.keys()
        for record in self:
            assert record.state in (Flight.QUEUED, Flight.FLYING)
            waits = record.request in self._queued or record.request in self._apart
            assert waits == (record.state is Flight.QUEUED) == (record.way is None)
            assert (record.request in self._apart or record is self._lonely) == record.alone
