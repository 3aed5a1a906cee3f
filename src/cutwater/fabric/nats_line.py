"""A line to a NATS server that is made anew for as long as it is wanted.

One connection of the client library serves until it ends; then another one takes its place (the library's own way of
reconnecting keeps requests waiting that nobody will answer any more, and gives up for good on some errors).
"""

import asyncio
import logging
import random
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from cutwater.errors import FabricError, FabricLost, Forbidden
from cutwater.fabric.base import TIMEOUT
from cutwater.units import Seconds

DIAL_TIMEOUT: Seconds = 3.0
"""For the server to accept a connection."""
HUNG_UP = (BrokenPipeError, ConnectionResetError, nats.errors.UnexpectedEOF)
"""How it looks when the server hangs up on whoever is just coming in."""
NO_WORD = "empty response from server"
"""The same before the server's first word, as the library puts it."""
COMINGS = 5
PAUSE: Seconds = 0.2
"""So many times, and with such pauses, one who was hung up on comes in again before he gives up."""
HANG_UP_TIMEOUT: Seconds = 0.5
"""For what waits to leave, when the line is closed."""
PING: Seconds = 1.0
"""Between two signs of life; two that stay unanswered end the connection."""
FIRST_WAIT: Seconds = 0.05
LONGEST_WAIT: Seconds = 2.0
"""Between two attempts to connect: doubling from the first to the longest, each shortened at random by up to half."""

_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)
"""What the server says of a subject; the library has put it in lower case."""

_log = logging.getLogger(__name__)


class NatsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a NATS server, and as whom."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    """Its URLs; several if it is a cluster of its own."""
    ca: Path | None = None
    """Certificate authority that signed the server's certificate (PEM). With it the connection is TLS."""
    certificate: Path | None = None
    """This process' own certificate (PEM)."""
    key: Path | None = None
    """Its private key (PEM)."""
    seed: Path | None = None
    """File with the seed of this user's NKey."""
    inbox: str = "_INBOX"
    """First words of the subjects that answers to this process come back on; permissions may demand one of its own."""
    name: str = "cutwater"
    """What the server calls this connection in its lists."""

    def context(self) -> ssl.SSLContext | None:
        """The TLS context, read from the files anew; None: plain TCP."""
        if self.ca is None:
            return None
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


class Denied(nats.errors.Error):
    """The server does not let this user publish on a subject."""


class Connection(Client):
    """One connection: ends when it is lost, and everything that waits for an answer on it with it."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        self.trouble: Exception | None = None
        self.refused: set[str] = set()
        """Patterns, in lower case, that this user may not subscribe to."""
        self._waiting: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._answers = ""

    async def dial(self, options: NatsOptions, ping: Seconds) -> None:
        """Connect, once; ``ping`` seconds pass between two signs of life."""
        await self.connect(
            list(options.servers),
            allow_reconnect=False,
            # With 1 each server is tried twice; there is no value for once.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=DIAL_TIMEOUT,  # type: ignore[arg-type]
            ping_interval=ping,  # type: ignore[arg-type]
            max_outstanding_pings=2,
            error_cb=self._troubled,
            tls=options.context(),
            nkeys_seed=None if options.seed is None else str(options.seed),
            inbox_prefix=options.inbox,
            name=options.name,
        )
        self._answers = self.new_inbox()
        await self.subscribe(f"{self._answers}.*", cb=self._answered)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = TIMEOUT,  # noqa: ASYNC109
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """The answer; unlike the library's, it fails at once when the connection ends or the subject is denied."""
        token = self._nuid.next().decode()
        answer = await self._ask(token, subject, payload, f"{self._answers}.{token}", timeout, headers)
        if answer.headers and answer.headers.get("Status") == "503" and not answer.data:
            raise nats.errors.NoRespondersError
        return answer

    async def pull(self, subject: str, payload: bytes, timeout: Seconds) -> Msg:  # noqa: ASYNC109
        """Like `request`, where the answer is a message of a stream: it keeps its own subject on the way."""
        inbox = self.new_inbox()

        async def answered(message: Msg) -> None:
            self._settle(inbox, message)

        subscription = await self.subscribe(inbox, cb=answered)
        try:
            return await self._ask(inbox, subject, payload, inbox, timeout, None)
        finally:
            if self.is_connected:
                await subscription.unsubscribe()

    async def round_trip(self) -> None:
        """Until the server has dealt with everything sent so far; the library's flush overtakes what still waits."""
        while self.pending_data_size and self.is_connected:  # noqa: ASYNC110 - the library's flusher tells nobody
            await asyncio.sleep(0)
        await self.flush()

    async def _ask(
        self, token: str, subject: str, payload: bytes, reply: str, limit: Seconds, headers: dict[str, Any] | None
    ) -> Msg:
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (subject.lower(), future)
        try:
            await self.publish(subject, payload, reply=reply, headers=headers)
            async with asyncio.timeout(limit):
                return await future
        except TimeoutError:
            raise nats.errors.TimeoutError from None
        finally:
            del self._waiting[token]

    async def _answered(self, message: Msg) -> None:
        self._settle(message.subject.rpartition(".")[2], message)

    def _settle(self, token: str, message: Msg) -> None:
        _, future = self._waiting.get(token, ("", None))
        if future is not None and not future.done():
            future.set_result(message)

    async def _troubled(self, error: Exception) -> None:
        self.trouble = error
        violation = _VIOLATION.search(str(error))
        if violation is None:
            return
        _log.warning("%s", error)
        act, subject = violation.groups()
        if act == "subscription":
            self.refused.add(subject)
        for asked, future in self._waiting.values():
            if act == "publish" and asked == subject and not future.done():
                future.set_exception(Denied(str(error)))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        # The library's own callback is left out when the last flush fails.
        try:
            await super()._close(status, do_cbs)
        finally:
            self._end()

    def _end(self) -> None:
        self.ended.set()
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(nats.errors.ConnectionClosedError())


@contextmanager
def plainly(what: str) -> Iterator[None]:
    """Say in our own types what the library raises while it does ``what``."""
    try:
        yield
    except Denied as error:
        raise Forbidden(f"{what}: this user may not: {error}") from error
    except nats.errors.MaxPayloadError as error:
        raise FabricError(f"{what}: larger than the server takes (max_payload); store it as a blob") from error
    except (nats.errors.NoRespondersError, nats.js.errors.NoStreamResponseError) as error:
        raise FabricLost(f"{what}: the server has no such stream, or JetStream is not ready") from error
    except nats.js.errors.ServiceUnavailableError as error:
        raise FabricLost(f"{what}: JetStream is not available: {error.description}") from error
    except nats.js.errors.Error as error:
        raise FabricError(f"{what}: {error}") from error
    except (nats.errors.TimeoutError, TimeoutError) as error:
        raise FabricLost(f"{what}: not confirmed in time") from error
    except (nats.errors.Error, OSError) as error:
        raise FabricLost(f"{what}: the connection was lost: {error}") from error


class Line:
    """Keeps one Connection; when it ends, the next."""

    def __init__(self, options: NatsOptions, ping: Seconds = PING) -> None:
        self._options = options
        self._ping = ping
        self._connection: Connection | None = None
        self._usable = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.failure: BaseException | None = None
        """What ended the keeping itself: there will be no other connection."""
        self.on_failure: Callable[[], None] = lambda: None
        self.on_connection: list[Callable[[Connection], Awaitable[None]]] = []
        """Each sets up again, on a new connection, what was on the last one."""
        self.listeners: list[Callable[[bool], None]] = []

    async def open(self) -> None:
        """Connect. Raises FabricLost, Forbidden."""
        self._closed, self.failure = False, None
        self._connection = await self._come_in()
        self._usable.set()
        self._task = asyncio.create_task(self._keep(), name=f"line {self._options.name}")
        self._task.add_done_callback(self._kept)

    async def close(self) -> None:
        """Send what waits to leave, and hang up; harmless if closed."""
        self._usable.clear()
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        connection, self._connection = self._connection, None
        if connection is not None:
            await _hang_up(connection)

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._usable.is_set() and self.failure is None

    @property
    def connection(self) -> Connection:
        """The connection of right now. Raises FabricLost."""
        self._check()
        if not self._usable.is_set() or self._connection is None or not self._connection.is_connected:
            raise FabricLost(f"not connected to {', '.join(self._options.servers)}")
        return self._connection

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream over the connection of right now. Raises FabricLost."""
        return JetStreamContext(self.connection, timeout=TIMEOUT)

    async def back(self) -> Connection:
        """The connection, as soon as there is one. Raises FabricLost if there never will be."""
        while not self.connected:
            await self._usable.wait()
            self._check()
        assert self._connection is not None
        return self._connection

    async def _come_in(self) -> Connection:
        """The first connection.

        A server that reads its users anew hangs up on whoever is just coming in, or says that it does not know him:
        he has not said yet who he is.
        """
        unknown = False
        for _ in range(COMINGS - 1):
            try:
                return await self._dial()
            except Forbidden:
                if unknown:
                    raise
                unknown = True
            except FabricLost as error:
                if not (isinstance(error.__cause__, HUNG_UP) or NO_WORD in str(error.__cause__)):
                    raise
            await asyncio.sleep(PAUSE)
        return await self._dial()

    async def _dial(self) -> Connection:
        connection = Connection()
        try:
            await connection.dial(self._options, self._ping)
        except (nats.errors.Error, OSError) as error:
            await _hang_up(connection)
            cause = error if not isinstance(error, nats.errors.NoServersError) else connection.trouble or error
            where = ", ".join(self._options.servers)
            if "authorization" in str(cause).lower() or "authentication" in str(cause).lower():
                raise Forbidden(f"{where} does not know this user ({cause}); check the invitation") from error
            raise FabricLost(f"cannot connect to {where}: {cause}") from cause
        return connection

    async def _keep(self) -> None:
        # The library swallows some cancellations, so being closed is looked at too.
        while not self._closed:
            assert self._connection is not None
            await self._connection.ended.wait()
            self._usable.clear()
            self._tell(False)
            self._connection = await self._redial()
            if not self._closed and self._connection is not None:
                self._usable.set()
                self._tell(True)

    def _check(self) -> None:
        if self.failure is not None:
            where = ", ".join(self._options.servers)
            raise FabricLost(f"{where} is not dialled any more, because of {self.failure!r}; start this process again")

    def _kept(self, task: "asyncio.Task[None]") -> None:
        """Nobody waits for the task: an end that nobody wanted has to make itself heard."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.critical("%s: the line is lost for good", self._options.name, exc_info=error)
        self.failure = error
        self._usable.set()  # whoever waits shall hear of it
        self.on_failure()

    async def _redial(self) -> Connection | None:
        """The next connection; None once the line is closed."""
        wait, said = FIRST_WAIT, ""
        while not self._closed:
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)
            try:
                connection = await self._dial()
            except FabricError as error:
                if error.kind != said:  # and no more, unless something else is the matter
                    said = error.kind
                    _log.info("%s: %s", self._options.name, error)
                continue
            try:
                for renew in self.on_connection:
                    await renew(connection)
            except (nats.errors.Error, OSError) as error:
                _log.info("%s: the new connection was lost at once: %s", self._options.name, error)
                await _hang_up(connection)
                continue
            if said:
                _log.info("%s: connected again", self._options.name)
            return connection
        return None

    def _tell(self, connected: bool) -> None:
        for told in tuple(self.listeners):
            told(connected)


async def _hang_up(connection: Connection) -> None:
    """Send what waits to leave and close; the library waits for ever on a connection whose TLS handshake failed."""
    try:
        async with asyncio.timeout(HANG_UP_TIMEOUT):
            await connection.close()
    except TimeoutError:
        _log.debug("a connection did not close in time")
