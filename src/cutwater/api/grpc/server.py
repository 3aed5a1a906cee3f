"""GrpcServer: the Open Inference Protocol over gRPC, in the running event loop."""

import asyncio
import ssl

from cutwater.api.backend import Backend
from cutwater.api.grpc.connection import Connection
from cutwater.api.grpc.opened import Shared
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.service import Service
from cutwater.api.http.body import Room
from cutwater.api.where import Where, claim
from cutwater.drivers.live import clock
from cutwater.errors import BadSetting, DeadlineExceeded, Refused
from cutwater.units import Seconds

ROUND: Seconds = 0.5
"""How often connections are looked after."""


class GrpcServer:
    """Inference, health and reflection at one address."""

    def __init__(self, backend: Backend, where: Where, options: GrpcOptions) -> None:
        self._where = where
        self._options = options
        room = Room(options.max_held)
        self._shared = Shared(options, room, Service(backend, options, room).route)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._rounds: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Take calls in; returns "host:port" with the port that was taken. Raises BadSetting where none is free."""
        secure = _secure(self._options)
        claimed = claim("grpc", self._where)
        port = claimed.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._shared, self._connections), sock=claimed, ssl=secure, backlog=1024
        )
        self._rounds = asyncio.create_task(self._look_after())
        host = f"[{self._where.host}]" if ":" in self._where.host else self._where.host
        return f"{host}:{port}"

    async def stop(self, grace: Seconds) -> None:
        """Take nothing in any more; what is under way has so long to end, and is withdrawn then."""
        if self._server is None or self._rounds is None:
            return
        self._server.close()
        self._shared.ending = True
        for connection in tuple(self._connections):
            connection.say_goodbye()
        until = clock() + grace
        while (open_ := self._tasks()) and (left := until - clock()) > 0:
            await asyncio.wait(open_, timeout=left)
        for connection in tuple(self._connections):
            connection.withdraw(Refused("the gateway is ending; ask another one, or again later"))
        if open_ := self._tasks():
            await asyncio.wait(open_)
        for connection in tuple(self._connections):
            connection.close()
        self._rounds.cancel()

    def _tasks(self) -> set[asyncio.Task[None]]:
        calls = (opened for connection in self._connections for opened in connection.calls.values())
        return {opened.task for opened in calls if opened.task is not None and not opened.task.done()}

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(ROUND)
            now = clock()
            for connection in tuple(self._connections):
                self._see(connection, now)

    def _see(self, connection: Connection, now: Seconds) -> None:
        """Hang up on who is not there any more, or only pretends to be."""
        options = self._options
        if (connection.stalled is not None and now - connection.stalled > options.write_time) or (
            not connection.greeted and now - connection.opened > options.head_time
        ):
            connection.abort()
        elif not connection.calls and now - connection.idle_since > options.idle_time:
            connection.say_goodbye()
            connection.close()
        elif connection.asked is not None:
            if now - connection.asked > options.patience:
                connection.abort()
        elif now - connection.heard > options.silence:
            connection.ask_for_a_word()
        for opened in tuple(connection.calls.values()):
            if opened.done is not None:
                if now - opened.done > options.write_time:
                    connection.give_up(opened)
            elif opened.task is None:
                slow = options.body_time + opened.inbox.held / options.body_rate
                if now - opened.began > slow:
                    connection.fail(opened, DeadlineExceeded("the message takes too long to come"))


def _secure(options: GrpcOptions) -> ssl.SSLContext | None:
    if options.certificate is None or options.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    file = options.certificate
    try:
        context.load_cert_chain(options.certificate, options.key)
        if options.authority is not None:
            file = options.authority
            context.load_verify_locations(options.authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise BadSetting(f"grpc: {file} cannot be read: {error}") from error
    return context
