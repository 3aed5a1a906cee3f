"""Holding what a client sends and is sent, never more than was agreed."""

import numpy as np
from starlette.types import Receive

from cutwater.api.datatypes import Buffer
from cutwater.api.http.coding import DENSEST, unpack
from cutwater.api.http.options import HttpOptions
from cutwater.api.room import Room
from cutwater.errors import InputError, TooLarge

AHEAD = 16 * 2**20
"""Bytes up to which room for an announced body is made at once."""


class Gone(Exception):
    """The client has hung up; nobody is there to hear of it."""


class Body:
    """One request's body, and its answer's: a context that gives the room it took back at its end."""

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

    async def read(self) -> Buffer:
        """All of it, unpacked. Raises TooLarge, Refused, Unsupported, InputError; Gone.

        Room is taken for what has arrived, not for what is announced: who only announces keeps nobody out.
        """
        announced = self._announced()
        self._check(announced)
        message = await self._receive()
        found: Buffer = message.get("body", b"")
        if message.get("more_body", False):
            found = await self._rest(found, announced)
        elif message["type"] == "http.disconnect":
            raise Gone
        self._hold(len(found))
        self.came = len(found)
        coding = self._headers.get(b"content-encoding")
        return found if coding is None else await self._unpack(bytes(found), coding)

    async def _rest(self, first: Buffer, announced: int) -> Buffer:
        """What comes in several parts. Memory that nobody has written to is only an address, and may be had early."""
        early = len(first) < announced <= AHEAD
        found = np.empty(announced, np.uint8).data if early else bytearray(first)
        at, more = len(first), True
        if early:
            found[:at] = first
        while more:
            self._hold(at)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part = message.get("body", b"")
            found[at : at + len(part)] = part
            at, more = at + len(part), message.get("more_body", False)
        return found[:at] if at < len(found) else found

    async def _unpack(self, packed: bytes, coding: bytes) -> bytes:
        """Room is taken for the worst that it can unpack to."""
        most = min(self._limit, DENSEST * (1 + len(packed)))
        self._hold(self.came + most)
        found = await unpack(packed, coding, most)
        self._hold(self.came + len(found))
        return found

    def hold_answer(self, nbytes: int) -> None:
        """Take room for the answer as well, until the client has taken it. Raises Refused where there is none."""
        self._room.take(nbytes)
        self._taken += nbytes

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
