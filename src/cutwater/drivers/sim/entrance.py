"""Entrance: the hands of one model's Gateway machine in virtual time, and the clients that wait there."""

from collections.abc import Callable
from typing import Any

from cutwater.drivers.sim.links import End, Links
from cutwater.drivers.sim.outcomes import Asking
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Hands, Stepper
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.gateway.neighbours import Neighbours
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Dial,
    DialFailed,
    Fail,
    Hangup,
    Launch,
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
)
from cutwater.profile.profile import FrameCost
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Answer, Infer, TensorSpec

Inputs = Callable[[Route], tuple[TensorSpec, ...]]
"""What enters a route's chain, as it is packed for its first hop."""


class _Neighbourly(Stepper):
    """Its machine hears of its neighbours before it decides who comes in or flies."""

    __slots__ = ("_neighbours", "_share")

    def __init__(
        self, neighbours: Neighbours, machine: Gateway, hands: Hands, process: Process, who: str, trace: Trace | None
    ) -> None:
        super().__init__(machine, hands, process, who, trace)
        self._share, self._neighbours = machine.share, neighbours
        neighbours.add(machine.share)

    def tell(self, event: Any) -> None:
        """See `Stepper.tell`."""
        if type(event) is Asked or (type(event) is Received and type(event.message) is Answer):
            beside = self._neighbours.beside(self._share, self._process.clock.now)
            if beside is not None:
                super().tell(beside)
        super().tell(event)


class Entrance:
    """One model at one gateway; an `Owner` of links."""

    def __init__(
        self,
        process: Process,
        machine: Gateway,
        links: Links,
        inputs: Inputs,
        *,
        tokens: Callable[[str], str],
        frame: tuple[FrameCost, FrameCost] = (FrameCost(), FrameCost()),
        encode: Seconds = 0.0,
        stand_in: Callable[[StandIn], None] = lambda command: None,
        neighbours: Neighbours | None = None,
        trace: Trace | None = None,
        who: str = "gateway",
    ) -> None:
        """``tokens``: what to show at an address; ``frame``: cost of sending and of receiving one.

        ``encode``: seconds to pack one request; ``stand_in`` obeys `StandIn`; ``neighbours``: who its
        machine and others hear of each other through.
        """
        self.process = process
        self.machine = machine
        self.sending, self.receiving = frame
        self.open: dict[RequestId, Asking] = {}
        """Asked and not answered."""
        self.told: Callable[[Asking], None] = lambda asking: None
        """Hears of every answer."""
        self._clock = process.clock
        self._links = links
        self._inputs = inputs
        self._tokens = tokens
        self._encode = encode
        self._neighbours = neighbours
        self._ends: dict[int, End] = {}
        self._entering: dict[tuple[int, int], tuple[tuple[TensorSpec, ...], int]] = {}
        hands: Hands = {
            Launch: self._launch,
            Send: self._send,
            Dial: self._dial,
            Hangup: self._hangup,
            StandIn: stand_in,
            Complete: self._complete,
            Fail: self._fail,
            Stop: lambda command: None,
        }
        if neighbours is None:
            self.stepper = Stepper(machine, hands, process, who, trace)
        else:
            self.stepper = _Neighbourly(neighbours, machine, hands, process, who, trace)
        self._tell = self.stepper.tell

    def ask(self, asking: Asking) -> None:
        """A client wants an answer; while the process's loop is at work."""
        assert asking.request not in self.open
        self.open[asking.request] = asking
        self._tell(Asked(asking.request, asking.deadline - self._clock.now, asking.priority, asking.client))

    def reroute(self, routes: tuple[Route, ...]) -> None:
        """These are the ways from now on; while the process's loop is at work."""
        self.stepper.tell(Rerouted(routes))
        if self._neighbours is not None:
            self._neighbours.moved()

    # Owner

    def opened(self, end: End) -> None:
        """See `Owner.opened`."""
        self._ends[end.id] = end
        self.stepper.tell(Opened(end.id, end.credits, end.address))

    def lost(self, end: End, reason: str) -> None:
        """See `Owner.lost`."""
        if self._ends.pop(end.id, None) is not None:
            self.stepper.tell(Lost(end.id, reason))

    def paused(self, end: End, on: bool) -> None:
        """See `Owner.paused`."""
        self.stepper.tell(Paused(end.id) if on else Resumed(end.id))

    # Hands

    def _launch(self, command: Launch) -> None:
        route = command.route
        asking = self.open[command.key.request]
        asking.attempt, asking.route = command.key.attempt, route
        end = self._ends.get(command.link)
        if end is None:
            return
        tensors, nbytes = self._enter(route)
        key, hops = command.key, route.hops
        message = Infer(
            key.request, key.attempt, command.budget, hops[1:], route.reply_packing, hops[0].packing, tensors
        )
        end.send(message, nbytes)

    def _enter(self, route: Route) -> tuple[tuple[TensorSpec, ...], int]:
        which = (route.epoch, route.chain)
        found = self._entering.get(which)
        if found is None:
            tensors = self._inputs(route)
            found = self._entering[which] = (tensors, sum(spec.nbytes for spec in tensors))
        return found

    def _send(self, command: Send) -> None:
        end = self._ends.get(command.link)
        if end is not None:
            end.send(command.message)

    def _dial(self, command: Dial) -> None:
        address = command.address
        self._links.dial(self, address, self._tokens(address), lambda why: self.stepper.tell(DialFailed(address, why)))

    def _hangup(self, command: Hangup) -> None:
        end = self._ends.get(command.link)
        if end is not None:
            end.close("nothing needs it any more")

    def _complete(self, command: Complete) -> None:
        asking = self.open.pop(command.request)
        arrived = self.stepper.event.message
        assert arrived.request == asking.request and arrived.attempt == asking.attempt, "a late answer"
        asking.degraded = command.degraded
        self._end(asking)

    def _fail(self, command: Fail) -> None:
        asking = self.open.pop(command.request)
        asking.kind = command.fault.kind
        self._end(asking)

    def _end(self, asking: Asking) -> None:
        asking.ended = self._clock.now
        self.told(asking)
