"""Apart: the nodes of a local cluster each in a network namespace of its own, so that one can be cut off from the rest.

Everything else, the drill included, is at the switch in the middle; so whoever uses this enters that namespace.
"""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from cutwater.errors import Unprivileged
from cutwater.lab.bed import SWITCH, Bed, Device
from cutwater.services.cluster.cluster import Venue
from cutwater.settings.settings import Settings

_NETWORK = 0x40000000
"""CLONE_NEWNET: what of a process setns(2) moves."""


@contextmanager
def nodes_apart(count: int) -> Iterator[Bed]:
    """A bed with the devices node-1, node-2, ...; this thread, and what it starts, is at its switch.

    Raises:
        Unprivileged: this process may not, or a program is missing.
    """
    with (
        Bed([Device(f"node-{k + 1}") for k in range(count)]) as bed,
        _inside(Path("/run/netns", bed.namespace(SWITCH))),
    ):
        yield bed


def venues(bed: Bed) -> Mapping[str, Venue]:
    """Where each node runs."""
    return {name: Venue(partial(_command, bed, name), partial(_there, bed, name)) for name in bed.devices}


def apart(settings: Settings, bed: Bed) -> Settings:
    """With a fabric that listens where all devices reach it, which then talks TLS only."""
    fabric = msgspec.structs.replace(settings.fabric, listen=bed.address(SWITCH))
    return msgspec.structs.replace(settings, fabric=fabric)


def _command(bed: Bed, name: str, command: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(bed.command(name, command))


def _there(bed: Bed, name: str, settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, node=msgspec.structs.replace(settings.node, listen=bed.address(name)))


@contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    """This thread is in another network namespace; one that it starts in there stays there."""
    with Path("/proc/thread-self/ns/net").open("rb") as here, namespace.open("rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NETWORK):
        number = ctypes.get_errno()
        raise Unprivileged(f"cannot enter a network namespace: {os.strerror(number)}; run this as root")
