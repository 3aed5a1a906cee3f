"""HttpOptions: what a gateway lets HTTP clients do, and for how long."""

from dataclasses import dataclass

from cutwater.units import Seconds


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """Limits are about one request or one connection, but for ``max_held`` and ``connections``."""

    token: str = ""
    """What clients must show (``Authorization: Bearer``), but to ask whether the server lives; empty: nothing."""
    max_request: int = 256 * 2**20
    """Bytes of a request's body, packed or not."""
    max_json: int = 16 * 2**20
    """Bytes of a request's JSON. It takes many times that in memory, and time in which nobody else is answered; large
    tensors belong behind it, in binary."""
    max_held: int = 2**30
    """Bytes of all requests and answers together, until each answer is taken; who comes beyond is refused."""
    max_head: int = 32 * 2**10
    """Bytes of a request's line and headers."""
    head_time: Seconds = 10.0
    """For all of a request's headers."""
    body_time: Seconds = 10.0
    """For a request's body, and besides as long as it takes at ``body_rate``."""
    body_rate: float = 32 * 2**10
    """Bytes per second below which nobody is waited for."""
    idle_time: Seconds = 75.0
    """How long a connection may stay without a request."""
    write_time: Seconds = 30.0
    """How long a client may take none of its answer."""
    connections: int = 8192
    """Open at once; who comes beyond is refused."""
