"""Transport: one way to a gateway; what the client needs of HTTP, of gRPC and of native links."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from cutwater.client.result import Listed, ModelInfo
from cutwater.frameworks.base import Array
from cutwater.units import Seconds
from cutwater.wire.message import Mark


class Call(NamedTuple):
    """One try of one request."""

    model: str
    feeds: Mapping[str, Array]
    """Input name -> array; an array of ``bytes`` objects is of the protocol's type BYTES."""
    outputs: tuple[str, ...]
    """Those that are wanted; empty: all."""
    timeout: Seconds
    """What is left of the request's time, as the gateway is told."""
    priority: int
    """Higher is sooner; the ordinary one is 0."""
    id: str
    """The same on each try, so that the gateway computes the request once; empty: none."""
    trace: str
    """W3C ``traceparent`` of whoever asks; empty: none."""


class Reply(NamedTuple):
    """The gateway's answer."""

    outputs: dict[str, Array]
    request: str = ""
    """What the gateway calls the request."""
    degraded: bool = False
    trace: str = ""
    """W3C ``traceparent`` under which it is recorded there; empty where it is not."""
    trail: tuple[Mark, ...] = ()


class Glance(NamedTuple):
    """What can be told of an answer without decoding its outputs."""

    request: str = ""
    """What the gateway calls the request."""
    degraded: bool = False
    timing: str = ""
    """As it says where its time went; `cutwater.client.timing.timing_of` reads it."""


Prepared = Callable[[], Awaitable[Glance]]
"""Sends one request and waits for its answer; raises what `Transport.infer` raises."""


class Transport(Protocol):
    """One way to one gateway, used in one event loop.

    Every method raises CutwaterError: what the gateway answers instead, or LinkLost where it did not answer. Cancelling
    a call withdraws it, down to the stages.
    """

    async def infer(self, call: Call) -> Reply:
        """The answer to one try."""
        ...

    def prepared(self, call: Call) -> Prepared:
        """A request encoded once, to be sent many times; its answers are waited for and not decoded."""
        ...

    async def ready(self) -> bool:
        """Whether the gateway says that it takes requests in."""
        ...

    async def models(self) -> list[Listed]:
        """All models it knows."""
        ...

    async def model(self, name: str) -> ModelInfo:
        """What a model takes and gives."""
        ...

    async def look(self, task: str, picture: bytes, wishes: Mapping[str, str], id: str) -> bytes | bytearray:
        """The JSON of `cutwater.api.http.task_words` for an encoded picture; ``task``: "classify" or "detect"."""
        ...

    async def close(self) -> None:
        """End all connections; requests under way fail with LinkLost."""
        ...
