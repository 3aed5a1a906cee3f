"""Link: one long-lived connection that carries frames between two processes that belong to the same deployment.

The one who dials says `Hello` first and nothing else before the other's Hello has come. The one who listens accepts
only a small frame from a stranger, and says nothing about itself before the stranger has shown the deployment token.
Payloads are received straight into the buffer the tensors will be read from, and written from the tensors' own memory;
between processes of one machine large ones do not travel at all, but lie in shared memory (see shared.py). An end
that is silent is asked whether it is there, and is gone if it does not answer (see silence.py).
"""

import asyncio
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Protocol, cast

from cutwater.drivers.cork import Cork
from cutwater.drivers.greeting import GREETING_LIMIT, GREETING_TIMEOUT, Doorman, answer
from cutwater.drivers.refusals import FRAME, GREETING, SILENCE, TOKEN, Refusals
from cutwater.drivers.shared import SHARED, Borrowed, Lent, borrow, lend
from cutwater.drivers.silence import ACCEPTED, DIALLED, TURN, Silence
from cutwater.drivers.sockets import tune
from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import LinkId
from cutwater.errors import CutwaterError, FrameError, LinkLost, Refused
from cutwater.units import RequestId, Seconds
from cutwater.wire.codecs.base import Buffer
from cutwater.wire.frames import FrameReader, encode, placed
from cutwater.wire.message import Address, Failure, Hello, Message, Ping, Pong, Release, Share

FAREWELL: Seconds = 1.0
"""How long a peer that broke the rules may take to read why before its link ends."""
WRITE_BUFFER = 4 * 1024 * 1024
"""Bytes that may wait to leave before the machine is told that the link is paused."""
UNREAD = 1000
"""Most pings that are answered while a link takes no more bytes."""
JOINED = 32 * 1024
"""Bytes up to which copying buffers into one is cheaper than having the kernel gather them."""

_TALK = frozenset((Hello, Ping, Pong, Release, Share))
"""What ends say to each other, and not their owners."""
_ids = count(1)


class Owner(Protocol):
    """Who is told what happens on a link. Called on the event loop; must not block."""

    cork: Cork

    def opened(self, link: "Link") -> None:
        """Both ends have greeted each other."""
        ...

    def received(self, link: "Link", message: Message, buffers: list[memoryview]) -> None:
        """A whole frame has come; ``buffers`` stay valid for as long as they are referenced."""
        ...

    def lost(self, link: "Link", reason: str) -> None:
        """An opened link is gone. Said once; nothing is received on it afterwards."""
        ...

    def paused(self, link: "Link") -> None:
        """Too many bytes wait to leave."""
        ...

    def resumed(self, link: "Link") -> None:
        """Bytes leave again."""
        ...


class Link(asyncio.BufferedProtocol):
    """One end of a connection. Made by `dial` and `listen` (connect.py)."""

    def __init__(
        self,
        hello: Hello,
        owner: Owner,
        address: Address | None = None,
        memory: int = 0,
        admit: Doorman | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self.id = LinkId(next(_ids))
        self.address = address
        """Where it leads, if this end dialled; else None."""
        self.peer: Hello | None = None
        """What the other end said of itself, once it has."""
        self.received_bytes = 0
        self.sent_bytes = 0
        """Of whole frames, wherever their payloads lay."""
        self.shared_bytes = 0
        """Of these, what lay in shared memory."""
        self._hello = hello
        self._admit = admit
        self._refusals = refusals
        self._owner = owner
        self._cork = owner.cork
        self._reader = FrameReader(hello.max_frame if address else min(GREETING_LIMIT, hello.max_frame))
        self._memory = memory
        self._lent: Lent | None = None
        self._borrowed: Borrowed | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reason: CutwaterError | None = None
        self._closed = False
        self._deaf: memoryview | None = None
        """Where goes what a peer sends that has broken the rules; nobody looks at it."""
        self._outbox: list[Buffer] = []
        self._outgoing = 0
        self._pongs: dict[int, asyncio.Future[None]] = {}
        self._tokens = count(1)
        self.greeted: asyncio.Future[None] = self._loop.create_future()
        """Done when both have greeted; fails with Refused, FrameError or LinkLost."""
        self.greeted.add_done_callback(_retrieve)
        self._timer: asyncio.TimerHandle | None = None
        """Rings when the greeting has taken too long; later, at every turn."""
        self._silence = Silence(ACCEPTED if address is None else DIALLED)
        self._written = 0
        """Bytes given to the transport."""
        self._paused = False
        """Whether too many bytes wait to leave."""
        self._unread = 0
        """Pings answered since then."""

    @property
    def misbehaved(self) -> bool:
        """Whether the other end broke the rules after it had come in."""
        return self._deaf is not None

    # Sending

    def send(self, message: Message, buffers: Sequence[Buffer] = ()) -> None:
        """Write a frame without copying or joining its buffers, which must not change until it has left.

        Raises:
            FrameError: the frame is larger than the other end accepts; nothing was sent.
        """
        frame = encode(message, buffers)
        size = 0
        for buffer in frame:
            size += len(buffer)
        if self.peer is not None and size > self.peer.max_frame:
            raise FrameError(
                f"a {type(message).__name__} of {size} bytes does not go to {self.peer.name}, which accepts at most "
                f"{self.peer.max_frame} bytes in a frame; send less at once"
            )
        if self._transport is None or self._closed:
            return
        self.sent_bytes += size
        if size >= SHARED and self._lent is not None:
            place = self._lent.write(frame[1:])
            if place is not None:
                self.shared_bytes += size - len(frame[0])
                size = len(frame[0])
                frame = [placed(frame[0], place)]
        if not self._outbox:
            if self._cork.held:
                self._cork.links.append(self)
            else:
                self._loop.call_soon(self.flush)
        self._outbox += frame
        self._outgoing += size

    def flush(self) -> None:
        """Write what was sent in the meantime, in one go: a write costs more than most frames."""
        outbox, size = self._outbox, self._outgoing
        if self._transport is None or not outbox:
            return
        if self._borrowed is not None and (release := self._borrowed.release()) is not None:
            outbox += encode(release)
        self._outbox, self._outgoing = [], 0
        self._written += size
        if size <= JOINED:
            self._transport.write(b"".join(outbox))
        else:
            self._transport.writelines(outbox)

    async def ping(self, pad: int = 0) -> Seconds:
        """Seconds for a frame with ``pad`` bytes of payload to go and a word to come back. Raises LinkLost."""
        token = next(self._tokens)
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs[token] = pong
        began = time.perf_counter()
        if self._closed:
            raise self._loss()
        self.send(Ping(token, pad), (_padding(pad),) if pad else ())
        try:
            await pong
        finally:
            self._pongs.pop(token, None)
        return time.perf_counter() - began

    def close(self, reason: CutwaterError | None = None) -> None:
        """End the link once what was sent has left; ``reason`` is what its owner hears."""
        self._reason = self._reason or reason
        self._closed = True
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the link at once."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; the one who dialled greets."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        tune(transport.get_extra_info("socket"))
        self._timer = self._loop.call_later(GREETING_TIMEOUT, self._give_up)
        if self.address is not None:
            self.send(self._hello)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._deaf is not None:
            return self._deaf
        return self._reader.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come; every frame that is complete is handled."""
        self.received_bytes += nbytes
        self._silence.heard = True
        if self._deaf is not None:
            return
        try:
            with self._cork:
                for message, buffers in self._reader.buffer_updated(nbytes):
                    kind = type(message)
                    if kind in _TALK or self.peer is None:
                        self._talk(message)
                    else:
                        self._owner.received(self, message, buffers)
                    if self._closed:
                        return
        except FrameError as error:
            self._reason = self._reason or error
            self._object(error)

    def eof_received(self) -> bool:
        """The other end sends no more."""
        if not self._closed:
            try:
                self._reader.end()
            except FrameError as error:
                self._reason = self._reason or error
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._closed = True
        self._transport = None
        if self._lent is not None:
            self._lent.close()
            self._lent = None
        self._borrowed = self._reader.memory = None
        if self._timer is not None:
            self._timer.cancel()
        if self._reason is None and exc is not None:
            self._reason = LinkLost(f"the connection broke: {exc}")
        loss = self._loss()
        for pong in self._pongs.values():
            if not pong.done():
                pong.set_exception(LinkLost(str(loss)))
        if not self.greeted.done():
            self.greeted.set_exception(loss)
        elif self.peer is not None and self._deaf is None:
            self._owner.lost(self, str(loss))

    def pause_writing(self) -> None:
        """Too many bytes wait to leave."""
        self._paused = True
        if self.peer is not None and self._deaf is None:
            self._owner.paused(self)

    def resume_writing(self) -> None:
        """Enough of them have left."""
        self._paused, self._unread = False, 0
        if self.peer is not None and self._deaf is None:
            self._owner.resumed(self)

    # Greeting and pinging

    def _talk(self, message: Message) -> None:
        match message:
            case Hello() if self.peer is None:
                self._greet(message)
            case Ping() if self.peer is not None:
                self._answer_ping(message)
            case Pong() if self.peer is not None:
                pong = self._pongs.get(message.token)
                if pong is not None and not pong.done():
                    pong.set_result(None)
            case Release() if self._lent is not None:
                self._lent.released(message)
            case Share() if self.peer is not None and self._borrowed is None:
                self._borrow(message)
            case Failure() if self.peer is None and self.address is not None:
                self.close(Fault(message.kind, message.message, message.where).error())
            case _:
                raise FrameError(f"a {type(message).__name__} is not what comes now")

    def _answer_ping(self, ping: Ping) -> None:
        """At once, however many bytes wait to leave; but not for ever to somebody who pings and never reads."""
        self._unread += self._paused
        if self._unread > UNREAD:
            raise FrameError(f"{UNREAD} pings came while what was sent before them was not read")
        self.send(Pong(ping.token))

    def _greet(self, hello: Hello) -> None:
        try:
            self._hello = answer(hello, self._hello, self._admit)
        except CutwaterError as error:
            self._turn_away(error)
        else:
            self.peer = hello
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(TURN, self._turn)
            if self.address is None:
                self._reader = FrameReader(self._hello.max_frame)
                self.send(self._hello)
            self._lend()
            self._owner.opened(self)
            if not self.greeted.done():
                self.greeted.set_result(None)

    def _lend(self) -> None:
        """Offer the other end memory; it is used once that has opened it."""
        if self._memory and (lent := lend(self._memory)) is not None:
            self._lent = lent
            self.send(lent.offer)

    def _borrow(self, offer: Share) -> None:
        """Open what the other end offers; if that cannot be, it hears nothing and goes on sending payloads."""
        if not self._memory or self._transport is None:
            return
        self._borrowed = borrow(offer, self._transport.get_extra_info("socket"))
        if self._borrowed is not None:
            self._reader.memory = self._borrowed
            self.send(Release())

    def _turn_away(self, error: CutwaterError) -> None:
        if self.address is None:
            self._note(TOKEN if self._admit is None and isinstance(error, Refused) else GREETING, error)
            self._say(error)
        self.close(error)

    def _object(self, error: FrameError) -> None:
        """End the link; one who belongs, and may be in the middle of a large frame, is told why before."""
        self._note(FRAME, error)
        if self._transport is None or self.peer is None or self.address is not None or self._closed:
            self.abort()
            return
        self._say(error)
        self.flush()
        self._closed = True
        self._deaf = memoryview(bytearray(WRITE_BUFFER // 16))
        self._loop.call_later(FAREWELL, self._transport.abort)
        self._owner.lost(self, str(error))

    def _note(self, reason: str, error: CutwaterError) -> None:
        if self._refusals is not None:
            peer = "a stranger" if self.peer is None else self.peer.name
            self._refusals.note(reason, f"{peer}: {error}")

    def _say(self, error: CutwaterError) -> None:
        self.send(Failure(RequestId(0), 0, error.kind, str(error), self._hello.name, error.retryable))

    def _give_up(self) -> None:
        self._reason = self._reason or LinkLost(f"no greeting within {GREETING_TIMEOUT:g} s")
        if self.address is None:
            self._note(SILENCE, self._reason)
        self.abort()

    def _turn(self) -> None:
        """Ask an end that has been silent whether it is there, and let go of one that does not say so."""
        if self._transport is None:
            return
        asks = self._silence.turn(self._transport, self._written)
        if self._silence.over:
            self._reason = self._reason or LinkLost(f"silent for {self._silence.lasts:g} s")
            self.abort()
            return
        if asks and not self._closed:
            self.send(Ping(0))
        self._timer = self._loop.call_later(TURN, self._turn)

    def _loss(self) -> CutwaterError:
        return self._reason or LinkLost("the other end closed the connection")


@lru_cache(maxsize=4)
def _padding(size: int) -> bytes:
    return bytes(size)


def _retrieve(future: "asyncio.Future[None]") -> None:
    """A listener's link that never greets has nobody who awaits it."""
    if not future.cancelled():
        future.exception()
