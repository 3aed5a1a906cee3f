"""Silence: notices when the other end of a link says nothing any more, not even that it is there."""

import array
import asyncio
import fcntl
import socket
import sys
import termios

from cutwater.units import Seconds

TURN: Seconds = 0.5
"""Who has heard nothing for so long asks."""
DIALLED = 3
"""Turns without a word after which the one who dialled gives a link up: requests wait for answers there."""
ACCEPTED = 20
"""Turns after which the one who was dialled does. A client whose own program stands still for a while is not silent for
good, and a link that nobody uses costs nothing."""
BULK = 64 * 1024
"""With so many bytes on their way a word waits behind them, and that they get fewer is sign enough."""


class Silence:
    """Counts turns of the event loop's clock, not seconds: while this process stands still nobody else is silent."""

    __slots__ = ("_acknowledged", "_limit", "_missed", "_pending", "heard")

    def __init__(self, limit: int) -> None:
        self.heard = False
        """Something has come since the last turn; set by the link."""
        self._limit = limit
        self._missed = 0
        self._pending = 0
        self._acknowledged = 0

    def turn(self, transport: asyncio.Transport, written: int) -> bool:
        """A turn is over; whether to ask. ``written``: bytes given to ``transport`` so far."""
        if self.heard:
            self.heard, self._missed, self._pending = False, 0, 0
            return False
        pending = transport.get_write_buffer_size() + _unread(transport.get_extra_info("socket"))
        moves = self._pending >= BULK and written - pending > self._acknowledged
        self._pending, self._acknowledged = pending, written - pending
        self._missed = 0 if moves else self._missed + 1
        return True

    @property
    def over(self) -> bool:
        """Whether the other end counts as gone."""
        return self._missed >= self._limit

    @property
    def lasts(self) -> Seconds:
        """How long it has been silent, to the turn."""
        return self._missed * TURN


def _unread(sock: socket.socket) -> int:
    """Bytes the system has taken and the other end has not, where the system says so."""
    if sys.platform != "linux":
        return 0
    count = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    except OSError:  # the connection is going down
        return 0
    return count[0]
