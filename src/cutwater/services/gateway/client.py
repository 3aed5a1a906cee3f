"""NativeClient: one model of a cluster, asked over one link to a gateway."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import count
from types import TracebackType
from typing import Self

from cutwater.drivers.connect import dial
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.live import clock
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.fault import Fault
from cutwater.errors import CutwaterError, DeadlineExceeded, FrameError, LinkLost
from cutwater.services.gateway.greeting import WHOLE, greeting, without_gateway
from cutwater.services.workers.outcome import Feeds, Outcome, in_order
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import PROTOCOL, Address, Answer, Cancel, Credit, Failure, Hello, Infer, Message
from cutwater.wire.tensors import pack, tensors

GRACE: Seconds = 1.0
"""How much longer than a request's time a client waits for the gateway's word on it."""
MAX_FRAME = 256 * 2**20
PLAIN = "plain"
Reply = tuple[Answer, list[memoryview]]


class NativeClient:
    """An asynchronous context: inside it the model can be asked. It is also the `Owner` of its link.

    ``async with NativeClient(address, "cats") as client: outcome = await client.infer({"input": array})``
    """

    def __init__(
        self,
        address: Address,
        model: str,
        *,
        token: str = "",
        timeout: Seconds = 30.0,
        max_frame: int = MAX_FRAME,
        tls: TlsFiles | None = None,
        shared_memory: int = MEMORY,
    ) -> None:
        """Nothing is connected yet.

        Args:
            address: where the gateway takes clients in.
            model: its name in the cluster.
            token: what the gateway wants to see from clients that are not on its machine.
            timeout: a request's time, where the caller does not say.
            max_frame: largest answer accepted, in bytes.
            tls: mutual TLS, where ``address`` is on another machine.
            shared_memory: bytes shared with a gateway on this machine; 0: none.
        """
        self.address = address
        self.model = model
        self.timeout = timeout
        self.cork = Cork()
        self._hello = Hello(PROTOCOL, greeting(model, token), "client", 0, max_frame)
        self._tls, self._memory = tls, shared_memory
        self._link: Link | None = None
        self._loss: CutwaterError | None = None
        self._ids = count(1)
        self.repeated = 0
        """Answers to requests that were answered before; one that was cancelled is not."""
        self._open: dict[RequestId, asyncio.Future[Reply]] = {}
        self._cancelled: deque[RequestId] = deque(maxlen=1024)
        self._room = asyncio.Semaphore(0)
        self._flows = asyncio.Event()
        self._flows.set()

    async def open(self) -> None:
        """Connect.

        Raises:
            LinkLost: no gateway is there.
            NotFound: it knows no such model.
            Refused: it drains, or wants a token.
        """
        self._link = await dial(self.address, self._hello, self, self._tls, self._memory)

    def close(self) -> None:
        """Disconnect; the gateway forgets what is still open."""
        if self._link is not None:
            self._link.close()

    @property
    def gone(self) -> bool:
        """Whether its link has ended; there will be no other."""
        return self._loss is not None

    async def __aenter__(self) -> Self:
        """See `open`."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    async def infer(self, feeds: Feeds, timeout: Seconds | None = None, priority: int = 0) -> Outcome:  # noqa: ASYNC109
        """The model's outputs for one request.

        Args:
            feeds: input name -> array, as the whole model takes it.
            timeout: seconds until the caller no longer wants the answer.
            priority: higher is sooner; the ordinary one is 0.

        Raises:
            BadTensor: the feeds do not fit the model.
            FrameError: they are more than the gateway takes at once.
            LinkLost: the gateway is gone, and nobody knows what became of the request.
            CutwaterError: what the request's answer is instead.
        """
        budget = self.timeout if timeout is None else timeout
        began = clock()
        try:
            async with asyncio.timeout(budget + GRACE):
                answer, buffers = await self._ask(feeds, began + budget, priority)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the gateway said nothing within {budget:g} s") from error
        outputs = dict(zip((spec.name for spec in answer.tensors), tensors(answer, buffers), strict=True))
        request, trail = without_gateway(answer.trail)
        degraded = any(mark.stage == WHOLE for mark in trail)
        return Outcome(outputs, clock() - began, trail, request, degraded)

    def stream(
        self,
        feeds: Iterable[Feeds | CutwaterError] | AsyncIterable[Feeds | CutwaterError],
        *,
        in_flight: int | None = None,
        timeout: Seconds | None = None,
    ) -> AsyncIterator[Outcome | CutwaterError]:
        """The outcomes of many requests, in their order; an error is one request's outcome, and the others go on.

        An error among the feeds (an input that could not be read) is its own outcome.
        At most ``in_flight`` requests are open or waiting to be taken by the caller (default: as the gateway allows).
        """
        return in_order(lambda feed: self.infer(feed, timeout), feeds, in_flight or self.credits)

    @property
    def credits(self) -> int:
        """How many requests the gateway lets this client have open."""
        assert self._link is not None and self._link.peer is not None, "use `async with`"
        return self._link.peer.credits

    async def _ask(self, feeds: Feeds, deadline: Seconds, priority: int) -> Reply:
        specs, buffers = pack(((name, array.dtype.name, array) for name, array in feeds.items()), PLAIN)
        assert self._link is not None, "use `async with`"
        await self._flows.wait()
        await self._room.acquire()
        if self._loss is not None:
            self._room.release()  # for the next one who waits, to hear the same
            raise self._loss
        request = RequestId(next(self._ids))
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[request] = reply
        try:
            infer = Infer(request, 1, deadline - clock(), (), PLAIN, PLAIN, specs, (), priority)
            self._link.send(infer, buffers)
            return await reply
        except FrameError:
            self._room.release()
            raise
        except asyncio.CancelledError:
            self._cancelled.append(request)
            self._link.send(Cancel(request, 1))
            raise
        finally:
            del self._open[request]
            del reply  # it keeps its error, whose traceback keeps this frame and so the feeds

    # Owner

    def opened(self, link: Link) -> None:
        """See `Owner.opened`."""
        assert link.peer is not None
        for _ in range(link.peer.credits):
            self._room.release()

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`. Raises FrameError for what a gateway does not say."""
        match message:
            case Credit(count):
                for _ in range(count):
                    self._room.release()
            case Answer():
                self._settle(message.request, (message, buffers))
            case Failure(request=0):
                self._loss = Fault(message.kind, message.message, message.where).error()
                link.close(self._loss)
            case Failure():
                self._settle(message.request, Fault(message.kind, _named(message), message.where).error())
            case _:
                raise FrameError(f"a {type(message).__name__} is not what a gateway says to a client")

    def lost(self, link: Link, reason: str) -> None:
        """See `Owner.lost`."""
        self._loss = self._loss or LinkLost(f"the gateway at {self.address} is gone: {reason}")
        for reply in self._open.values():
            if not reply.done():
                reply.set_exception(self._loss)
        # Whoever waits for room wakes, and hears why there will be none.
        self._flows.set()
        self._room.release()

    def paused(self, link: Link) -> None:
        """See `Owner.paused`."""
        self._flows.clear()

    def resumed(self, link: Link) -> None:
        """See `Owner.resumed`."""
        self._flows.set()

    def _settle(self, request: RequestId, outcome: Reply | CutwaterError) -> None:
        reply = self._open.get(request)
        if reply is None or reply.done():
            self.repeated += not (request in self._cancelled or (reply is not None and reply.cancelled()))
            return
        if isinstance(outcome, CutwaterError):
            reply.set_exception(outcome)
        else:
            reply.set_result(outcome)


def _named(failure: Failure) -> str:
    """What went wrong, with the gateway's name for the request where there is one."""
    request, _ = without_gateway(failure.trail)
    return f"{failure.message} (request {request})" if request else failure.message
