"""Links in virtual time: greeted connections between processes, and how the end of one is noticed.

Where a process dies its kernel says so, and the other end knows after one way through the network. Where it hangs, or
nothing passes, nobody says anything: the other end closes once it has heard nothing for `LinkOptions.silence`. A frame
sent while nothing passes goes out again when its timer rings, if the link lives so long.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappush
from itertools import count
from random import Random
from typing import Any, Protocol

import msgspec

from cutwater.drivers.sim.clock import Clock
from cutwater.drivers.sim.network import RTO, Network, Path
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Stepper
from cutwater.engine.vocabulary import LinkId, Received
from cutwater.profile.profile import FrameCost
from cutwater.units import Seconds
from cutwater.wire.message import Address

HEADER = 200
"""Bytes of a frame beside its tensors, about."""


class LinkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How links behave; the same limits as those of the live links."""

    silence: Seconds = 1.5
    """A link on which nothing was heard for so long is closed."""
    greeting: Seconds = 5.0
    """How long a dial waits for an answer."""
    backlog: int = 4 * 1024 * 1024
    """Bytes that may wait to leave before the machine is told that the link is paused."""


class Owner(Protocol):
    """The hands of a machine, told what happens on its links while its process has a processor."""

    process: Process
    sending: FrameCost
    receiving: FrameCost

    def opened(self, end: "End") -> None:
        """Both ends have greeted each other."""
        ...

    @property
    def stepper(self) -> Stepper:
        """Is told of every frame that has come."""
        ...

    def lost(self, end: "End", reason: str) -> None:
        """The link is gone."""
        ...

    def paused(self, end: "End", on: bool) -> None:
        """Too many bytes wait to leave (``on``), or no longer."""
        ...


class End:
    """One end of a link."""

    __slots__ = (
        "_arriving", "_bytes", "_clock", "_departing", "_due", "_handing", "_last", "_links", "_loop", "_number",
        "_path", "_paused", "_receive_byte", "_receive_fixed", "_send_byte", "_send_fixed", "_silence", "_tell",
        "_waiting", "address", "credits", "id", "open", "owner", "peer", "process",
    )  # fmt: skip

    def __init__(self, links: "Links", owner: Owner, address: Address | None) -> None:
        self.id = LinkId(next(links.ids))
        self.owner = owner
        self.process = owner.process
        self._loop = owner.process.loop
        self.address = address
        """Where it leads, if this end dialled."""
        self.credits = 0
        """What the other end allows."""
        self.open = True
        self.peer: End
        self._links = links
        self._clock = clock = links.clock
        self._due, self._number = clock.due, clock.number
        self._path: Path
        # Bound once: making a bound method takes about as long as a small method itself.
        self._silence = links.options.silence
        self._tell = owner.stepper.tell
        self._departing, self._arriving, self._handing = self._depart, self._arrive, self._received
        self._last: Seconds = 0.0
        """When the newest frame will be there: frames do not overtake each other."""
        self._waiting: deque[tuple[Seconds, int]] = deque()
        self._bytes = 0
        self._paused = False
        cost = owner.sending
        self._send_fixed, self._send_byte = cost.fixed, cost.per_byte
        cost = owner.receiving
        self._receive_fixed, self._receive_byte = cost.fixed, cost.per_byte

    def join(self, peer: "End", path: Path) -> None:
        """Become a link with ``peer``."""
        self.peer, self._path = peer, path

    def send(self, message: Any, nbytes: int = 0) -> None:
        """Have a frame leave as soon as the process gets to it."""
        if self.open:
            loop = self._loop
            loop.leaving.append((self._departing, Received(self.peer.id, message, nbytes)))
            loop.cost += self._send_fixed + nbytes * self._send_byte

    def _depart(self, frame: Received) -> None:
        """A frame on its way is what the machine at the other end will be told."""
        if not self.open:
            return
        now = self._clock.now
        links = self._links
        if links.troubled and not links.network.reaches(self.process.node, self.peer.process.node):
            self._clock.after(RTO, self._depart, frame)
            return
        nbytes = frame.nbytes + HEADER
        left, there = self._path.carry(nbytes, now, links.rng)
        if there < self._last:
            there = self._last
        self._last = there
        if there - now > self._silence:
            # What was lost again and again holds everything behind it up, the peer's pings as well.
            links.listen_for(self.peer, deaf=True)
        heappush(self._due, (there, self._number(), self.peer._arriving, frame))
        if left - now > 1e-3:
            self._queue(left, nbytes)

    def _queue(self, left: Seconds, nbytes: int) -> None:
        """Keep count of what waits to leave, and say when it is too much."""
        self._waiting.append((left, nbytes))
        self._bytes += nbytes
        self._drop_left()
        if self._bytes > self._links.options.backlog and not self._paused:
            self._paused = True
            self.owner.paused(self, True)
            self._clock.at(left, self._relieved)

    def _drop_left(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._clock.now:
            self._bytes -= self._waiting.popleft()[1]

    def _relieved(self, _: None) -> None:
        self._drop_left()
        if self._bytes > self._links.options.backlog // 4:
            self._clock.at(self._waiting[-1][0], self._relieved)
            return
        self._paused = False
        if self.open:
            self.process.loop.add(0.0, self._resumed, None)

    def _resumed(self, _: None) -> None:
        if self.open:
            self.owner.paused(self, False)

    def _arrive(self, frame: Received) -> None:
        if self.open:
            self._loop.add(self._receive_fixed + frame.nbytes * self._receive_byte, self._handing, frame)

    def _received(self, frame: Received) -> None:
        if self.open:
            self._tell(frame)

    def close(self, reason: str) -> None:
        """End it at this end, now; the other end hears of it, if anything reaches it."""
        if self.open:
            self._links.forget(self)
            self.open = False
            self.owner.lost(self, reason)
            self._links.part(self, "the other end closed the connection")


class Links:
    """All links of a world, and where one can dial to."""

    def __init__(self, clock: Clock, network: Network, rng: Random, options: LinkOptions) -> None:
        self.clock = clock
        self.network = network
        self.rng = rng
        self.options = options
        self.ids = count(1)
        self.troubled = False
        """Whether somebody is cut off from somebody."""
        self._doors: dict[Address, tuple[Owner, str, Callable[[], int]]] = {}
        self._ends: dict[Process, dict[LinkId, End]] = {}
        self._coming: dict[Address, list[_Dial]] = {}

    def expect(self, address: Address) -> None:
        """Somebody will listen at ``address`` soon: who dials it waits for that."""
        self._coming.setdefault(address, [])

    def listen(self, address: Address, owner: Owner, token: str, credits: Callable[[], int]) -> None:
        """Take links at ``address`` from whoever shows ``token``, until the process dies."""
        self._doors[address] = (owner, token, credits)
        owner.process.on_death.append(lambda: self._unlisten(address, owner))
        for dial in self._coming.pop(address, ()):
            dial.begin()

    def _unlisten(self, address: Address, owner: Owner) -> None:
        if self._doors.get(address, (None,))[0] is owner:
            del self._doors[address]

    def dial(self, owner: Owner, address: Address, token: str, failed: Callable[[str], None]) -> None:
        """Open a link: ``owner.opened`` is told at both ends, or ``failed`` why not."""
        dial = _Dial(self, owner, address, token, failed)
        if address in self._coming:
            self._coming[address].append(dial)
        else:
            dial.begin()

    def door(self, address: Address) -> tuple[Owner, str, Callable[[], int]] | None:
        """Who listens there."""
        return self._doors.get(address)

    def keep(self, end: End) -> None:
        """Remember an open end."""
        process = end.process
        if process not in self._ends:
            self._ends[process] = {}
            process.on_death.append(lambda: self._died(process))
        self._ends[process][end.id] = end

    def forget(self, end: End) -> None:
        """It is closed."""
        self._ends.get(end.process, {}).pop(end.id, None)

    def _died(self, process: Process) -> None:
        for end in self._ends.pop(process, {}).values():
            end.open = False
            self.part(end, "the other end closed the connection")

    def part(self, end: End, reason: str) -> None:
        """``end`` is closed: let its peer know as soon as it can."""
        peer = end.peer
        if not peer.open:
            return
        if self.network.reaches(end.process.node, peer.process.node):
            # What is already on its way comes first.
            there = max(self.clock.now + end._path.options.latency, end._last)
            self.clock.at(there, self._hear, (peer, reason))
        else:
            self.listen_for(peer)

    def listen_for(self, end: End, *, deaf: bool = False) -> None:
        """Nothing more will be heard at ``end`` for now; it closes in time, unless that changes or it is ``deaf``."""
        self.clock.after(self.options.silence, self._silent, (end, deaf))

    def _silent(self, what: tuple[End, bool]) -> None:
        end, deaf = what
        peer = end.peer.process
        heard = peer.running and end.peer.open and self.network.reaches(peer.node, end.process.node)
        if end.open and (deaf or not heard):
            self._hear((end, f"nothing heard for {self.options.silence:g} s"))

    def _hear(self, what: tuple[End, str]) -> None:
        end, reason = what
        if end.open:
            end.process.loop.add(0.0, _close, (end, reason))

    def check(self) -> None:
        """Somebody has stopped, or been cut off: who hears nothing any more will notice."""
        for ends in self._ends.values():
            for end in ends.values():
                peer = end.peer.process
                if not peer.running or not self.network.reaches(peer.node, end.process.node):
                    self.listen_for(end)


def _close(what: tuple[End, str]) -> None:
    end, reason = what
    end.close(reason)


class _Dial:
    """One attempt to open a link."""

    def __init__(self, links: Links, owner: Owner, address: Address, token: str, failed: Callable[[str], None]) -> None:
        self.links = links
        self.owner = owner
        self.address = address
        self.token = token
        self.failed = failed
        self.over = False

    def begin(self) -> None:
        links, process = self.links, self.owner.process
        door = links.door(self.address)
        links.clock.after(links.options.greeting, self._give_up)
        if door is None:
            self._end_after(0.0, "nobody listens there")
            return
        there = door[0].process
        path, back = links.network.path(process.node, there.node), links.network.path(there.node, process.node)
        if path is None or back is None:
            self._end_after(0.0, "there is no way there")
        elif links.network.reaches(process.node, there.node):
            # The connection takes one round; the greeting comes with the second.
            trip = path.options.latency + back.options.latency
            links.clock.after(trip + path.options.latency, self._greet, (door, path, back))

    def _greet(self, what: tuple[tuple[Owner, str, Callable[[], int]], Path, Path]) -> None:
        what[0][0].process.loop.add(0.0, self._answer, what)

    def _answer(self, what: tuple[tuple[Owner, str, Callable[[], int]], Path, Path]) -> None:
        (there, token, credits), path, back = what
        links, here = self.links, self.owner
        if self.over or not here.process.alive or not links.network.reaches(here.process.node, there.process.node):
            return
        if self.token != token:
            self._end_after(back.options.latency, "the other end belongs to another deployment")
            return
        near, far = End(links, here, self.address), End(links, there, None)
        near.join(far, path)
        far.join(near, back)
        near.credits = credits()
        for end in (near, far):
            links.keep(end)
        there.opened(far)
        self.over = True
        links.clock.after(back.options.latency, self._open, near)

    def _open(self, near: End) -> None:
        near.process.loop.add(0.0, self._opened, near)

    def _opened(self, near: End) -> None:
        if near.open:
            near.owner.opened(near)
        else:
            self.failed("the other end closed the connection")

    def _end_after(self, seconds: Seconds, reason: str) -> None:
        self.over = True
        self.links.clock.after(seconds, lambda _: self.owner.process.loop.add(0.0, self.failed, reason))

    def _give_up(self, _: None) -> None:
        if not self.over:
            self._end_after(0.0, f"no answer within {self.links.options.greeting:g} s")
