"""Access: what a client shows to a gateway, and how much it takes from it."""

from dataclasses import dataclass
from pathlib import Path

from cutwater.drivers.tls import TlsFiles


@dataclass(frozen=True)
class Access:
    """What a client shows, and how much it takes."""

    token: str = ""
    """What the gateway wants to see; empty: nothing."""
    ca: str | Path | None = None
    """PEM file of the authorities that https and grpcs trust; None: those of this machine."""
    tls: TlsFiles | None = None
    """Mutual TLS of the cluster, for a native link to another machine."""
    connections: int = 64
    """Most of them at a time, by HTTP; requests beyond wait for one."""
    largest: int = 256 * 2**20
    """Bytes of an answer that are accepted."""
