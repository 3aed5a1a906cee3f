"""GrpcOptions: what a gateway lets gRPC clients do, and for how long."""

from dataclasses import dataclass
from pathlib import Path

from cutwater.units import Seconds


@dataclass(frozen=True, kw_only=True)
class GrpcOptions:
    """Limits are about one request or one connection, but for ``max_held`` and ``calls``."""

    token: str = ""
    """What clients must show (``authorization: Bearer``), but to ask for the server's health; empty: nothing."""
    certificate: Path | None = None
    """With which the gateway shows who it is (PEM); none: no TLS."""
    key: Path | None = None
    """The certificate's key (PEM)."""
    authority: Path | None = None
    """Certificate of the authority that has signed those of clients (PEM); none: clients need none."""
    max_request: int = 256 * 2**20
    """Bytes of one message."""
    max_held: int = 2**30
    """Bytes of all requests and answers together, until each answer is taken; who comes beyond is refused."""
    window: int = 64
    """Requests of one stream that are computed at once; the stream is read no further while so many are open."""
    calls: int = 4096
    """Open at once, a stream counting as one; who comes beyond is refused."""
    idle_time: Seconds = 300.0
    """How long a connection may stay without a call."""
    silence: Seconds = 60.0
    """How long a connection may be silent before it is asked for a word."""
    patience: Seconds = 20.0
    """How long it may then take to answer."""
    ping_interval: Seconds = 5.0
    """How often clients may ask for a word themselves; who does so more often is sent away."""
    health_interval: Seconds = 0.5
    """How often those who watch a model's health are told of a change."""
