"""Pictures take turns beside the event loop; one whose turn would come too late is refused before it is decoded."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from cutwater.api.pictures import Studio
from cutwater.errors import Refused


class Easel:
    """Work that is done when it is told so, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.begun = threading.Event()
        self.done = threading.Event()
        self.count = 0

    def take(self) -> None:
        """A second."""
        self.now += 1.0

    def work(self) -> int:
        self.begun.set()
        assert self.done.wait(10)
        self.count += 1
        return self.count


def told(story: Callable[[Studio, Easel], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(10):
            easel = Easel()
            await story(Studio(1, lambda: easel.now), easel)

    asyncio.run(in_time())


def test_it_is_done_in_the_order_of_coming() -> None:
    async def story(studio: Studio, easel: Easel) -> None:
        easel.done.set()
        assert await asyncio.gather(*(studio.aside(easel.work) for _ in range(5))) == [1, 2, 3, 4, 5]

    told(story)


def test_one_that_would_be_done_too_late_is_refused_at_once_and_told_when_to_come_again() -> None:
    async def story(studio: Studio, easel: Easel) -> None:
        await studio.aside(easel.take)  # so long does one take
        assert studio.wait() == 1.0
        first = asyncio.create_task(studio.aside(easel.work, until=easel.now))  # nobody is before it
        await asyncio.to_thread(easel.begun.wait, 10)
        with pytest.raises(Refused, match=r"in 2\.25 s, behind 1 others") as caught:
            await studio.aside(easel.work, until=easel.now + 2.2)
        assert caught.value.retry_after == 2.25
        patient = asyncio.create_task(studio.aside(easel.work, until=easel.now + 2.3))
        await asyncio.sleep(0)
        easel.done.set()
        assert (await first, await patient) == (1, 2)

    told(story)


def test_one_whose_turn_comes_too_late_is_not_begun() -> None:
    async def story(studio: Studio, easel: Easel) -> None:
        first = asyncio.create_task(studio.aside(easel.work))
        await asyncio.to_thread(easel.begun.wait, 10)
        second = asyncio.create_task(studio.aside(easel.work, until=100.5))  # nobody knows yet what one takes
        await asyncio.sleep(0)
        easel.now = 101.0
        easel.done.set()
        assert await first == 1
        with pytest.raises(Refused, match="too late"):
            await second
        assert easel.count == 1

    told(story)


def test_being_cancelled_while_it_waits_withdraws_it() -> None:
    async def story(studio: Studio, easel: Easel) -> None:
        first = asyncio.create_task(studio.aside(easel.work))
        await asyncio.to_thread(easel.begun.wait, 10)
        second = asyncio.create_task(studio.aside(easel.work))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait((second,))
        easel.done.set()
        assert second.cancelled() and await first == 1
        assert await studio.aside(easel.work) == 2

    told(story)
