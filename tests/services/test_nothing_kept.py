"""What a request that failed has brought is let go at once: nobody waits for the garbage collector."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cutwater.drivers.connect import listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.gateway import LiveGateway
from cutwater.drivers.links import Link
from cutwater.engine.gateway.gateway import Gateway
from cutwater.errors import DeadlineExceeded, Refused
from cutwater.frameworks.base import Array
from cutwater.services.gateway.client import NativeClient
from cutwater.wire.message import PROTOCOL, Failure, Hello, Infer, Message

HELLO = Hello(PROTOCOL, "model:m", "gateway", 8, 2**20)


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def kept(ask: Callable[[dict[str, Array]], Awaitable[object]], error: type[Exception]) -> bool:
    """Whether what was asked is still there after the error was seen."""
    feeds: dict[str, Array] = {"x": np.zeros(1000, np.float32)}
    watched = weakref.ref(feeds["x"])
    raised = False
    try:
        await ask(feeds)
    except error:  # not pytest.raises, which would keep it
        raised = True
    del feeds
    await asyncio.sleep(0)  # the loop holds on to what woke this task until its next turn
    assert raised
    return watched() is not None


def test_a_gateway_keeps_nothing_of_a_request_that_took_too_long() -> None:
    async def story() -> bool:
        gateway = LiveGateway(Gateway(), HELLO)
        found = await kept(lambda feeds: gateway.ask(feeds, 0.01), DeadlineExceeded)
        gateway.close()
        return found

    assert not asyncio.run(story())


class Refusing:
    """A gateway that refuses everything."""

    def __init__(self) -> None:
        self.cork = Cork()

    def opened(self, link: Link) -> None:
        pass

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        assert isinstance(message, Infer)
        link.send(Failure(message.request, message.attempt, "Refused", "full", "gateway", True))

    def lost(self, link: Link, reason: str) -> None:
        pass

    def paused(self, link: Link) -> None:
        pass

    def resumed(self, link: Link) -> None:
        pass


def test_a_client_keeps_nothing_of_a_request_that_was_refused(tmp_path: Path) -> None:
    async def story() -> bool:
        listener = await listen(f"unix:{tmp_path}/gateway", HELLO, Refusing(), memory=0)
        async with NativeClient(listener.address, "m", shared_memory=0) as client:
            found = await kept(client.infer, Refused)
        listener.close()
        return found

    assert not asyncio.run(story())
