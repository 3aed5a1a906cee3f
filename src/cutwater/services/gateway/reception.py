"""Reception: where a gateway's clients come in by native link, each link for one model.

What one client may have open at once is bounded by the credits of its link; one who stops reading its answers gets no
more of them. Whoever goes takes its open requests along.
"""

import asyncio
import hmac
import logging
from collections.abc import Mapping

import msgspec

from cutwater.api.backend import Ask
from cutwater.drivers.connect import Listener, listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.live import clock
from cutwater.drivers.refusals import Refusals
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.vocabulary import LinkId
from cutwater.errors import CutwaterError, FrameError, NotFound, Refused, StageFailed, did_you_mean, forgetful
from cutwater.services.front.host import Host, Reply
from cutwater.services.gateway.greeting import gateway_mark, parse_greeting
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import (
    PROTOCOL,
    Address,
    Answer,
    Cancel,
    Credit,
    Failure,
    Hello,
    Infer,
    Message,
)
from cutwater.wire.tensors import pack, tensors

PLAIN = "plain"

_log = logging.getLogger(__name__)


class ReceptionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How clients are taken in."""

    name: str
    """The gateway's."""
    credits: int = 64
    """Requests one client may have open."""
    max_frame: int = 256 * 2**20
    """Largest request, in bytes."""
    token: str = ""
    """What clients must show; empty: nothing."""
    shared_memory: int = MEMORY


class _Guest:
    """One client's link."""

    def __init__(self, link: Link, model: str, host: Host) -> None:
        self.link = link
        self.name = f"native:{link.id}"
        self.model = model
        self.host = host
        """Who answered for the model last; after it was undeployed and deployed again that is another."""
        self.open: dict[RequestId, asyncio.Task[None]] = {}
        self.paused = False
        self.owed = 0
        """Credits to give back once the link takes bytes again."""

    def give_back(self) -> None:
        """One request less is open."""
        self.owed += 1
        if not self.paused:
            self.link.send(Credit(self.owed))
            self.owed = 0


class Reception:
    """All clients; an `Owner` of links."""

    def __init__(self, hosts: Mapping[str, Host], options: ReceptionOptions) -> None:
        """``hosts``: model -> who answers for it; looked into at each greeting."""
        self.cork = Cork()
        self.draining = False
        """Whether new clients are sent away."""
        self.missed: dict[str, int] = {}
        """Model nobody answers for -> how often it was asked for."""
        self.refusals = Refusals()
        """Whom it did not let in, or sent away."""
        self._hosts = hosts
        self._options = options
        self._guests: dict[LinkId, _Guest] = {}
        self._listeners: list[Listener] = []

    async def open(self, address: Address, tls: TlsFiles | None = None) -> Address:
        """Take clients in at ``address``; returns it with the port the system chose. Raises InputError."""
        hello = self._hello("")
        memory = self._options.shared_memory
        listener = await listen(address, hello, self, tls, memory, admit=self._admit, refusals=self.refusals)
        self._listeners.append(listener)
        return listener.address

    def close(self) -> None:
        """Take nobody in any more, and end all links once what was sent has left."""
        for listener in self._listeners:
            listener.close()
        for guest in tuple(self._guests.values()):
            guest.link.close()

    async def finished(self) -> None:
        """Wait until no request is open."""
        while tasks := [task for guest in self._guests.values() for task in guest.open.values()]:
            await asyncio.wait(tasks)

    def _hello(self, deployment: str) -> Hello:
        options = self._options
        return Hello(PROTOCOL, deployment, options.name, options.credits, options.max_frame)

    def _admit(self, hello: Hello) -> Hello:
        model, token = parse_greeting(hello.deployment)
        if self._options.token and not hmac.compare_digest(token.encode(), self._options.token.encode()):
            raise Refused("this gateway wants its token from clients: greet it with model:NAME:TOKEN")
        if self.draining:
            raise Refused(f"the gateway {self._options.name} is ending; ask another one, or again later")
        if model not in self._hosts:
            self._miss(model)
            hint = did_you_mean(model, self._hosts)
            raise NotFound(f"no model {model!r} is deployed{hint}; `cutwater deploy {model}` deploys it")
        return self._hello(hello.deployment)

    def _miss(self, model: str) -> None:
        """Remember that it was wanted; whoever makes names up fills no memory with them."""
        if model in self.missed or len(self.missed) < 64:
            self.missed[model] = self.missed.get(model, 0) + 1

    # Owner

    def opened(self, link: Link) -> None:
        """See `Owner.opened`."""
        assert link.peer is not None
        model, _ = parse_greeting(link.peer.deployment)
        self._guests[link.id] = _Guest(link, model, self._hosts[model])

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`. Raises FrameError for what a client does not say, or not now."""
        guest = self._guests[link.id]
        match message:
            case Infer():
                if len(guest.open) + guest.owed >= self._options.credits:
                    raise FrameError(f"more than {self._options.credits} requests are open; wait for credit")
                if message.request in guest.open or message.request == 0:
                    raise FrameError(f"request {message.request} is open already; count from 1 up")
                task = asyncio.create_task(self._serve(guest, message, buffers))
                guest.open[message.request] = task
                task.add_done_callback(lambda task: self._served(guest, message, task))
            case Cancel():
                if (task_ := guest.open.get(message.request)) is not None:
                    task_.cancel()
            case _:
                raise FrameError(f"a {type(message).__name__} is not what a client says to a gateway")

    def lost(self, link: Link, reason: str) -> None:
        """See `Owner.lost`."""
        guest = self._guests.pop(link.id)
        for task in tuple(guest.open.values()):
            task.cancel()
        if link.misbehaved:
            guest.host.refuse(reason)

    def paused(self, link: Link) -> None:
        """See `Owner.paused`."""
        self._guests[link.id].paused = True

    def resumed(self, link: Link) -> None:
        """See `Owner.resumed`."""
        guest = self._guests[link.id]
        guest.paused = False
        if guest.owed:
            link.send(Credit(guest.owed))
            guest.owed = 0

    # Requests

    async def _serve(self, guest: _Guest, infer: Infer, buffers: list[memoryview]) -> None:
        asked = clock()
        came = sum(spec.nbytes for spec in infer.tensors)
        try:
            arrays = tensors(infer, buffers)
            feeds = {spec.name: array for spec, array in zip(infer.tensors, arrays, strict=True)}
            guest.host = self._hosts.get(guest.model, guest.host)
            reply = await guest.host.ask(
                Ask(guest.model, feeds, infer.budget, infer.priority, guest.name, door="native", came=came)
            )
        except CutwaterError as error:
            reply = Reply(RequestId(0), {}, (), forgetful(error))
        self._answer(guest.link, infer, reply, asked, came)

    def _served(self, guest: _Guest, infer: Infer, task: "asyncio.Task[None]") -> None:
        del guest.open[infer.request]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a request of %s broke its handling", guest.model, exc_info=error)
            fault = StageFailed(f"the gateway could not handle this request: {type(error).__name__}: {error}")
            self._answer(guest.link, infer, Reply(RequestId(0), {}, (), fault), clock(), 0)
        if guest.link.id in self._guests:
            guest.give_back()

    def _answer(self, link: Link, infer: Infer, reply: Reply, asked: Seconds, came: int) -> None:
        fault = reply.fault
        if fault is None:
            specs, packed = pack(((name, array.dtype.name, array) for name, array in reply.outputs.items()), PLAIN)
            mark = gateway_mark(reply.request, asked, clock(), came, sum(spec.nbytes for spec in specs))
            try:
                link.send(Answer(infer.request, infer.attempt, PLAIN, specs, (*reply.trail, mark)), packed)
                return
            except FrameError as error:
                fault = error
        trail = reply.trail
        if reply.request:
            trail = (*trail, gateway_mark(reply.request, asked, clock(), came, 0))
        name = self._options.name
        link.send(Failure(infer.request, infer.attempt, fault.kind, str(fault), name, fault.retryable, trail))
