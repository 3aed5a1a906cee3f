"""LiveGateway: the hands of the gateway's machine: the links to the first stages, and the clients that wait."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, Protocol

import msgspec

from cutwater.drivers.links import Link
from cutwater.drivers.live import Hands, Live, clock
from cutwater.drivers.owner import LinkOwner
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.fault import Fault
from cutwater.engine.gateway.door import WHERE
from cutwater.engine.gateway.figures import GatewaySnapshot
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.gateway.neighbours import Neighbours
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Dial,
    Drain,
    Fail,
    Hangup,
    Launch,
    Received,
    Rerouted,
    Route,
    Send,
    StandIn,
    Stop,
    Withdrawn,
    WorkerGone,
)
from cutwater.errors import BadTensor, CutwaterError, FrameError, Refused, WorkerLost
from cutwater.units import RequestId, Seconds
from cutwater.wire.codecs.base import Array, Buffer
from cutwater.wire.message import Address, Answer, Credit, Failure, Hello, Infer, Mark, Message, TensorSpec

Feeds = Mapping[str, Array]

_BROKEN = "the part of the gateway that asks the stages broke; the request may be sent again"

_CLOSED = "the gateway stopped asking for this model before an answer came; the request may be sent again"
_OVER = "the gateway has drained, and asks for this model no more"


class Doors(Protocol):
    """How requests enter one chain, and how its answers leave it."""

    def enter(self, feeds: Feeds) -> tuple[tuple[TensorSpec, ...], list[Buffer]]:
        """The specs and packed buffers of one request. Raises CutwaterError."""
        ...

    def leave(self, answer: Answer, buffers: Sequence[memoryview]) -> dict[str, Array]:
        """The outputs by name. Raises CodecError."""
        ...


class Reply(NamedTuple):
    """What came of a request that was answered."""

    outputs: dict[str, Array]
    trail: tuple[Mark, ...]
    degraded: bool
    """The gateway's own copy of the model answered."""
    launched: Seconds = 0.0
    """When the attempt that was answered was launched; until then the request waited."""


class _Waiting:
    """One client who waits."""

    __slots__ = ("doors", "feeds", "launched", "reply")

    def __init__(self, feeds: Feeds, reply: "asyncio.Future[tuple[Answer, list[memoryview], bool]]") -> None:
        self.feeds = feeds
        self.reply = reply
        self.launched: Seconds = 0.0
        self.doors: Doors | None = None
        """Those of the chain it is under way through."""


class LiveGateway(LinkOwner):
    """Asks the stages of one model for its clients."""

    def __init__(
        self,
        machine: Gateway,
        hello: Hello,
        *,
        tls: TlsFiles | None = None,
        trace: Trace | None = None,
        memory: int = MEMORY,
        stand_in: Callable[[bool], Awaitable[None]] | None = None,
        neighbours: Neighbours | None = None,
        on_broken: Callable[[], None] = lambda: None,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        """Nothing is dialled before `reroute`.

        Args:
            machine: what decides.
            hello: how workers are greeted; its ``deployment`` where `reroute` names no other token.
            tls: for links between machines.
            trace: where steps are recorded.
            memory: as for `dial`.
            stand_in: brings the worker of the whole model up at the address of the degraded route (True) and returns
                when it serves, or takes it down; told True again when the link to it was lost. May raise CutwaterError.
            neighbours: other models that are asked here; they and this one hear of each other.
            on_broken: told when this gateway can ask nobody any more, and all who waited have heard of it.
            on_step: told whenever `snapshot` may say something else than before.
        """
        super().__init__(hello, tls, memory)
        self._machine = machine
        self._stand_in = stand_in
        self._neighbours = neighbours
        if neighbours is not None:
            neighbours.add(machine.share)
        self._on_broken = on_broken
        self._standing: tuple[Address, asyncio.Task[None]] | None = None
        self._doors: Mapping[tuple[int, int], Doors] = {}
        self._hellos: dict[Address, Hello] = {}
        self._waiting: dict[RequestId, _Waiting] = {}
        self._ids = count(1)
        self._passing: list[memoryview] = []
        self._arrived: Answer | None = None
        self._loop = asyncio.get_running_loop()
        self.drained = asyncio.Event()
        """Set once nothing is under way after `drain`."""
        hands: Hands = {
            Launch: self._launch,
            Send: self._send,
            Complete: self._complete,
            Fail: self._fail,
            Dial: self._dial,
            Hangup: self._hang_up,
            StandIn: self._stand,
            Stop: self._stop,
        }
        self._live = Live(machine, hands, WHERE, trace, on_broken=self._broke, on_step=on_step)

    def reroute(
        self,
        routes: Sequence[Route],
        doors: Mapping[tuple[int, int], Doors],
        tokens: Mapping[int, str] | None = None,
        window: int | None = None,
    ) -> None:
        """Take these ways from now on; what is under way goes on as it went.

        Args:
            routes: all of them, the degraded one included.
            doors: (epoch, chain) of a route -> how requests enter and leave it.
            tokens: epoch -> what its workers want to see; epochs that are missing have the token of ``hello``.
            window: most requests under way at once from now on; None: as before.
        """
        self._doors = doors
        tokens = tokens or {}
        self._hellos = {
            route.hops[0].address: msgspec.structs.replace(self._hello, deployment=tokens[route.epoch])
            for route in routes
            if route.epoch in tokens
        }
        self._live.tell(Rerouted(tuple(routes), window))
        if self._neighbours is not None:
            self._neighbours.moved()

    async def ask(
        self,
        feeds: Feeds,
        budget: Seconds,
        request: RequestId | None = None,
        *,
        priority: int = 0,
        client: str = "",
    ) -> Reply:
        """The stages' answer within ``budget`` seconds. Raises what the request's answer is, if it is an error.

        Args:
            feeds: the model's inputs.
            budget: seconds until nobody wants the answer any more.
            request: its id; None: the next of this gateway's own, which has its workers for itself then.
            priority: higher is sooner.
            client: who asks.
        """
        if self._live.closed:
            raise WorkerLost(_BROKEN) if self._live.broken else Refused(_OVER)
        request = RequestId(next(self._ids)) if request is None else request
        waiting = _Waiting(feeds, self._loop.create_future())
        self._waiting[request] = waiting
        try:
            self._look_aside()
            self._live.tell(Asked(request, budget, priority, client))
            answer, buffers, degraded = await waiting.reply
            doors, launched = waiting.doors, waiting.launched
        except asyncio.CancelledError:
            self._live.tell(Withdrawn(request))
            raise
        finally:
            self._waiting.pop(request, None)
            # An error's traceback keeps this frame, and the future the error: a cycle that would keep the feeds until
            # the garbage collector comes by, which is rarely.
            del waiting
        assert doors is not None
        return Reply(doors.leave(answer, buffers), answer.trail, degraded, launched)

    def outlook(self, budget: Seconds, ahead: int, priority: int = 0, client: str = "") -> CutwaterError | None:
        """See `Gateway.outlook`; ``budget``: seconds that are left."""
        self._look_aside()
        fault = self._machine.outlook(Asked(RequestId(0), budget, priority, client), ahead, clock())
        return fault.error() if fault is not None else None

    def _look_aside(self) -> None:
        """See that the machine knows of its neighbours before it decides who comes in or flies."""
        if self._neighbours is not None:
            beside = self._neighbours.beside(self._machine.share, clock())
            if beside is not None:
                self._live.tell(beside)

    def worker_gone(self, address: Address, fault: Fault) -> None:
        """Nobody will answer at ``address`` any more, because of ``fault``."""
        self._live.tell(WorkerGone(address, fault))

    def drain(self) -> None:
        """Finish what is here, accept nothing new; then ``drained`` is set."""
        self._live.tell(Drain())

    def snapshot(self) -> GatewaySnapshot:
        """The machine's figures."""
        return self._machine.snapshot()

    @property
    def open(self) -> bool:
        """Whether a way other than the gateway's own can be taken."""
        return self._machine.open

    def close(self) -> None:
        """End at once; whoever still waits hears of it."""
        super().close()
        self._give_up(_CLOSED)
        if self._neighbours is not None:
            self._neighbours.remove(self._machine.share)
        if self._standing is not None:
            self._standing[1].cancel()

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`. Raises FrameError for what a worker does not say."""
        if not isinstance(message, (Answer, Failure, Credit)):  # a union would be built for every frame
            raise FrameError(f"a {type(message).__name__} came against the direction of the link")
        if type(message) is Answer:
            self._look_aside()
            self._arrived, self._passing = message, buffers
        self._live.tell(Received(link.id, message, sum(map(len, buffers))))
        self._arrived, self._passing = None, []

    def _hello_for(self, address: Address) -> Hello:
        return self._hellos.get(address, self._hello)

    # Hands

    def _launch(self, command: Launch) -> None:
        link = self._links.get(command.link)
        if link is None:
            return
        (request, attempt), route = command.key, command.route
        waiting = self._waiting[request]
        waiting.doors = doors = self._doors[route.epoch, route.chain]
        waiting.launched = clock()
        first, *_ = hops = route.hops
        try:
            specs, buffers = doors.enter(waiting.feeds)
            link.send(
                Infer(request, attempt, command.budget, hops[1:], route.reply_packing, first.packing, specs), buffers
            )
        except (CutwaterError, ValueError, TypeError, ArithmeticError) as error:  # arrays come as the client made them
            kind = error.kind if isinstance(error, CutwaterError) else BadTensor.__name__
            self._live.tell(Received(link.id, Failure(request, attempt, kind, str(error), WHERE, False)))
            self._live.tell(Received(link.id, Credit(1)))

    def _send(self, command: Send) -> None:
        if (link := self._links.get(command.link)) is not None:
            link.send(command.message)

    def _complete(self, command: Complete) -> None:
        reply = self._waiting[command.request].reply
        assert self._arrived is not None
        if not reply.done():
            reply.set_result((self._arrived, self._passing, command.degraded))

    def _fail(self, command: Fail) -> None:
        reply = self._waiting[command.request].reply
        if not reply.done():
            reply.set_exception(command.fault.error())

    def _hang_up(self, command: Hangup) -> None:
        if (link := self._links.get(command.link)) is not None:
            link.close()

    def _stand(self, command: StandIn) -> None:
        assert self._stand_in is not None, "a degraded route needs somebody who brings its worker up"
        before = self._standing[1] if self._standing is not None else None
        self._standing = (command.address, self._loop.create_task(self._stand_after(before, command.on)))
        self._standing[1].add_done_callback(_retrieve)

    async def _stand_after(self, before: "asyncio.Task[None] | None", on: bool) -> None:
        assert self._stand_in is not None
        if before is not None:
            await asyncio.wait([before])
        await self._stand_in(on)

    async def _try(self, address: Address) -> None:
        if self._standing is not None and self._standing[0] == address:
            await asyncio.wait([self._standing[1]])
        await super()._try(address)

    def _broke(self, error: Exception) -> None:
        self._give_up(_BROKEN)
        self.drained.set()
        self._on_broken()

    def _give_up(self, why: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.reply.done():
                waiting.reply.set_exception(WorkerLost(why))

    def _stop(self, command: Stop) -> None:
        self.drained.set()


def _retrieve(task: "asyncio.Task[None]") -> None:
    """Why there is no stand-in shows when its address is dialled; here it is only not to be reported as unseen."""
    if not task.cancelled():
        task.exception()
