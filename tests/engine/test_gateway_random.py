"""Whatever happens to links and workers, in whatever order: every request ends exactly once, and in time."""

from collections import Counter
from random import Random

import pytest

from cutwater.engine.fault import Fault
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Dial,
    DialFailed,
    Drain,
    Fail,
    GatewayEvent,
    Hangup,
    Key,
    Launch,
    LinkId,
    Lost,
    Opened,
    Paused,
    Received,
    Rerouted,
    Resumed,
    Route,
    Send,
    StandIn,
    Stop,
    Tick,
    Withdrawn,
    WorkerGone,
)
from cutwater.units import RequestId, StageId
from cutwater.wire.message import Address, Answer, Cancel, Credit, Failure, Hop, Mark

FIRST = [f"unix:a{k}" for k in range(3)]
SECOND = [f"unix:b{k}" for k in range(3)]
WHOLE = Route((Hop("unix:whole", "plain"),), epoch=-1, degraded=True)
STEPS = 300
COUNTED = ("retried", "late", "quarantined", "degraded", "failed", "dropped", "refused", "withdrawn")


class World:
    """Workers and links that do what they like, around one machine that must keep its books."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.machine = Gateway(GatewayOptions(admission=Admission(window=6, queue=8)))
        self.now = 0.0
        self.dialled: list[Address] = []
        self.links: dict[LinkId, Address] = {}
        self.flying: dict[Key, Launch] = {}
        self.landed: list[Launch] = []
        """Attempts of which the gateway should not want to hear any more."""
        self.deadline: dict[RequestId, float] = {}
        """Of the requests that are open."""
        self.ends: Counter[RequestId] = Counter()
        self.asked = 0
        self.stops = 0
        self.epoch = 0
        self.standing = False
        stormy = self.rng.random() < 0.3
        self.acts = {
            self.ask: 30,
            self.answer: 10 if stormy else 30,
            self.fail: 4,
            self.refuse: 4,
            self.lose: 20 if stormy else 4,
            self.late: 4,
            self.withdraw: 2,
            self.flow: 6,
            self.reroute: 2,
            self.doom: 1,
        }

    def tell(self, event: GatewayEvent) -> None:
        for command in self.machine.handle(event, self.now):
            self.obey(command)
        self.machine.validate()

    def obey(self, command: object) -> None:
        match command:
            case Dial(address):
                assert address not in self.dialled and address not in self.links.values()
                assert address != "unix:whole" or self.standing
                self.dialled.append(address)
            case Hangup(link):
                assert not any(launch.link == link for launch in self.flying.values())
                del self.links[link]
            case Launch(link, key, route, budget):
                assert self.links[link] == route.hops[0].address
                assert abs(self.now + budget - self.deadline[key.request]) < 1e-9
                assert not any(key.request == other.request for other in self.flying)
                self.flying[key] = command
            case Send(link, Cancel(request, attempt)):
                assert link in self.links
                self.landed.append(self.flying.pop(Key(request, attempt)))
            case Complete(request) | Fail(request):
                assert self.now <= self.deadline.pop(request)
                self.ends[request] += 1
                for key in [key for key in self.flying if key.request == request]:
                    self.landed.append(self.flying.pop(key))
            case StandIn(_, on):
                self.standing = on
            case Stop():
                self.stops += 1

    def wait(self, seconds: float) -> None:
        """Let time pass, with a Tick whenever the machine wants one."""
        until = self.now + seconds
        while (at := self.machine.wake_at()) is not None and at <= until:
            self.now = max(self.now, at)
            self.tell(Tick())
        self.now = until

    def step(self) -> None:
        acts, weights = zip(*self.acts.items(), strict=True)
        self.rng.choices(acts, weights)[0]()
        for address in self.dialled[:]:
            if self.rng.random() < 0.5:
                self.dial(address)
        self.wait(self.rng.choice([0.0, 0.01, 0.1, 0.5]))

    def dial(self, address: Address) -> None:
        self.dialled.remove(address)
        if self.rng.random() < 0.3:
            self.tell(DialFailed(address, "nobody there"))
        else:
            link = LinkId(self.rng.getrandbits(60))
            self.links[link] = address
            self.tell(Opened(link, self.rng.randint(0, 4), address))

    def ask(self) -> None:
        self.asked += 1
        request = RequestId(self.asked)
        timeout = self.rng.choice([0.0, 0.3, 2.0, 20.0])
        self.deadline[request] = self.now + timeout
        self.tell(Asked(request, timeout, self.rng.choice([0, 0, 0, 1, -1]), self.rng.choice("abc")))

    def some(self) -> Launch | None:
        return self.rng.choice(list(self.flying.values())) if self.flying else None

    def answer(self) -> None:
        if (launch := self.some()) is not None:
            del self.flying[launch.key]
            self.landed.append(launch)
            trail = tuple(Mark(StageId(""), 0, 0, 0.1, 0.1, 1, 0, 0, 0, 0) for _ in launch.route.hops)
            self.tell(Received(launch.link, Answer(*launch.key, "plain", (), trail)))
            if launch.link in self.links:
                self.tell(Received(launch.link, Credit(1)))

    def give_up(self, kind: str, retryable: bool, suspect: Address = "") -> None:
        if (launch := self.some()) is not None:
            del self.flying[launch.key]
            self.landed.append(launch)
            self.tell(Received(launch.link, Failure(*launch.key, kind, "", "stage-1", retryable, (), suspect)))

    def fail(self) -> None:
        self.give_up("StageFailed", False)

    def refuse(self) -> None:
        self.give_up("Refused", True, self.rng.choice(["", *SECOND]))

    def lose(self) -> None:
        if self.rng.random() < 0.5:
            self.give_up(self.rng.choice(["LinkLost", "WorkerLost"]), True, self.rng.choice(["", *SECOND]))
        elif self.links:
            link = self.rng.choice(list(self.links))
            del self.links[link]
            for key in [key for key, launch in self.flying.items() if launch.link == link]:
                self.landed.append(self.flying.pop(key))
            self.tell(Lost(link, "reset"))

    def late(self) -> None:
        if self.landed:
            launch = self.rng.choice(self.landed)
            before = self.machine.snapshot()
            self.tell(Received(launch.link, Answer(*launch.key, "plain", (), ())))
            after = self.machine.snapshot()
            assert (after.answered, after.late) == (before.answered, before.late + 1)

    def withdraw(self) -> None:
        if self.deadline:
            request = self.rng.choice(list(self.deadline))
            del self.deadline[request]
            self.ends[request] += 1
            self.tell(Withdrawn(request))

    def flow(self) -> None:
        if self.links:
            link = self.rng.choice(list(self.links))
            self.tell(self.rng.choice([Paused(link), Resumed(link), Received(link, Credit(self.rng.randint(1, 3)))]))

    def reroute(self) -> None:
        self.epoch += 1
        firsts, seconds = (self.rng.sample(group, self.rng.randint(0, 2)) for group in (FIRST, SECOND))
        routes = tuple(
            Route((Hop(a, "plain"), Hop(b, "plain")), epoch=self.epoch, spare=self.rng.random() < 0.3)
            for a in firsts
            for b in seconds
        )
        self.tell(Rerouted((*routes, WHOLE) if self.rng.random() < 0.5 else routes))

    def doom(self) -> None:
        address = self.rng.choice(FIRST + SECOND)
        # Those that fly over it are cancelled, or were on a link that is no more.
        self.tell(WorkerGone(address, Fault("WorkerLost", "killed", "stage", True)))


@pytest.mark.parametrize("seed", range(150))
def test_every_request_ends_exactly_once_and_none_after_its_deadline(seed: int) -> None:
    world = World(seed)
    world.reroute()
    for _ in range(STEPS):
        world.step()
    world.tell(Drain())
    world.wait(60.0)
    assert world.deadline == {}
    assert world.ends == Counter({RequestId(k): 1 for k in range(1, world.asked + 1)})
    assert world.stops == 1
    snapshot = world.machine.snapshot()
    assert (snapshot.queued, snapshot.flying) == (0, 0)
    assert snapshot.accepted == snapshot.answered + snapshot.failed + snapshot.withdrawn
    assert world.asked == snapshot.accepted + snapshot.refused


def test_the_worlds_are_wild_enough() -> None:
    """Together they see everything that the machine counts."""
    seen: Counter[str] = Counter()
    for seed in range(40):
        world = World(seed)
        world.reroute()
        for _ in range(STEPS):
            world.step()
        snapshot = world.machine.snapshot()
        seen.update({name: getattr(snapshot, name) for name in COUNTED})
    assert all(count > 0 for count in seen.values()), seen
