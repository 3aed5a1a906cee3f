"""Chains: single chains join and leave an epoch while it is live, so that what stays need not be brought up again.

One that joins serves from the moment all its workers do: its ways are added to the tables then. One that leaves is
taken out of the tables first; its workers end when every gateway has shown that it knows, and nothing is left in them.
"""

from collections.abc import Collection, Sequence, Set

from cutwater.engine.coordinator.books import Books
from cutwater.engine.coordinator.deployment import Deployment
from cutwater.engine.coordinator.rollout import Epoch, Worker
from cutwater.engine.facts.deployments import Chain
from cutwater.engine.facts.nodes import BEAT, LULL
from cutwater.units import NodeId, Seconds

EMPTIED: Seconds = LULL + BEAT
"""A worker's last beat is newer than this."""


class Chains:
    """Changes the chains of live epochs."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._options = books.options

    def join(self, deployment: Deployment, live: Epoch, chains: Sequence[Chain], now: Seconds) -> None:
        """Bring up further chains beside those that serve."""
        for worker in live.join(chains, self._options):
            live.lame.setdefault(worker.chain, now)
            self._books.nodes[worker.node].placed[worker.spec.worker] = worker
            self._books.stale_nodes[worker.node] = None
        self._books.touch(deployment)

    def give_back(self, deployment: Deployment, live: Epoch, numbers: Collection[int], now: Seconds) -> None:
        """No gateway shall use these any more."""
        live.give_back(numbers, now)
        self._books.touch(deployment)

    def keep(self, deployment: Deployment, live: Epoch, most: int) -> int:
        """Use up to ``most`` of the chains again that are leaving and would still serve; returns how many."""
        unfit = self._books.unfit(deployment)
        kept = [c for c in live.leaving if live.whole(c) and self._fit(live, c, unfit)][:most]
        for number in kept:
            live.keep(number)
        if kept:
            self._books.touch(deployment)
        return len(kept)

    def tend(self, deployment: Deployment, live: Epoch, now: Seconds) -> None:
        """See which chains are well, and end those that nobody uses any more."""
        placed = self._books.nodes
        live.ended = {n: w for n, w in live.ended.items() if w.node in placed and n in placed[w.node].placed}
        if deployment.spec.scaling is not None and not self._books.settling:
            self._mend(deployment, live, now)
        for number, leave in list(live.leaving.items()):
            if leave.unused is None and self._forgotten(deployment, number):
                leave.unused = now
            emptied = leave.unused is not None and now >= leave.unused + EMPTIED and self._idle(live, number)
            if emptied or now >= leave.since + self._options.drain_timeout:
                self._end(deployment, live, number)

    def _mend(self, deployment: Deployment, live: Epoch, now: Seconds) -> None:
        """What is broken leaves, if anything else serves: the others are not brought up anew for its sake."""
        well, broken = [], []
        unfit = self._books.unfit(deployment)
        for number in live.staying:
            if live.whole(number):
                live.lame.pop(number, None)
            else:
                live.lame.setdefault(number, now)
            late = number in live.lame and now >= live.lame[number] + self._options.start_timeout
            if late or self._spoilt(deployment, live, number, now) or not self._fit(live, number, unfit):
                broken.append(number)
            elif number not in live.lame:
                well.append(number)
        if broken and well:
            nodes = ", ".join(sorted({worker.node for number in broken for worker in live.of(number)}))
            self._books.tell("mended", deployment.spec.model, f"goes on without what does not serve on {nodes}")
            self.give_back(deployment, live, broken, now)

    def _spoilt(self, deployment: Deployment, live: Epoch, number: int, now: Seconds) -> bool:
        """Whether one of its workers ends at every start; its node is left out for a while."""
        for worker in live.of(number):
            state = worker.state
            if state is not None and not worker.ready and state.restarts >= self._options.load_failures:
                deployment.unfit.add(worker.node, now)
                return True
        return False

    def _fit(self, live: Epoch, number: int, unfit: Set[NodeId]) -> bool:
        """Whether all its nodes may run it."""
        return all(self._books.usable(w.node) and w.node not in unfit for w in live.of(number))

    def _forgotten(self, deployment: Deployment, number: int) -> bool:
        """Whether every gateway shows a table that does not lead through the chain."""
        model = deployment.spec.model
        for entrance in self._books.gateways.values():
            table, tally = entrance.tables.get(model), entrance.tallies.get(model)
            if table is None or tally is None or tally.mark != table.mark:
                return False
            if table.live is not None and any(route.chain == number for route in table.live.routes):
                return False
        return True

    def _idle(self, live: Epoch, number: int) -> bool:
        """Whether nothing is in its workers, as far as their nodes say."""
        return all(_idle(worker) or not self._books.usable(worker.node) for worker in live.of(number))

    def _end(self, deployment: Deployment, live: Epoch, number: int) -> None:
        """Its nodes shall run nothing of it."""
        for worker in live.leave(number):
            member = self._books.nodes.get(worker.node)
            if member is not None:
                self._books.stale_nodes[worker.node] = None
                if worker.state is None:
                    member.placed.pop(worker.spec.worker, None)
        self._books.touch(deployment)


def _idle(worker: Worker) -> bool:
    state = worker.state
    return state is None or not worker.ready or (state.queued == 0 and state.busy == 0.0)
