"""Access: the fabric as a cluster's settings say how to reach it."""

from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.settings.settings import FabricSettings


def fabric_of(settings: FabricSettings, name: str, inbox: str = "_INBOX") -> NatsFabric:
    """The fabric of a cluster, not connected yet.

    Args:
        settings: where it is, and with what this process shows who it is.
        name: what the server calls this connection in its lists.
        inbox: first words of the subjects that answers come back on, where this process may not use the usual ones.
    """
    options = NatsOptions(
        servers=tuple(url.strip() for url in settings.url.split(",")),
        ca=settings.ca,
        certificate=settings.certificate,
        key=settings.key,
        seed=settings.seed,
        inbox=inbox,
        name=name,
    )
    return NatsFabric(options)
