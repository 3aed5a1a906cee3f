"""GrpcOptions: what a gateway lets gRPC clients do, and for how long."""

from dataclasses import dataclass
from pathlib import Path

from cutwater.units import Seconds


@dataclass(frozen=True, kw_only=True)
class GrpcOptions:
    """Limits are about one request, call or connection, but for ``max_held``, ``calls`` and ``connections``."""

    token: str = ""
    """What clients must show (``authorization: Bearer``), but to ask for the server's health; empty: nothing."""
    certificate: Path | None = None
    """With which the gateway shows who it is (PEM); none: no TLS."""
    key: Path | None = None
    """The certificate's key (PEM)."""
    authority: Path | None = None
    """Certificate of the authority that has signed those of clients (PEM); none: clients need none."""
    max_request: int = 256 * 2**20
    """Bytes of one message, packed or not."""
    max_held: int = 2**30
    """Bytes of all requests together, from the first of them to the answer; who comes beyond is refused."""
    max_head: int = 32 * 2**10
    """Bytes of a call's metadata."""
    window: int = 64
    """Requests of one stream that are computed at once; the stream is read no further while so many are open."""
    calls: int = 4096
    """Open at once, a stream counting as one; who comes beyond is refused."""
    connections: int = 8192
    """Open at once; who comes beyond is hung up on."""
    head_time: Seconds = 10.0
    """How long a connection may take to begin to speak HTTP/2."""
    body_time: Seconds = 10.0
    """For the one message of a call, and besides as long as it takes at ``body_rate``."""
    body_rate: float = 32 * 2**10
    """Bytes per second below which nobody is waited for."""
    idle_time: Seconds = 300.0
    """How long a connection may stay without a call."""
    write_time: Seconds = 30.0
    """How long a client may take none of what it is sent."""
    silence: Seconds = 60.0
    """How long a connection may be silent before it is asked for a word."""
    patience: Seconds = 20.0
    """How long it may then take to answer."""
    health_interval: Seconds = 0.5
    """How often those who watch a model's health are told of a change."""
