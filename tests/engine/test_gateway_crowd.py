"""Whoever comes, as many as like and as mean as they can: each request ends once, in time, and nobody is starved."""

from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Fail,
    GatewayEvent,
    Key,
    Launch,
    LinkId,
    Lost,
    Opened,
    Received,
    Rerouted,
    Route,
    Send,
    Tick,
    Withdrawn,
)
from cutwater.units import RequestId
from cutwater.wire.message import Answer, Cancel, Credit, Hop

WAYS = (Route((Hop("unix:a", "plain"), Hop("unix:b", "plain")), seconds=(0.02, 0.01), latency=0.04),)
ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"), st.integers(1, 30), st.sampled_from("abc"), st.sampled_from([0, 0, 0, 5, -5]),
            st.sampled_from([0.001, 0.05, 0.5, 2.0, 30.0]),
        ),
        st.tuples(st.just("serve"), st.integers(1, 20), st.sampled_from([0.001, 0.02, 0.3])),
        st.tuples(st.just("stand still"), st.sampled_from([0.1, 3.0])),
        st.tuples(st.just("lose the link")),
        st.tuples(st.just("withdraw"), st.integers(0, 100)),
    ),
    max_size=20,
)  # fmt: skip


class Crowd:
    """A gateway before a pipeline that serves one after the other."""

    def __init__(self) -> None:
        self.machine = Gateway(GatewayOptions(admission=Admission(window=8, queue=20)))
        self.now = 0.0
        self.link = LinkId(1)
        self.flying: deque[Key] = deque()
        self.deadline: dict[RequestId, float] = {}
        self.clients: dict[RequestId, str] = {}
        self.ends: Counter[RequestId] = Counter()
        self.served: Counter[str] = Counter()
        self.tell(Rerouted(WAYS))
        self.tell(Opened(self.link, 16, "unix:a"))

    def tell(self, event: GatewayEvent) -> None:
        owed = 0
        for command in self.machine.handle(event, self.now):
            match command:
                case Launch(_, key):
                    assert self.now < self.deadline[key.request]
                    self.flying.append(key)
                case Send(_, Cancel(request, attempt)):
                    self.flying.remove(Key(request, attempt))
                    owed += 1
                case Complete(request) | Fail(request):
                    assert self.now <= self.deadline.pop(request)
                    self.ends[request] += 1
                    if isinstance(command, Complete):
                        self.served[self.clients[request]] += 1
                    elif command.fault.kind == "Refused":
                        assert command.fault.retryable and command.fault.retry_after > 0
        self.machine.validate()
        snapshot = self.machine.snapshot()
        assert snapshot.queued <= 20 + 8 and snapshot.flying <= 8  # those that fly again are never turned away
        if owed:
            self.tell(Received(self.link, Credit(owed)))

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (at := self.machine.wake_at()) is not None and at <= until:
            self.now = max(self.now, at)
            self.tell(Tick())
        self.now = until

    def ask(self, times: int, client: str, priority: int, timeout: float) -> None:
        for _ in range(times):
            request = RequestId(len(self.clients) + 1)
            self.clients[request], self.deadline[request] = client, self.now + timeout
            self.tell(Asked(request, timeout, priority, client))

    def serve(self, times: int, seconds: float) -> None:
        for _ in range(times):
            self.wait(seconds)
            if self.flying:
                self.tell(Received(self.link, Answer(*self.flying.popleft(), "plain", (), ())))
                self.tell(Received(self.link, Credit(1)))

    def lose_the_link(self) -> None:
        self.flying.clear()
        lost, self.link = self.link, LinkId(self.link + 1)
        self.tell(Lost(lost, "reset"))
        self.wait(0.2)
        self.tell(Opened(self.link, 16, "unix:a"))

    def withdraw(self, which: int) -> None:
        if self.deadline:
            request = list(self.deadline)[which % len(self.deadline)]
            del self.deadline[request]
            self.ends[request] += 1
            self.tell(Withdrawn(request))

    def act(self, acts: list[tuple]) -> None:
        for what, *how in acts:
            match what:
                case "ask":
                    self.ask(*how)
                case "serve":
                    self.serve(*how)
                case "stand still":
                    self.wait(*how)
                case "lose the link":
                    self.lose_the_link()
                case "withdraw":
                    self.withdraw(*how)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ACTS)
def test_each_request_ends_once_and_in_time_and_afterwards_all_is_well(acts: list[tuple]) -> None:
    crowd = Crowd()
    crowd.act(acts)
    crowd.wait(91.0)  # the longest deadline, and the longest time a worker that was lost gets no requests
    assert crowd.deadline == {}
    assert crowd.ends == Counter(dict.fromkeys(crowd.clients, 1))
    before = crowd.served["late comer"]
    crowd.ask(3, "late comer", 0, 10.0)  # whatever was learned from all that, there is room for three now
    crowd.serve(10, 0.02)
    crowd.wait(10.0)
    assert crowd.served["late comer"] - before == 3


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from("abc")), min_size=5, max_size=15))
def test_one_who_always_has_one_request_open_is_served_as_often_as_any_other(crowds: list[tuple[int, str]]) -> None:
    crowd = Crowd()
    open_ = RequestId(0)
    for times, client in crowds:
        crowd.ask(times, client, 0, 5.0)
        if open_ not in crowd.deadline:
            open_ = RequestId(len(crowd.clients) + 1)
            crowd.ask(1, "steady", 0, 5.0)
            assert open_ in crowd.deadline, "it was refused"
        crowd.serve(15, 0.02)
    assert crowd.served["steady"] == len(crowds)
