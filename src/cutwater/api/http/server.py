"""HttpServer: an application on an address, in the event loop that runs already."""

import asyncio
import resource
import ssl
from email.utils import formatdate

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from cutwater.api.http.connection import Connection
from cutwater.api.http.options import HttpOptions
from cutwater.api.where import Where, claim
from cutwater.units import Seconds

ROUND: Seconds = 0.5
"""How often connections are looked after."""
SPARE_FILES = 1024
"""Files a process may have open besides its clients' connections."""
FAREWELL: Seconds = 1.0
"""How long requests that were cut off may take to end."""


class HttpServer:
    """Uvicorn's protocol without its server: signals, logs and the loop stay whose they are."""

    def __init__(self, app: ASGIApp, where: Where, options: HttpOptions, tls: ssl.SSLContext | None = None) -> None:
        """Nothing listens yet.

        Args:
            app: What answers.
            where: to listen.
            options: For how long clients are waited for.
            tls: The server's certificate; None: in the clear.
        """
        self._where = where
        self._options = options
        self._tls = tls
        self._state = ServerState()
        self._config = Config(
            app,
            loop="none",
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, round(options.idle_time)),
        )
        self._ended = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._round: asyncio.TimerHandle | None = None

    async def start(self) -> str:
        """Listen, once; returns where, such as "http://127.0.0.1:8000". Raises BadSetting where that cannot be."""
        assert self._server is None, "a server is started once"
        self._config.load()
        listening = claim("gateway.http", self._where)
        _allow_files(self._options.connections + SPARE_FILES)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=listening, ssl=self._tls, backlog=1024)
        self._look()
        host = f"[{self._where.host}]" if ":" in self._where.host else self._where.host
        return f"{'https' if self._tls else 'http'}://{host}:{listening.getsockname()[1]}"

    async def stop(self, grace: Seconds) -> None:
        """Take nobody in any more, finish what is open within ``grace``, cut off the rest.

        Harmless if not begun, or begun to stop already: whoever has less patience cuts off what is left.
        """
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections():
            connection.shutdown()
        try:
            async with asyncio.timeout(grace):
                while self._state.connections:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            for connection in self._connections():
                connection.transport.abort()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=FAREWELL)
        if self._round is not None:
            self._round.cancel()

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._state.connections)

    def _connection(self) -> Connection:
        return Connection(self._config, self._state, self._options, self._ended.set)

    def _connections(self) -> list[Connection]:
        return [each for each in self._state.connections if isinstance(each, Connection)]

    def _look(self) -> None:
        """Once in a while: the date that answers bear, and those whom nobody should wait for any longer."""
        loop = asyncio.get_running_loop()
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        now = loop.time()
        for connection in self._connections():
            connection.look(now)
        self._round = loop.call_later(ROUND, self._look)


def _allow_files(wanted: int) -> None:
    """Have so many files open, as far as the system lets this process decide: often the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
