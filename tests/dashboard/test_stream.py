"""The stream: everything first, then what changes; who lags is sent everything anew, and nobody waits for him."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from cutwater.services.dashboard.stream import BEHIND, Changes, Stream


def read(event: bytes) -> tuple[str, Any]:
    kind, data, *_ = event.decode().splitlines()
    return kind.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))


async def hear(page: AsyncIterator[bytes]) -> tuple[str, Any]:
    return read(await anext(page))


def test_only_what_differs_is_a_change() -> None:
    changes = Changes()
    assert msgspec.json.encode(changes.see({"a": 1, "b": [2]})) == b'{"set":{"a":1,"b":[2]}}'
    assert changes.see({"a": 1, "b": [2]}) == {}
    assert msgspec.json.encode(changes.see({"b": [3]})) == b'{"set":{"b":[3]},"gone":["a"]}'
    assert msgspec.json.encode(changes.all()) == b'{"b":[3]}'


def test_a_page_hears_everything_and_then_each_change() -> None:
    async def story() -> None:
        stream = Stream(lambda: {"all": "there is"})
        page = stream.follow()
        assert await hear(page) == ("everything", {"all": "there is"})
        assert stream.opened.is_set()
        stream.tell("change", 1)
        stream.tell("change", 2)
        assert [await hear(page), await hear(page)] == [("change", 1), ("change", 2)]
        await page.aclose()  # type: ignore[attr-defined]
        assert not stream.opened.is_set()

    asyncio.run(story())


def test_pages_are_let_go_at_the_end() -> None:
    async def story() -> None:
        stream = Stream(lambda: "everything")
        page = stream.follow()
        await hear(page)
        waiting = asyncio.ensure_future(anext(page, b"over"))
        await asyncio.sleep(0)
        stream.end()
        assert await waiting == b"over"

    asyncio.run(story())


def test_a_page_that_lags_costs_no_memory_and_starts_anew() -> None:
    async def story() -> None:
        stream = Stream(lambda: "everything")
        slow, fast = stream.follow(), stream.follow()
        await hear(slow)
        await hear(fast)
        for number in range(10 * BEHIND):
            stream.tell("change", number)
            assert await hear(fast) == ("change", number)
        assert max(len(page.waiting) for page in stream._pages) <= BEHIND
        assert await hear(slow) == ("everything", "everything")
        stream.tell("change", "new")
        assert await hear(slow) == ("change", "new")

    asyncio.run(story())
