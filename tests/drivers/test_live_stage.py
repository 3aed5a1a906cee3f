"""A stage whose failures say more than a frame can hold still says that it failed, and goes on."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from cutwater.drivers.compute import Done, Job
from cutwater.drivers.connect import dial
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.loop import run
from cutwater.drivers.stage import WORDS, LiveStage
from cutwater.engine.fault import Fault
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.vocabulary import Computed, Result
from cutwater.units import RequestId, StageId
from cutwater.wire.message import PROTOCOL, Credit, Failure, Hello, Infer, Message, TensorSpec

STAGE = StageId("stage-1")


class Failing:
    """In place of the thread that computes: every request fails, with many words."""

    def __init__(self, done: Done) -> None:
        self._done = done

    def put(self, job: Job) -> None:
        fault = Fault("StageFailed", "no " * 5000, STAGE)
        results = tuple(Result(key, fault=fault) for key, _, _ in job.requests)
        nothing: Mapping[Any, Any] = {}
        asyncio.get_running_loop().call_soon(self._done, Computed(job.batch, 0.0, 0.0, results), nothing)

    def close(self) -> None: ...


class End:
    """An owner that keeps the failures it hears of."""

    def __init__(self) -> None:
        self.cork = Cork()
        self.failures: asyncio.Queue[Failure] = asyncio.Queue()

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        if isinstance(message, Failure):
            self.failures.put_nowait(message)
        else:
            assert isinstance(message, Credit)

    def lost(self, link: Link, reason: str) -> None: ...

    def paused(self, link: Link) -> None: ...

    def resumed(self, link: Link) -> None: ...


def in_loop(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await story()

    run(limited())


@pytest.mark.parametrize(("most", "heard"), [(2**20, 15_000), (4_000, WORDS)])
def test_a_failure_with_too_many_words_is_cut_short(most: int, heard: int) -> None:
    async def story() -> None:
        machine = StageWorker(STAGE, StageOptions())
        stage = LiveStage(machine, Hello(PROTOCOL, "d", STAGE, 4, 2**20), Failing)  # type: ignore[arg-type]
        end = End()
        link = await dial(await stage.listen("tcp:127.0.0.1:0"), Hello(PROTOCOL, "d", "client", 4, most), end)
        for number in (1, 2):
            asked = Infer(RequestId(number), 1, 10.0, (), "plain", "plain", (TensorSpec("x", "uint8", (4,), 4),))
            link.send(asked, [bytes(4)])
            failure = await end.failures.get()
            assert (failure.request, failure.kind, len(failure.message)) == (number, "StageFailed", heard)
        stage.close()

    in_loop(story)
