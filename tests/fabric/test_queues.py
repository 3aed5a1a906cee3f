"""Work queues: each item once, again if it is not acknowledged, aside if it never is; the same over every fabric."""

import asyncio

import pytest
from fabric_bed import Bed, story


@story
async def test_each_item_goes_to_one_taker(bed: Bed, name: str) -> None:
    async with bed.fabric() as one, bed.fabric() as other:
        ours, theirs = await one.queue(name), await other.queue(name)
        for number in range(10):
            await ours.put(b"%d" % number)
        assert await ours.depth() == 10
        got = []
        for taker in (ours, theirs) * 5:
            item = await taker.take(5.0)
            assert item is not None
            assert item.attempt == 1
            await item.ack()
            got.append(item.data)
        assert sorted(got) == [b"%d" % number for number in range(10)]
        assert await theirs.depth() == 0


@story
async def test_a_taker_waits_for_an_item(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        queue = await fabric.queue(name)
        waiting = asyncio.create_task(queue.take(5.0))
        await bed.after(0)
        await queue.put(b"late")
        item = await waiting
        assert item is not None
        assert item.data == b"late"
        await item.ack()
        nothing = asyncio.create_task(queue.take(0.1))
        await bed.after(0.1)
        assert await nothing is None


@pytest.mark.slow
@story
async def test_an_item_that_is_not_acknowledged_comes_again(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        queue = await fabric.queue(name, ack_wait=0.3)
        await queue.put(b"x")
        first = await queue.take(5.0)
        assert first is not None
        waiting = asyncio.create_task(queue.take(5.0))
        await bed.after(0.3)
        second = await waiting
        assert second is not None
        assert (second.data, second.attempt) == (b"x", 2)
        await second.ack()
        assert await queue.depth() == 0


@pytest.mark.slow
@story
async def test_an_item_given_back_comes_again_after_its_delay(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        queue = await fabric.queue(name)
        await queue.put(b"x")
        item = await queue.take(5.0)
        assert item is not None
        await item.nack()
        item = await queue.take(5.0)
        assert item is not None
        assert item.attempt == 2
        await item.nack(delay=0.4)
        too_early = asyncio.create_task(queue.take(0.1))
        await bed.after(0.1)
        assert await too_early is None
        in_time = asyncio.create_task(queue.take(5.0))
        await bed.after(0.4)
        item = await in_time
        assert item is not None
        assert item.attempt == 3


@pytest.mark.slow
@story
async def test_whoever_is_still_at_it_keeps_the_item(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        queue = await fabric.queue(name, ack_wait=0.5)
        await queue.put(b"x")
        item = await queue.take(5.0)
        assert item is not None
        for _ in range(4):
            nothing = asyncio.create_task(queue.take(0.2))
            await bed.after(0.2)
            assert await nothing is None
            await item.working()
        await item.ack()
        assert await queue.depth() == 0


@story
async def test_an_item_that_always_fails_is_set_aside(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        queue = await fabric.queue(name, attempts=2)
        await queue.put(b"poison")
        for attempt in (1, 2):
            item = await queue.take(5.0)
            assert item is not None
            assert item.attempt == attempt
            await item.nack()
        nothing = asyncio.create_task(queue.take(0.1))
        await bed.after(0.1)
        assert await nothing is None
        assert await queue.dead() == [b"poison"]
        assert await queue.depth() == 0


@story
async def test_a_second_item_with_the_same_id_is_dropped(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        queue = await fabric.queue(name)
        await queue.put(b"first", id="a")
        await queue.put(b"second", id="a")
        await queue.put(b"third", id="b")
        assert await queue.depth() == 2


@pytest.mark.slow
@story
async def test_items_outlive_a_crash(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        back = asyncio.Event()
        fabric.on_change(lambda connected: back.set() if connected else None)
        queue = await fabric.queue(name, ack_wait=1.0)
        await queue.put(b"taken")
        await queue.put(b"waits")
        taken = await queue.take(5.0)
        assert taken is not None
        await bed.crash()
        await bed.restart()
        await back.wait()
        assert await queue.depth() == 2
        # A server that comes back may give out what was taken earlier than it would have, and count anew.
        got_back = set()
        for seconds in (0.0, 1.0):
            taking = asyncio.create_task(queue.take(5.0))
            await bed.after(seconds)
            got = await taking
            assert got is not None
            got_back.add(got.data)
            await got.ack()
        assert got_back == {b"taken", b"waits"}
        assert await queue.depth() == 0
