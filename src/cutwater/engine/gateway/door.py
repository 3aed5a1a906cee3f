"""Door: who comes in, who of those that wait must make room, and who waits in vain.

A request comes in if its answer is predicted to come by its deadline, behind those that are served before it. It is
refused at once otherwise: an answer that comes too late costs as much as one in time and helps nobody. While nobody
else is here it comes in whatever is predicted: that costs nobody anything, and shows whether the prediction still
holds. Where nothing is known, or no way is open, only the length of the line counts. For the same reason those that
wait in vain are refused before they are launched: nothing was done for them, and asking again later is likely to help.
What other models of the gateway have open on the same nodes is before it like what is its own.
"""

from cutwater.engine.fault import Fault
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.flights import Flights
from cutwater.engine.gateway.flow import Flow
from cutwater.engine.gateway.record import Record
from cutwater.engine.gateway.ways import Ways
from cutwater.engine.vocabulary import Asked
from cutwater.units import Seconds

WHERE = "gateway"
_DRAINING = Fault("Refused", "the gateway is draining", WHERE, True)
_NO_TIME = Fault("DeadlineExceeded", "the request had no time left when it was asked", WHERE)


class Door:
    """Looks at the flights, and changes nothing but what it knows of how fast they come back."""

    def __init__(self, admission: Admission, flights: Flights, ways: Ways) -> None:
        self.admission = admission
        self.flow = Flow()
        self.draining = False
        self._flights = flights
        self._ways = ways

    @property
    def room(self) -> bool:
        """Whether one more may be under way: in the window, and before those on the way are more than is of use."""
        flying, flow = self._flights.flying, self.flow
        if flying >= self.admission.window or flying >= flow.most:
            return False
        if not flying or not flow.known or not self._ways.beside.loads:
            return True  # whoever has some under way hears of it when there is room again; whoever has none would not
        return flying * flow.gap + self.beyond() < flow.most * flow.gap

    def refusal(self, asked: Asked, passable: bool, now: Seconds) -> Fault | None:
        """Why this request does not come in; None: it does. ``passable``: a way is open."""
        fault = self.outlook(asked, passable, now)
        if fault is None and asked.timeout != self.flow.shortest:
            self.flow.accepted(asked.timeout)
        return fault

    def outlook(self, asked: Asked, passable: bool, now: Seconds, ahead: int = 0) -> Fault | None:
        """Why it would not come in behind ``ahead`` others that are on their way to this door; changes nothing."""
        if self.draining:
            return _DRAINING
        if asked.timeout <= 0:
            return _NO_TIME
        flights, flow = self._flights, self.flow
        if passable and flow.known and (flights.flying or flights.waiting or ahead or self._ways.beside.busy):
            before = flights.before(asked) + ahead
            wait = self._wait(before, now)
            if wait > asked.timeout:
                return _refused(f"an answer would take {wait:.3g} s, with {before} requests before it", asked, wait)
        if self.full:
            last = flights.line.last()
            if last is None or not flights.line.passes(asked, last):
                return self._full(f"{flights.waiting} requests are already waiting", now)
        return None

    def _wait(self, before: int, now: Seconds) -> Seconds:
        """Until a request is answered that has so many ``before`` it."""
        flow = self.flow
        return flow.wait(before, now, self._ways.beyond((before + 1) * flow.gap, launched=False))

    def beyond(self) -> Seconds:
        """How much longer those that are flying and one more take, because of other models that fly too."""
        return self._ways.beyond((self._flights.flying + 1) * self.flow.gap, launched=True)

    @property
    def full(self) -> bool:
        """Whether no more may wait than do."""
        return self._flights.waiting >= self.admission.queue

    def displaced(self, now: Seconds) -> tuple[Record, Fault]:
        """Who makes room for a request that comes in though the line is full, and what it is told."""
        flights = self._flights
        last = flights.line.last()
        assert last is not None
        return last, self._full(f"{flights.waiting} requests were waiting, and one came that is served sooner", now)

    def vain(self, passable: bool, now: Seconds) -> tuple[Record, Fault] | None:
        """One that would be too late if it were launched now, and what it is told; None: there is none."""
        flights, flow = self._flights, self.flow
        if not passable or not flow.known or flights.flying + flights.waiting == 1:
            return None
        wait = flow.soon(flights.flying, self.beyond())
        record = flights.line.late(now + wait)
        if record is None:
            return None
        waited = record.asked.timeout - (record.deadline - now)
        why = f"after {waited:.3g} s in the line an answer would still take {wait:.3g} s"
        return record, _refused(why, record.asked, self._wait(flights.before(record.asked), now))

    def _full(self, why: str, now: Seconds) -> Fault:
        flights = self._flights
        after = self._wait(flights.flying + flights.waiting, now)
        return Fault("Refused", f"{why}; ask again later or more slowly", WHERE, True, after)


def _refused(why: str, asked: Asked, after: Seconds) -> Fault:
    what = f"{why}, and it was given {asked.timeout:g} s; ask again later, or give it more time"
    return Fault("Refused", what, WHERE, True, after)
