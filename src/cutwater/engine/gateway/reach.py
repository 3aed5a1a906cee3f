"""Reach: the gateway's links to the first workers of all ways.

A link is dialled when a way begins there, dialled again with back-off while it is down, and hung up when no way and no
flight needs it any more.
"""

from collections.abc import Iterable
from functools import partial

from cutwater.engine.alarms import Alarms
from cutwater.engine.backoff import BackOff
from cutwater.engine.stage.lanes import Lane
from cutwater.engine.vocabulary import Dial, DialFailed, Hangup, Key, LinkId, Lost, Opened
from cutwater.units import Seconds
from cutwater.wire.message import Address

REDIAL = BackOff(first=0.1, limit=2.0)
"""How long to wait before a link is dialled again."""


class FirstLane(Lane):
    """The way to a first worker."""

    __slots__ = ("dialling", "down", "resting", "wait", "wanted")

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.wanted = False
        """A way begins here."""
        self.dialling = False
        """`Dial` was said and is not answered."""
        self.resting = False
        """It is too early to dial again."""
        self.wait: Seconds = 0.0
        self.down = "it is being dialled"
        """Why there is no link."""


class Reach:
    """The lanes to all first workers, by address and by link."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self.lanes: dict[Address, FirstLane] = {}
        self.by_link: dict[LinkId, FirstLane] = {}
        self._standby: Address | None = None
        self.due = False
        """A lane has rested; `want` again."""

    def lane(self, address: Address) -> FirstLane:
        """The lane to ``address``, there or not."""
        if address not in self.lanes:
            self.lanes[address] = FirstLane(address)
        return self.lanes[address]

    @property
    def trouble(self) -> str:
        """Which links there should be and are not, and why; empty: none."""
        return "; ".join(
            f"{lane.address}: {lane.down}" for lane in self.lanes.values() if lane.wanted and not lane.link
        )

    def want(self, addresses: Iterable[Address], standby: Address | None = None) -> list[Dial | Hangup]:
        """From now on ways begin at these addresses, and at no others; at ``standby`` too, but not yet."""
        self.due = False
        self._standby = standby
        wanted = dict.fromkeys(addresses)
        commands: list[Dial | Hangup] = []
        for address in wanted:
            lane = self.lane(address)
            lane.wanted = True
            if lane.link is None and not lane.dialling and not lane.resting:
                lane.dialling = True
                commands.append(Dial(address))
        for address, lane in tuple(self.lanes.items()):
            if address not in wanted:
                lane.wanted = False
                commands += self._let_go(lane)
        return commands

    def opened(self, event: Opened) -> list[Hangup]:
        """A link that was dialled stands."""
        assert event.address is not None, "the gateway dials; nobody dials it"
        lane = self.lane(event.address)
        lane.open(event.link, event.credits)
        lane.dialling, lane.wait = False, 0.0
        self.by_link[event.link] = lane
        return self._let_go(lane)

    def failed(self, event: DialFailed, now: Seconds) -> None:
        """A link could not be had; it is tried again."""
        self._rest(self.lane(event.address), event.reason, now)

    def lost(self, event: Lost, now: Seconds) -> tuple[FirstLane, list[Key]] | None:
        """A link is gone: its lane, and what was under way on it; None: it was hung up."""
        lane = self.by_link.pop(event.link, None)
        if lane is None:
            return None
        keys = sorted(lane.away)
        lane.close()
        self._rest(lane, event.reason, now)
        return lane, keys

    def leave(self, link: LinkId, key: Key) -> list[Hangup]:
        """``key`` is no longer under way on ``link``."""
        lane = self.by_link.get(link)
        if lane is None:
            return []
        lane.away.discard(key)
        return [] if lane.wanted else self._let_go(lane)

    def _rest(self, lane: FirstLane, reason: str, now: Seconds) -> None:
        lane.dialling, lane.down = False, reason
        if lane.wanted:
            lane.resting, lane.wait = True, REDIAL.after(lane.wait)
            self._alarms.at(now + lane.wait, partial(self._rested, lane))
        else:
            self._let_go(lane)

    def _rested(self, lane: FirstLane, now: Seconds) -> None:
        lane.resting, self.due = False, True

    def _let_go(self, lane: FirstLane) -> list[Hangup]:
        """Hang up and forget a lane that nothing needs."""
        if lane.wanted or lane.away or lane.dialling:
            return []
        if lane.address != self._standby:
            self.lanes.pop(lane.address, None)
        if lane.link is None:
            return []
        link = lane.link
        del self.by_link[link]
        lane.close()
        return [Hangup(link)]

    def validate(self) -> None:
        """Raise AssertionError where the books contradict each other."""
        for address, lane in self.lanes.items():
            assert lane.address == address
            assert lane.credits >= 0
            assert not (lane.link and lane.dialling)
            assert not lane.wanted or lane.link or lane.dialling or lane.resting, f"nobody dials {address}"
            assert lane.wanted or lane.away or lane.dialling or address == self._standby, f"nothing needs {address}"
            assert lane.link is not None or not lane.away
        linked = {lane.link: lane for lane in self.lanes.values() if lane.link is not None}
        assert linked == self.by_link
