"""The line before the window: priorities, turns, and that nobody is passed over for ever."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cutwater.engine.gateway.line import SPARE, Line
from cutwater.engine.gateway.record import Record
from cutwater.engine.vocabulary import Asked
from cutwater.units import RequestId

CLIENTS = st.sampled_from("abcd")
PRIORITIES = st.sampled_from([0, 0, 0, 1, -3])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), CLIENTS, PRIORITIES, st.integers(1, 50)),
        st.tuples(st.just("fly")),
        st.tuples(st.just("go"), st.integers(0, 1000)),
        st.tuples(st.just("late"), st.integers(1, 50)),
    ),
    max_size=120,
)


def names(line: Line) -> list[int]:
    return [record.request for record in line]


class Waiting:
    """A line, its books checked after each act."""

    def __init__(self) -> None:
        self.line = Line()
        self.asked = 0

    def come(self, client: str = "", priority: int = 0, deadline: float = 1e9) -> Record:
        self.asked += 1
        asked = Asked(RequestId(self.asked), deadline, priority, client)
        before, total = self.line.before(asked), len(self.line)
        last = self.line.last()
        passes = last is not None and self.line.passes(asked, last)
        record = Record(asked, 0.0)
        self.line.add(record)
        order = names(self.line)
        assert order.index(record.request) == before
        assert len(order) == total + 1
        assert passes == (order[-1] != record.request)
        self.line.validate()
        return record

    def fly(self) -> Record | None:
        record = self.line.first()
        if record is not None:
            self.line.remove(record, flies=True)
            self.line.validate()
        return record

    def go(self, which: int) -> None:
        waiting = list(self.line)
        if waiting:
            self.line.remove(waiting[which % len(waiting)], flies=False)
            self.line.validate()


def test_one_client_is_served_in_the_order_of_its_asking() -> None:
    waiting = Waiting()
    for _ in range(4):
        waiting.come()
    assert names(waiting.line) == [1, 2, 3, 4]


def test_a_newcomer_waits_for_one_round_and_not_for_a_whole_backlog() -> None:
    waiting = Waiting()
    for _ in range(200):
        waiting.come("greedy")
    waiting.fly()
    modest = waiting.come("modest")
    assert [waiting.fly(), waiting.fly()][1] is modest


def test_newcomers_without_end_do_not_keep_a_client_from_its_next_turn() -> None:
    waiting = Waiting()
    steady = [waiting.come("steady") for _ in range(4)]
    flown: list[Record | None] = []
    while steady[-1] not in flown:
        for number in range(2):
            waiting.come(f"newcomer {len(flown)}.{number}")
        flown.append(waiting.fly())
    # Twice as many come as fly, so every round is twice as long as the one before, and each has a place for it.
    assert [flown.index(record) for record in steady] == [0, 3, 10, 25]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ACTS)
def test_who_is_said_to_be_before_one_is_who_would_fly_before_it_and_nobody_gets_lost(acts: list[tuple]) -> None:
    waiting = Waiting()
    here: dict[int, Record] = {}
    for kind, *what in acts:
        if kind == "come":
            client, priority, deadline = what
            record = waiting.come(client, priority, deadline)
            here[record.request] = record
        elif kind == "fly":
            highest = max((record.asked.priority for record in here.values()), default=None)
            record = waiting.fly()
            assert (record is None) == (not here)
            if record is not None:
                assert record.asked.priority == highest
                mine = [r for r in here.values() if r.asked.client == record.asked.client]
                assert record.request == min(r.request for r in mine if r.asked.priority == highest)
                del here[record.request]
        elif kind == "go":
            waiting.go(what[0])
            here = {record.request: record for record in waiting.line}
        else:
            (before,) = what
            hopeless = {request for request, record in here.items() if record.deadline < before}
            found = set()
            while (record := waiting.line.late(before)) is not None:
                waiting.line.remove(record, flies=False)
                found.add(record.request)
                del here[record.request]
            assert found == hopeless
        assert sorted(names(waiting.line)) == sorted(here)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.just(""), CLIENTS), min_size=20, max_size=200))
def test_between_coming_and_flying_no_other_client_flies_more_than_its_turns(acts: list[str]) -> None:
    """An empty name: somebody flies. Who has k requests before its own is passed at most k + 2 times by any other."""
    waiting = Waiting()
    passed: dict[int, tuple[str, int, Counter[str]]] = {}
    for client in [*acts, *[""] * len(acts)]:
        if client:
            mine = sum(record.asked.client == client for record in waiting.line)
            passed[waiting.come(client).request] = (client, mine, Counter())
        elif (record := waiting.fly()) is not None:
            del passed[record.request]
            for who, mine, others in passed.values():
                others[record.asked.client] += 1
                assert all(times <= mine + 2 for name, times in others.items() if name != who)
    assert passed == {}


def test_what_has_left_is_forgotten_also_where_deadlines_are_far_away() -> None:
    waiting = Line()
    for number in range(1, 5000):
        waiting.add(Record(Asked(RequestId(number), 1e9), 0.0))
        if number > 10:
            first = waiting.first()
            assert first is not None
            waiting.remove(first, flies=True)
    assert len(waiting._deadlines) <= 2 * 11 + SPARE + 1
