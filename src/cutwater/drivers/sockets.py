"""Addresses, and what the sockets behind them are told."""

import socket

from cutwater.errors import InputError
from cutwater.units import Seconds
from cutwater.wire.message import Address

UNIX_BUFFER = 2 * 1024 * 1024
"""Bytes asked for each direction of a Unix socket; the system may allow less."""
SILENCE: Seconds = 10.0
"""How long sent bytes may stay unacknowledged before the operating system gives a TCP connection up."""


def split_address(address: Address) -> tuple[str, str, int]:
    """("unix", path, 0) or ("tcp", host, port). Raises InputError."""
    kind, _, where = address.partition(":")
    if kind == "unix" and where:
        return kind, where, 0
    host, _, port = where.rpartition(":")
    if kind == "tcp" and host and port.isdigit():
        return kind, host.strip("[]"), int(port)
    raise InputError(f"{address!r} is not an address; write it like 'unix:/run/a.sock' or 'tcp:127.0.0.1:0'")


def tune(sock: socket.socket) -> None:
    """Set buffers, delay and patience of a connected socket, as its family has them."""
    if sock.family == socket.AF_UNIX:
        # TCP's buffers grow by themselves; these do not, and a frame that fits is one write, one wake-up, one read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_BUFFER)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE * 1000))
