"""LiveGateway: the hands of the gateway's machine: the links to the first stages, and the clients that wait."""

import asyncio
from collections.abc import Sequence
from itertools import count

from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link, dial
from cutwater.drivers.live import Hands, Live
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.fault import Fault
from cutwater.engine.gateway import Gateway, GatewaySnapshot
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Fail,
    LinkId,
    Lost,
    Opened,
    Paused,
    Received,
    Resumed,
    Send,
    Stop,
    Withdrawn,
    WorkerGone,
)
from cutwater.errors import FrameError
from cutwater.units import RequestId, Seconds
from cutwater.wire.codecs.base import Buffer
from cutwater.wire.message import Address, Answer, Credit, Failure, Hello, Infer, Message, TensorSpec

Reply = tuple[Answer, list[memoryview]]
"""An answer and its packed tensors."""


class LiveGateway:
    """Asks the stages for its clients; an `Owner` of links."""

    def __init__(
        self,
        machine: Gateway,
        hello: Hello,
        *,
        tls: TlsFiles | None = None,
        trace: Trace | None = None,
        memory: int = MEMORY,
    ) -> None:
        """``memory`` as for `dial`."""
        self.cork = Cork()
        self._hello = hello
        self._tls = tls
        self._memory = memory
        self._machine = machine
        self._links: dict[LinkId, Link] = {}
        self._waiting: dict[RequestId, tuple[asyncio.Future[Reply], Sequence[Buffer]]] = {}
        self._ids = count(1)
        self._passing: list[memoryview] = []
        self._arrived: Answer | None = None
        self._loop = asyncio.get_running_loop()
        self.drained = asyncio.Event()
        hands: Hands = {Send: self._send, Complete: self._complete, Fail: self._fail, Stop: self._stop}
        self._live = Live(machine, hands, "gateway", trace)

    async def connect(self, address: Address) -> None:
        """Open the link to one first stage. Raises LinkLost, Refused, FrameError, InputError."""
        await dial(address, self._hello, self, self._tls, self._memory)

    async def ask(
        self, specs: tuple[TensorSpec, ...], buffers: Sequence[Buffer], packing: str, budget: Seconds
    ) -> Reply:
        """The stages' answer within ``budget`` seconds. Raises what the request's answer is, if it is an error."""
        request = RequestId(next(self._ids))
        reply: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting[request] = (reply, buffers)
        try:
            self._live.tell(Asked(request, budget, packing, specs))
            return await reply
        except asyncio.CancelledError:
            self._live.tell(Withdrawn(request))
            raise
        finally:
            self._waiting.pop(request, None)

    def worker_gone(self, address: Address, fault: Fault) -> None:
        """Nobody will answer at ``address`` any more, because of ``fault``."""
        self._live.tell(WorkerGone(address, fault))

    def snapshot(self) -> GatewaySnapshot:
        """The machine's figures."""
        return self._machine.snapshot()

    def close(self) -> None:
        """End at once."""
        self._live.close()
        for link in self._links.values():
            link.close()

    # Owner

    def opened(self, link: Link) -> None:
        """See `Owner.opened`."""
        assert link.peer is not None
        self._links[link.id] = link
        self._live.tell(Opened(link.id, link.peer.credits, link.address))

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`. Raises FrameError for what a worker does not say."""
        if not isinstance(message, Answer | Failure | Credit):
            raise FrameError(f"a {type(message).__name__} came against the direction of the link")
        if type(message) is Answer:
            self._arrived, self._passing = message, buffers
        self._live.tell(Received(link.id, message, sum(map(len, buffers))))
        self._arrived, self._passing = None, []

    def lost(self, link: Link, reason: str) -> None:
        """See `Owner.lost`."""
        del self._links[link.id]
        self._live.tell(Lost(link.id, reason))

    def paused(self, link: Link) -> None:
        """See `Owner.paused`."""
        self._live.tell(Paused(link.id))

    def resumed(self, link: Link) -> None:
        """See `Owner.resumed`."""
        self._live.tell(Resumed(link.id))

    # Hands

    def _send(self, command: Send) -> None:
        link = self._links.get(command.link)
        if link is None:
            return
        message = command.message
        if type(message) is not Infer:
            link.send(message)
            return
        try:
            link.send(message, self._waiting[message.request][1])
        except FrameError as error:
            failure = Failure(message.request, message.attempt, error.kind, str(error), "gateway", False)
            self._live.tell(Received(link.id, failure))
            self._live.tell(Received(link.id, Credit(1)))

    def _complete(self, command: Complete) -> None:
        reply, _ = self._waiting[command.request]
        assert self._arrived is not None
        if not reply.done():
            reply.set_result((self._arrived, self._passing))

    def _fail(self, command: Fail) -> None:
        reply, _ = self._waiting[command.request]
        if not reply.done():
            reply.set_exception(command.fault.error())

    def _stop(self, command: Stop) -> None:
        self.drained.set()
