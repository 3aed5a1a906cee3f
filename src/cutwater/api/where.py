"""Where a server listens: "host:port", or "host:port+" for the next port that is free."""

import socket
from typing import NamedTuple

from cutwater.errors import BadSetting

TRIES = 100
"""Ports tried from the first one on, where the next will do."""


class Where(NamedTuple):
    """A place to listen."""

    host: str
    port: int
    """0: any that is free."""
    or_next: bool = False
    """The next free one will do."""

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    def ports(self) -> range:
        """Those to be tried, in order."""
        return range(self.port, min(self.port + (TRIES if self.or_next and self.port else 1), 2**16))


def parse_where(name: str, text: str) -> Where:
    """Of a setting called ``name``. Raises BadSetting."""
    host, colon, port = text.removesuffix("+").rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) >= 2**16:
        raise BadSetting(f"{name}: {text!r} is no address; give host:port, such as 127.0.0.1:8000, or 127.0.0.1:8000+")
    return Where(host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port), text.endswith("+"))


def claim(name: str, where: Where) -> socket.socket:
    """A socket that listens there. Raises BadSetting where it is taken, or not this machine's."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    refused: OSError | None = None
    for port in where.ports():
        # Asyncio's own loop sends small frames at once only on sockets that say which protocol they are.
        claimed = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            claimed.bind((where.host, port))
            claimed.listen(1024)
            claimed.setblocking(False)
        except OSError as error:
            claimed.close()
            refused = error
            continue
        return claimed
    raise BadSetting(f"{name}: cannot listen on {where.host}:{where.port}: {refused}; choose another port")
