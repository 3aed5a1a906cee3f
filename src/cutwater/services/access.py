"""Access: the fabric as a cluster's settings say how to reach it."""

from cutwater.drivers.tls import TlsFiles
from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.fabric.permissions import inbox_of_file
from cutwater.settings.settings import FabricSettings
from cutwater.units import Seconds

FABRIC_RETRY: Seconds = 0.5
"""After how long a node or a gateway tries again what the fabric did not do."""


def fabric_of(settings: FabricSettings, name: str) -> NatsFabric:
    """The fabric of a cluster, not connected yet.

    Args:
        settings: where it is, and with what this process shows who it is.
        name: what the server calls this connection in its lists.

    Raises:
        BadFile: the seed cannot be read.
    """
    options = NatsOptions(
        servers=tuple(url.strip() for url in settings.url.split(",")),
        ca=settings.ca,
        certificate=settings.certificate,
        key=settings.key,
        seed=settings.seed,
        inbox="_INBOX" if settings.seed is None else inbox_of_file(settings.seed),
        name=name,
    )
    return NatsFabric(options)


def tls_of(settings: FabricSettings) -> TlsFiles | None:
    """Mutual TLS for links between machines, where this process has a certificate."""
    if settings.ca is None or settings.certificate is None or settings.key is None:
        return None
    revocations = "" if settings.revocations is None else str(settings.revocations)
    return TlsFiles(str(settings.ca), str(settings.certificate), str(settings.key), revocations)
