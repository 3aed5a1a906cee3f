"""Ways: the routes a gateway may take now, and which of them the next request takes.

A way is open if its first link is up and none of its workers is benched. Spare ways are taken only where no other is
open, and the gateway's own copy of the model only where no spare is either. Of the open ones the least predicted delay
wins. A way with a worker on trial takes one request at a time, and as soon as there is one with time to lose.
What other models have at the nodes of a way counts like its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from cutwater.engine.gateway.crowd import Crowd
from cutwater.engine.gateway.trust import Worker
from cutwater.engine.lives import Trust
from cutwater.engine.stage.lanes import Lane
from cutwater.engine.vocabulary import Route
from cutwater.units import NodeId, Seconds
from cutwater.wire.message import Address, Mark

TRUSTED = Trust.TRUSTED  # looking a member up takes long
TO_LOSE: Seconds = 5.0
"""What a request must have left to be the one that tries a worker which was lost."""
OVERDUE: Seconds = 10.0
"""How long such a worker waits for one of these, before any request will do."""
_NOTHING = (0.0, 0.0, 0.0)


class Way:
    """A route, with the books of its first link and of its workers."""

    __slots__ = ("_transfer", "lane", "route", "workers")

    def __init__(self, route: Route, lane: Lane, workers: tuple[Worker, ...]) -> None:
        self.route = route
        self.lane = lane
        self.workers = workers
        self._transfer = max(route.latency - sum(route.seconds), 0.0)

    @property
    def trust(self) -> Trust:
        """The worst of its workers'."""
        worst = TRUSTED
        for worker in self.workers:
            if worker.trust is not TRUSTED and worst is not Trust.BENCHED:
                worst = worker.trust
        return worst

    @property
    def tried(self) -> bool:
        """Whether a request is trying one of its workers right now."""
        return any(worker.outstanding and worker.trust is Trust.TRIAL for worker in self.workers)

    def overdue(self, now: Seconds) -> bool:
        """Whether its workers are to be tried whatever it costs: requests may all be in a hurry."""
        return all(now >= worker.until + OVERDUE for worker in self.workers if worker.trust is Trust.TRIAL)

    def delay(self, now: Seconds) -> Seconds:
        """Predicted time of one more request."""
        delay = self._transfer
        for worker in self.workers:
            delay += worker.delay(now)
        return delay

    def take(self) -> None:
        """One more flight goes this way."""
        for worker in self.workers:
            worker.outstanding += 1

    def leave(self) -> None:
        """One flight less."""
        for worker in self.workers:
            worker.outstanding -= 1


class Ways:
    """All ways, and the open ones of the best kind."""

    def __init__(self) -> None:
        self._all: list[Way] = []
        self._workers: dict[Address, Worker] = {}
        self._open: list[Way] = []
        self._trials: list[Way] = []
        self.dark = True
        """No way but the gateway's own is open, or all others are on trial."""
        self.passable = False
        """A way is open, be it the gateway's own."""
        self.rates: tuple[float, float] | None = None
        """The open ways are others than before: requests per second that the workers took then, and take now."""
        self._rated: tuple[tuple[Worker, ...], ...] = ()
        """The open ways of when they were last others."""
        self.own: Address | None = None
        """Where the gateway's own copy of the model serves, when it does."""
        self.changed = False
        """Something has happened that may open or close a way; `look` again."""
        self.beside = Crowd()
        """What other models have at the nodes."""
        self.nodes: frozenset[NodeId] = frozenset()
        """Where the workers are, as far as anybody said."""
        self._done: dict[NodeId, Seconds] = {}
        """Computing of requests that were answered."""
        self._shares: list[tuple[Worker, float]] = []
        """All workers, each with its share of the open ways."""

    def __iter__(self) -> Iterator[Way]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def reroute(self, routes: Sequence[Route], lane: Callable[[Address], Lane]) -> None:
        """Take ``routes`` from now on; a worker that was on none before is trusted."""
        known, self._workers = self._workers, {}
        self._all = []
        for route in routes:
            predicted = route.seconds or (0.0,) * len(route.hops)
            nodes = route.nodes or (None,) * len(route.hops)
            for hop, seconds, node in zip(route.hops, predicted, nodes, strict=True):
                if hop.address not in self._workers:
                    self._workers[hop.address] = known.get(hop.address) or Worker(hop.address, seconds, node)
            workers = tuple([self._workers[hop.address] for hop in route.hops])
            self._all.append(Way(route, lane(route.hops[0].address), workers))
        self.own = next((way.lane.address for way in self._all if way.route.degraded), None)
        self.changed = True
        self.nodes = frozenset([worker.node for worker in self._workers.values() if worker.node is not None])

    def worker(self, address: Address) -> Worker | None:
        """The worker at ``address``, if a way leads over it."""
        return self._workers.get(address)

    def suspects(self) -> tuple[Address, ...]:
        """Workers no answer can be had from, as far as is known."""
        return tuple([w.address for w in self._workers.values() if w.trust is not TRUSTED and w.lost])

    def answered(self, way: Way, trail: Sequence[Mark], now: Seconds) -> None:
        """A flight has come back; each mark says how long its worker computed."""
        for worker, mark in zip(way.workers, trail, strict=False):
            worker.observe(mark, now)
            if worker.node is not None:
                self._done[worker.node] = self._done.get(worker.node, 0.0) + worker.seconds
        for worker in way.workers:
            if worker.trust is not TRUSTED:
                worker.answer()
                self.changed = True

    def look(self) -> None:
        """See which ways are open now."""
        self.changed = False
        kinds: tuple[list[Way], list[Way], list[Way]] = ([], [], [])
        self._trials = []
        for way in self._all:
            if way.lane.link is None:
                continue
            trust = way.trust
            if trust is Trust.TRUSTED:
                kinds[2 if way.route.degraded else 1 if way.route.spare else 0].append(way)
            elif trust is Trust.TRIAL:
                self._trials.append(way)
        normal, spare, own = kinds
        self.dark = not (normal or spare)
        self._open = normal or spare or own
        self.passable = bool(self._open)
        over = Counter(worker for way in self._open for worker in way.workers)
        self._shares = [(worker, over[worker] / (len(self._open) or 1)) for worker in self._workers.values()]
        if self._open and (workers := tuple([way.workers for way in self._open])) != self._rated:
            self.rates, self._rated = (_rate(self._rated), _rate(workers)), workers

    def choose(self, now: Seconds, left: Seconds) -> Way | None:
        """The way for a request with ``left`` seconds until its deadline; None: no link takes one right now."""
        for way in self._trials:
            if way.lane.usable and not way.tried and (left >= TO_LOSE or not self._open or way.overdue(now)):
                return way
        if len(self._open) == 1:
            way = self._open[0]
            return way if way.lane.usable else None
        usable = [way for way in self._open if way.lane.usable]
        beside = self.beside
        if not beside.loads:
            return min(usable, key=lambda way: way.delay(now)) if usable else None
        return min(usable, key=lambda way: way.delay(now) + beside.delay(way.route.nodes)) if usable else None

    def beyond(self, own: Seconds, *, launched: bool) -> Seconds:
        """How much longer than ``own`` it takes to work that off, as others are there too; see `Crowd.beyond`."""
        if not self.beside.loads or not self._open:
            return 0.0
        return self.beside.beyond(own, [way.route.nodes for way in self._open], launched=launched)

    def passed(self) -> Seconds:
        """How long others were computed since this was last asked, on average over the open ways."""
        return self.beside.passed([way.route.nodes for way in self._open]) if self.beside.loads else 0.0

    def loads(self) -> dict[NodeId, tuple[Seconds, Seconds, Seconds]]:
        """At each of its nodes: what one request more takes on average, what is under way, and what was done so far."""
        found: dict[NodeId, tuple[Seconds, Seconds, Seconds]] = {}
        done = self._done
        for worker, share in self._shares:
            node, seconds = worker.node, worker.seconds
            if node is not None:
                each, flying, _ = found.get(node, _NOTHING)
                found[node] = (each + share * seconds, flying + worker.outstanding * seconds, done.get(node, 0.0))
        return found


def _rate(ways: Sequence[Sequence[Worker]]) -> float:
    """Requests per second of these ways together, by what their workers take; 0: not known.

    Every stage is as fast as all its workers together, and a way as fast as its slowest stage. Ways that have no worker
    in common with each other add up.
    """
    total, rest = 0.0, list(ways)
    while rest:
        together = [rest.pop()]
        for way in together:
            near = [other for other in rest if not set(way).isdisjoint(other)]
            together += near
            rest = [other for other in rest if other not in near]
        stages = [set(stage) for stage in zip(*together, strict=False)]
        if not all(worker.rate for stage in stages for worker in stage):
            return 0.0
        total += min(sum(worker.rate for worker in stage) for stage in stages)
    return total
