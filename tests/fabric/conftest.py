"""A fabric of each kind; the server of the real one is started once."""

import asyncio
import signal
from collections.abc import Iterator
from itertools import count

import pytest
from fabric_bed import Bed, MemoryBed, NatsBed

from cutwater.fabric.server import ServerOptions


@pytest.fixture(scope="session")
def nats_bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsBed]:
    bed = NatsBed(ServerOptions(home=tmp_path_factory.mktemp("nats")))
    asyncio.run(bed.restart())
    yield bed
    bed.end(signal.SIGTERM)


@pytest.fixture(params=["memory", "nats"])
def bed(request: pytest.FixtureRequest) -> Bed:
    found: Bed = MemoryBed() if request.param == "memory" else request.getfixturevalue("nats_bed")
    return found


_numbers = count()


@pytest.fixture
def name() -> str:
    """A word that no other test uses for its subjects, buckets and queues."""
    return f"t{next(_numbers)}"
