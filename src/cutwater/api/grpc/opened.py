"""What a server knows of the calls that are open: each one's state, and what all of them share."""

import asyncio
from collections.abc import Callable, Mapping

from cutwater.api.grpc.call import Call, Method
from cutwater.api.grpc.framing import Framed, Inbox
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.http.body import Room
from cutwater.drivers.live import clock
from cutwater.errors import InputError, Refused
from cutwater.units import Seconds

Route = Callable[[str, Mapping[bytes, bytes]], Method]
"""Path and metadata of a call -> who answers it. Raises CutwaterError."""


class Shared:
    """What all connections of a server share."""

    def __init__(self, options: GrpcOptions, room: Room, route: Route) -> None:
        self.options = options
        self.room = room
        self.calls = 0
        """Open now."""
        self.ending = False
        self._route = route

    def admit(self, metadata: Mapping[bytes, bytes]) -> Method:
        """Who answers a call. Raises CutwaterError."""
        if not metadata.get(b"content-type", b"").startswith(b"application/grpc"):
            raise InputError("this is a gRPC server: content-type is application/grpc")
        if self.ending:
            raise Refused("the gateway is ending; ask another one, or again later")
        if self.calls >= self.options.calls:
            error = Refused(f"{self.calls} calls are open, and no more are taken; ask again later")
            error.status = 429
            raise error
        return self._route(metadata.get(b":path", b"").decode("latin-1"), metadata)


class Opened:
    """One call, from its first header until the client has all of the answer."""

    def __init__(self, stream: int, method: Method, metadata: Mapping[bytes, bytes], client: str, limit: int) -> None:
        """Raises InputError where its deadline is none."""
        self.stream = stream
        """HTTP/2's number for it."""
        self.method = method
        self.call = Call(metadata, client)
        self.inbox = Inbox(limit)
        self.message: Framed | None = None
        """The one that came, until it is answered, where the method takes one."""
        self.complete = False
        """The client has said all it will."""
        self.headed = False
        """The answer has begun."""
        self.done: Seconds | None = None
        """Since when all of the answer waits to be taken."""
        self.began = clock()
        self.task: asyncio.Task[None] | None = None
        self.late: asyncio.TimerHandle | None = None
        """At the call's deadline."""
        self.unread = 0
        """Bytes that count against the client's window."""
        self.held = 0
        """Bytes that room was taken for."""
