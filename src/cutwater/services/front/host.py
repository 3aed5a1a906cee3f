"""Host: whoever answers for one model, whichever door its clients come in by."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from cutwater.api.backend import Ask
from cutwater.engine.facts.gateways import RouteTable
from cutwater.errors import CutwaterError
from cutwater.frameworks.base import Array
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Mark


class Reply(NamedTuple):
    """What came of a request."""

    request: RequestId
    """The gateway's name for it."""
    outputs: Mapping[str, Array]
    trail: tuple[Mark, ...]
    fault: CutwaterError | None = None
    """Why there are no outputs."""
    degraded: bool = False
    """The gateway answered by itself."""
    waited: Seconds = 0.0
    """At the gateway, until it was sent to its first stage."""


class Host(Protocol):
    """Who answers for one model."""

    table: RouteTable
    """What it was told last."""

    @property
    def able(self) -> bool:
        """Whether requests can be answered now, be it by the gateway itself."""
        ...

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        """See `cutwater.api.backend.Backend.refusal`."""
        ...

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        """See `cutwater.api.backend.Backend.refused`."""
        ...

    async def ask(self, ask: Ask) -> Reply:
        """The outputs, or why there are none, within the request's time."""
        ...

    def refuse(self, why: str) -> None:
        """A client broke the rules, and was told ``why``; count it."""
        ...
