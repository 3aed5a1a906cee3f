"""Neighbours: the models of one gateway, and what the machine of each is told of the others.

Machines do not look at each other: what one is told is an event like any other, so that its steps can be made again.
"""

from cutwater.engine.gateway.flights import Flights
from cutwater.engine.gateway.ways import Ways
from cutwater.engine.vocabulary import Beside, Load
from cutwater.units import NodeId, Seconds

AGAIN: Seconds = 1e-3
"""What was said so little before holds still."""


class Share:
    """One model's, in what the nodes have to do."""

    def __init__(self, flights: Flights, ways: Ways) -> None:
        self._flights, self._ways = flights, ways
        self._at = float("-inf")
        self._loads: dict[NodeId, tuple[Seconds, Seconds, Seconds]] = {}

    @property
    def nodes(self) -> frozenset[NodeId]:
        """Where its requests are computed, as far as anybody said."""
        return self._ways.nodes

    @property
    def waiting(self) -> int:
        """Requests that wait to be launched."""
        return self._flights.waiting

    def loads(self, now: Seconds) -> dict[NodeId, tuple[Seconds, Seconds, Seconds]]:
        """See `Ways.loads`."""
        if now >= self._at + AGAIN:
            self._at, self._loads = now, self._ways.loads()
        return self._loads


class Neighbours:
    """Who there is."""

    def __init__(self) -> None:
        self._told: dict[Share, tuple[Seconds, dict[NodeId, Load]]] = {}
        """When each last looked around, and what it was told."""
        self._near: dict[Share, list[Share]] = {}
        """Who has a node in common with whom, as far as that was asked since anybody's nodes changed."""

    def add(self, share: Share) -> None:
        """One more model."""
        self._told[share] = (float("-inf"), {})
        self.moved()

    def remove(self, share: Share) -> None:
        """It is not here any more."""
        self._told.pop(share, None)
        self.moved()

    def moved(self) -> None:
        """The nodes of one may be others than before."""
        self._near.clear()

    def beside(self, share: Share, now: Seconds) -> Beside | None:
        """What the machine of ``share`` is to be told before it decides something; None: nothing that it does not know.

        Doors take turns like the clients of one line: each has some under way, whatever the others have. So before one
        more request of a model, as many of another's are launched as it has waiting itself, and one.
        """
        at, told = self._told.get(share, (now, {}))
        if now < at + AGAIN or (len(self._told) == 1 and not told):
            return None
        found: dict[NodeId, list[Seconds]] = {}
        mine, most = share.nodes, share.waiting + 1
        for other in self._around(share):
            waiting = other.waiting
            if waiting > most:
                waiting = most
            for node, (each, flying, done) in other.loads(now).items():
                if node in mine:
                    total = found.setdefault(node, [0.0, 0.0, 0.0])
                    total[0] += waiting * each
                    total[1] += flying
                    total[2] += done
        loads = {node: Load(*total) for node, total in found.items()}
        self._told[share] = (now, loads)
        return Beside(loads) if loads != told else None

    def _around(self, share: Share) -> list[Share]:
        """Others that have a node in common with it."""
        if share not in self._near:
            mine = share.nodes
            self._near[share] = [each for each in self._told if each is not share and not mine.isdisjoint(each.nodes)]
        return self._near[share]
