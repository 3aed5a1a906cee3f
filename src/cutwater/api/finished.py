"""Finished: what is left of a request when it is over; statistics, metrics, spans and charts are folds over these."""

from collections.abc import Callable
from typing import NamedTuple

from cutwater.units import Seconds
from cutwater.wire.message import Mark

WITHDRAWN = "Withdrawn"
"""What stands for the kind of error of a request whose client went."""


class Finished(NamedTuple):
    """One request that was answered, failed, was refused or withdrawn."""

    model: str
    request: str
    """What the gateway calls it."""
    id: str
    """What its client calls it; empty: nothing."""
    client: str
    door: str
    """"http", "grpc" or "native"."""
    at: float
    """Unix time of asking."""
    began: Seconds
    """When it was asked, on the gateway's monotonic clock."""
    ended: Seconds
    trail: tuple[Mark, ...]
    """What each stage did with it, each on its own clock; empty where it was not answered."""
    fault: str = ""
    """Kind of the error; empty: answered."""
    why: str = ""
    """Its message."""
    degraded: bool = False
    came: int = 0
    """Bytes asked."""
    went: int = 0
    """Bytes answered."""
    trace: str = ""
    """W3C ``traceparent`` of whoever asked."""
    span: str = ""
    """W3C ``traceparent`` under which it is recorded."""
    launched: Seconds = 0.0
    """When the attempt that was answered was launched, on the gateway's clock: until then it waited; 0: not known."""
    fed: int = 0
    """Bytes of its inputs as arrays, before any codec; 0: not known."""


Observer = Callable[[Finished], None]
"""Told of every request that ends, in the event loop: it must be quick, and must not raise."""
