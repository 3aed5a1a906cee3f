"""Line: requests that wait to fly for the first time, by priority; among equals, clients take turns.

Each priority has rounds, and a client has at most one request in each: the next request of a client that has some
waiting already goes to the round after its last one, that of another to the next round that has not begun. A round that
has begun takes nobody in any more, so no stream of newcomers keeps those behind it from their turn. This is fair
queueing with start tags, counted in requests (Goyal, Vin, Cheng, "Start-time fair queueing", SIGCOMM 1996);
as the order of all who wait is known at any time, so is how many are served before one more. Who is last in that order
is the newest of the client with the most waiting, at the lowest priority, and has to go where there is no room
(McKenney, "Stochastic fairness queueing", INFOCOM 1990, drops from the longest queue for the same reason).
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice, pairwise

from cutwater.engine.gateway.record import Record
from cutwater.engine.vocabulary import Asked
from cutwater.units import RequestId, Seconds

SPARE = 64
"""How many records that have left may stay among the deadlines, besides as many as there are waiting."""


class _Rounds:
    """Those of one priority."""

    __slots__ = ("begun", "clients", "count", "first", "rounds")

    def __init__(self) -> None:
        self.count = 0
        self.first = 0
        """The number of the first round."""
        self.begun = False
        """Whether somebody of the first round has flown."""
        self.rounds: deque[dict[str, Record]] = deque()
        """By client, in the order of coming; none of the outer two is empty."""
        self.clients: dict[str, dict[RequestId, Record]] = {}
        """The requests of each client that has some, oldest first."""

    def turn(self, client: str) -> int:
        """The round that one more request of ``client`` belongs to."""
        mine = self.clients.get(client)
        soonest = self.first + self.begun
        if mine is None:
            return soonest
        return max(soonest, mine[next(reversed(mine))].turn + 1)

    def before(self, turn: int) -> int:
        """How many of them fly before one more of that round."""
        upto, rounds = turn - self.first + 1, self.rounds
        if upto >= len(rounds):
            return self.count
        if 2 * upto <= len(rounds):
            return sum(map(len, islice(rounds, upto)))
        return self.count - sum(map(len, islice(reversed(rounds), len(rounds) - upto)))

    def add(self, record: Record) -> None:
        client = record.asked.client
        record.turn = turn = self.turn(client)
        at = turn - self.first
        while len(self.rounds) <= at:
            self.rounds.append({})
        self.rounds[at][client] = record
        self.clients.setdefault(client, {})[record.request] = record
        self.count += 1

    def remove(self, record: Record, *, flies: bool) -> None:
        client, rounds = record.asked.client, self.rounds
        del rounds[record.turn - self.first][client]
        mine = self.clients[client]
        del mine[record.request]
        if not mine:
            del self.clients[client]
        self.count -= 1
        self.begun = self.begun or flies
        while rounds and not rounds[0]:
            rounds.popleft()
            self.first += 1
            self.begun = False
        while rounds and not rounds[-1]:
            rounds.pop()


class Line:
    """Who waits, in the order in which they are to fly."""

    def __init__(self) -> None:
        self._levels: dict[int, _Rounds] = {}
        """By priority; no empty ones."""
        self._order: list[int] = []
        """The priorities there are, negated: the highest comes first."""
        self._deadlines: list[tuple[Seconds, RequestId, Record]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def first(self) -> Record | None:
        """Whose turn it is."""
        if not self._order:
            return None
        return next(iter(self._levels[-self._order[0]].rounds[0].values()))

    def last(self) -> Record | None:
        """Whose turn comes after all others'."""
        if not self._order:
            return None
        return next(reversed(self._levels[-self._order[-1]].rounds[-1].values()))

    def before(self, asked: Asked) -> int:
        """How many fly before what is asked now, as far as is known."""
        count = 0
        for negated in self._order:
            level = self._levels[-negated]
            if -negated <= asked.priority:
                return count + (level.before(level.turn(asked.client)) if -negated == asked.priority else 0)
            count += level.count
        return count

    def passes(self, asked: Asked, record: Record) -> bool:
        """Whether what is asked now is to fly before ``record``, who waits."""
        priority = record.asked.priority
        if asked.priority != priority:
            return asked.priority > priority
        return self._levels[priority].turn(asked.client) < record.turn

    def add(self, record: Record) -> None:
        """It waits from now on."""
        priority = record.asked.priority
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Rounds()
            insort(self._order, -priority)
        level.add(record)
        self._count += 1
        if len(self._deadlines) > 2 * self._count + SPARE:
            self._deadlines = [each for each in self._deadlines if each[2].turn >= 0]
            heapify(self._deadlines)
        heappush(self._deadlines, (record.deadline, record.request, record))

    def remove(self, record: Record, *, flies: bool) -> None:
        """It waits no longer: it ``flies``, or has ended."""
        priority = record.asked.priority
        level = self._levels[priority]
        level.remove(record, flies=flies)
        record.turn = -1
        self._count -= 1
        if not level.count:
            del self._levels[priority]
            self._order.remove(-priority)

    def late(self, before: Seconds) -> Record | None:
        """One whose deadline comes earlier than ``before``; None: there is none."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].turn < 0:
            heappop(deadlines)
        return deadlines[0][2] if deadlines and deadlines[0][0] < before else None

    def __iter__(self) -> Iterator[Record]:
        for negated in self._order:
            for round_ in self._levels[-negated].rounds:
                yield from round_.values()

    def validate(self) -> None:
        """Raise AssertionError where the books contradict each other."""
        assert self._order == sorted(-priority for priority in self._levels)
        assert self._count == sum(1 for _ in self)
        known = {id(record) for _, _, record in self._deadlines}
        for priority, level in self._levels.items():
            assert level.count == sum(map(len, level.rounds)) == sum(map(len, level.clients.values())) > 0
            assert level.rounds[0] and level.rounds[-1]
            for turn, round_ in enumerate(level.rounds, level.first):
                for client, record in round_.items():
                    assert (record.turn, record.asked.client, record.asked.priority) == (turn, client, priority)
                    assert level.clients[client][record.request] is record
                    assert id(record) in known and not record.attempt
            for mine in level.clients.values():
                turns = [record.turn for record in mine.values()]
                assert mine and all(one < next_ for one, next_ in pairwise(turns))
