"""A client notes the answers that it was not waiting for."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cutwater.drivers.connect import listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.services.gateway.client import NativeClient
from cutwater.services.workers.outcome import Outcome
from cutwater.units import RequestId
from cutwater.wire.message import PROTOCOL, Answer, Cancel, Hello, Infer, Message
from cutwater.wire.tensors import pack

FEEDS = {"x": np.zeros(3, np.float32)}
HELLO = Hello(PROTOCOL, "model:m", "gateway", 8, 2**20)


class Gateway:
    """Answers a message as many times as it is told to."""

    def __init__(self, times: Callable[[Infer | Cancel], int]) -> None:
        self.cork = Cork()
        self._times = times

    def opened(self, link: Link) -> None:
        pass

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        assert isinstance(message, Infer | Cancel)
        for _ in range(self._times(message)):
            specs, packed = pack([("y", "float32", FEEDS["x"])], "plain")
            link.send(Answer(message.request, message.attempt, "plain", specs, ()), packed)

    def lost(self, link: Link, reason: str) -> None:
        pass

    def paused(self, link: Link) -> None:
        pass

    def resumed(self, link: Link) -> None:
        pass


def repeated(
    folder: Path, times: Callable[[Infer | Cancel], int], story: Callable[[asyncio.Task[Outcome]], object]
) -> int:
    """What a client has noted at the end of a story; its last answer comes after all others."""

    async def tell() -> int:
        listener = await listen(f"unix:{folder}/gateway", HELLO, Gateway(times), memory=0)
        async with NativeClient(listener.address, "m", shared_memory=0) as client:
            first = asyncio.create_task(client.infer(FEEDS))
            await asyncio.sleep(0)
            story(first)
            await asyncio.gather(first, return_exceptions=True)
            await client.infer(FEEDS)
            found = client.repeated
        listener.close()
        return found

    return asyncio.run(tell())


def test_a_second_answer_is_noted(tmp_path: Path) -> None:
    assert repeated(tmp_path, lambda message: 2 if message.request == 1 else 1, lambda first: None) == 1


def test_one_answer_each_is_as_it_should_be(tmp_path: Path) -> None:
    assert repeated(tmp_path, lambda message: 1, lambda first: None) == 0


def test_an_answer_that_crosses_its_cancellation_is_no_repetition(tmp_path: Path) -> None:
    def answers(message: Infer | Cancel) -> int:
        return int(isinstance(message, Cancel) or message.request == RequestId(2))

    assert repeated(tmp_path, answers, lambda first: first.cancel()) == 0
