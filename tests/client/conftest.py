"""A gateway for each test that wants one; and a look at what a test leaves behind."""

import threading
from collections.abc import Iterator

import psutil
import pytest
from client_bed import Gateway


@pytest.fixture(params=["http", "grpc"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    made = Gateway(request.param)
    yield made
    made.close()


def _left() -> tuple[set[str], int]:
    threads = {each.name for each in threading.enumerate() if each.name.startswith("cutwater")}
    return threads, len(psutil.Process().net_connections("tcp"))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After each test, once the gateway is gone, there is no thread and no socket more than before."""
    before = _left()
    yield
    assert _left() == before
