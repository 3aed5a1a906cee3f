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


@pytest.fixture(params=["http", "grpc", "native"])
def any_gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    made = Gateway(request.param)
    yield made
    made.close()


def _sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, once the gateway is gone, there is no thread of a client, and no socket more than before.

    But for gRPC, whose library closes its sockets in threads of its own, a little later.
    """
    before = _sockets()
    yield
    assert not [each for each in threading.enumerate() if each.name == "cutwater-client"]
    assert "[grpc]" in request.node.name or _sockets() <= before
