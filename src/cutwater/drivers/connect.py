"""How links are made: one end dials, the other listens."""

import asyncio
from pathlib import Path

from cutwater.drivers.greeting import GREETING_TIMEOUT, Doorman
from cutwater.drivers.links import Link, Owner
from cutwater.drivers.refusals import Refusals
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.sockets import split_address
from cutwater.drivers.tls import TlsFiles
from cutwater.errors import InputError, LinkLost
from cutwater.wire.message import Address, Hello


class Listener:
    """Where links come in. Made by `listen`."""

    def __init__(self, server: asyncio.AbstractServer, address: Address) -> None:
        self._server = server
        self.address = address
        """Where it listens, with the port the system chose."""

    def close(self) -> None:
        """Take no more links, and remove the socket file; links that are open stay open."""
        self._server.close()
        kind, _, where = self.address.partition(":")
        if kind == "unix":
            Path(where).unlink(missing_ok=True)


async def listen(
    address: Address,
    hello: Hello,
    owner: Owner,
    tls: TlsFiles | None = None,
    memory: int = MEMORY,
    admit: Doorman | None = None,
    refusals: Refusals | None = None,
) -> Listener:
    """Accept links at ``address``: "unix:/path" or "tcp:host:port", where port 0 lets the system choose.

    ``memory`` is how many bytes each end of a Unix socket may share with the other; 0: none, and none is borrowed.
    ``admit`` decides who comes in; without it, whoever shows the deployment of ``hello``. Who does not is noted in
    ``refusals``.

    Raises:
        InputError: the address cannot be read, or not be listened at.
    """
    loop = asyncio.get_running_loop()
    kind, host, port = split_address(address)

    def accept() -> Link:
        return Link(hello, owner, memory=memory if kind == "unix" else 0, admit=admit, refusals=refusals)

    try:
        if kind == "unix":
            return Listener(await loop.create_unix_server(accept, host), address)
        context = tls.server(refusals) if tls else None
        limit = GREETING_TIMEOUT if tls else None
        server = await loop.create_server(accept, host, port, ssl=context, ssl_handshake_timeout=limit)
    except OSError as error:
        raise InputError(f"cannot listen at {address}: {error}") from error
    return Listener(server, f"tcp:{host}:{server.sockets[0].getsockname()[1]}")


async def dial(address: Address, hello: Hello, owner: Owner, tls: TlsFiles | None = None, memory: int = MEMORY) -> Link:
    """A greeted link to ``address``; ``memory`` as for `listen`.

    Raises:
        LinkLost: nobody is there, or not in time.
        Refused: the other end belongs to another deployment or speaks another protocol.
        CutwaterError: why else the other end's doorman turns this one away.
        FrameError: whoever is there does not speak frames.
        InputError: the address cannot be read.
    """
    loop = asyncio.get_running_loop()
    kind, host, port = split_address(address)

    def make() -> Link:
        return Link(hello, owner, address, memory if kind == "unix" else 0)

    link: Link | None = None
    try:
        async with asyncio.timeout(GREETING_TIMEOUT):
            if kind == "unix":
                _, link = await loop.create_unix_connection(make, host)
            else:
                context = tls.client() if tls else None
                _, link = await loop.create_connection(make, host, port, ssl=context)
            await link.greeted
    except TimeoutError as error:
        if link is not None and link.peer is not None:
            return link  # greeted at the last moment, and its owner was told
        if link is not None:
            link.abort()
        raise LinkLost(f"{address} did not answer within {GREETING_TIMEOUT:g} s") from error
    except (OSError, ValueError, OverflowError) as error:  # the last two: a host or port that cannot be
        raise LinkLost(f"no connection to {address}: {error}") from error
    except asyncio.CancelledError:
        if link is not None:
            link.abort()
        raise
    return link
