"""Reading what a client sends, without ever holding more than was agreed."""

from starlette.types import Receive

from cutwater.api.http.coding import DENSEST, unpack
from cutwater.api.http.options import HttpOptions
from cutwater.errors import InputError, Refused, TooLarge


class Gone(Exception):
    """The client has hung up; nobody is there to hear of it."""


class Room:
    """Bytes of all bodies a server holds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, nbytes: int) -> None:
        """Raises Refused where there is no room."""
        if self.held + nbytes > self.limit:
            raise Refused(f"requests of {self.held} bytes are under way, and {self.limit} are taken; ask again later")
        self.held += nbytes


class Body:
    """One request's body: a context that gives the room it took back at its end."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes], options: HttpOptions, room: Room) -> None:
        self._receive = receive
        self._headers = headers
        self._limit = options.max_request
        self._room = room
        self._taken = 0
        self.came = 0
        """Bytes, as they arrived."""

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *exc: object) -> None:
        self._room.held -= self._taken

    async def read(self) -> bytes | bytearray:
        """All of it, unpacked. Raises TooLarge, Refused, Unsupported, InputError; Gone.

        Room is taken for what has arrived, not for what is announced: who only announces keeps nobody out.
        """
        self._check(self._announced())
        message = await self._receive()
        found: bytes | bytearray = message.get("body", b"")
        if message.get("more_body", False):
            found = bytearray(found)
            while message.get("more_body", False):
                self._hold(len(found))
                message = await self._receive()
                found += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise Gone
        self._hold(len(found))
        self.came = len(found)
        coding = self._headers.get(b"content-encoding")
        return found if coding is None else await self._unpack(bytes(found), coding)

    async def _unpack(self, packed: bytes, coding: bytes) -> bytes:
        """Room is taken for the worst that it can unpack to."""
        most = min(self._limit, DENSEST * (1 + len(packed)))
        self._hold(self.came + most)
        found = await unpack(packed, coding, most)
        self._hold(self.came + len(found))
        return found

    def _announced(self) -> int:
        text = self._headers.get(b"content-length", b"0")
        if not text.isdigit() or len(text) > 18:
            raise InputError(f"Content-Length is a number of bytes, not {text[:40].decode('latin-1')!r}")
        return int(text)

    def _check(self, nbytes: int) -> None:
        if nbytes > self._limit:
            raise TooLarge(f"a request of {nbytes} bytes is over the {self._limit} that are taken")

    def _hold(self, nbytes: int) -> None:
        self._check(max(0, nbytes - self.came))
        if nbytes > self._taken:
            self._room.take(nbytes - self._taken)
        else:
            self._room.held -= self._taken - nbytes
        self._taken = nbytes
