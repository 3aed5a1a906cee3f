"""Publish and subscribe, request and serve: the same over every fabric."""

import asyncio

import pytest
from fabric_bed import Bed, story

from cutwater.errors import FabricLost, Forbidden, NoReply, StageFailed
from cutwater.fabric.base import Message


@story
async def test_whoever_listens_is_told_in_order(bed: Bed, name: str) -> None:
    async with bed.fabric() as teller, bed.fabric() as listener:
        heard: asyncio.Queue[Message] = asyncio.Queue()
        await listener.subscribe(f"{name}.*.beat", heard.put)
        for number in range(3):
            await teller.publish(f"{name}.a.beat", b"%d" % number)
        await teller.publish(f"{name}.a.b.beat", b"two words, not one")
        await teller.publish(f"{name}.b.beat", b"")
        assert [await heard.get() for _ in range(4)] == [
            Message(f"{name}.a.beat", b"0"),
            Message(f"{name}.a.beat", b"1"),
            Message(f"{name}.a.beat", b"2"),
            Message(f"{name}.b.beat", b""),
        ]


@story
async def test_of_a_group_one_is_told(bed: Bed, name: str) -> None:
    async with bed.fabric() as teller, bed.fabric() as one, bed.fabric() as other:
        heard: asyncio.Queue[Message] = asyncio.Queue()
        await one.subscribe(name, heard.put, group="g")
        await other.subscribe(name, heard.put, group="g")
        for number in range(20):
            await teller.publish(name, b"%d" % number)
        got = sorted([int((await heard.get()).data) for _ in range(20)])
        assert got == list(range(20))
        await bed.after(0)
        assert heard.empty()


@story
async def test_a_closed_subscription_hears_nothing(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        heard: asyncio.Queue[Message] = asyncio.Queue()
        closed = await fabric.subscribe(name, heard.put)
        await closed.close()
        await closed.close()
        still: asyncio.Queue[Message] = asyncio.Queue()
        await fabric.subscribe(name, still.put)
        await fabric.publish(name, b"x")
        assert (await still.get()).data == b"x"
        assert heard.empty()


@story
async def test_a_handler_that_fails_is_told_the_next_message(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def told(message: Message) -> None:
            if message.data == b"bad":
                raise ValueError("cannot read this")
            await heard.put(message.data)

        await fabric.subscribe(name, told)
        await fabric.publish(name, b"bad")
        await fabric.publish(name, b"good")
        assert await heard.get() == b"good"


@story
async def test_a_request_is_answered(bed: Bed, name: str) -> None:
    async with bed.fabric() as asker, bed.fabric() as server:

        async def double(message: Message) -> bytes:
            return message.data * 2

        await server.serve(name, double)
        assert await asker.request(name, b"ab") == b"abab"
        assert await asyncio.gather(*(asker.request(name, b"%d" % i) for i in range(9))) == [
            b"%d%d" % (i, i) for i in range(9)
        ]


@story
async def test_requests_are_served_side_by_side(bed: Bed, name: str) -> None:
    async with bed.fabric() as asker, bed.fabric() as server:
        second_is_here = asyncio.Event()

        async def handler(message: Message) -> bytes:
            if message.data == b"first":
                await second_is_here.wait()
            second_is_here.set()
            return message.data

        await server.serve(name, handler)
        assert await asyncio.gather(asker.request(name, b"first"), asker.request(name, b"second")) == [
            b"first",
            b"second",
        ]


@story
async def test_an_error_travels_back_with_its_type(bed: Bed, name: str) -> None:
    async with bed.fabric() as asker, bed.fabric() as server:

        async def refuse(message: Message) -> bytes:
            raise (Forbidden if message.data else StageFailed)("not for\nyou — ever")

        await server.serve(name, refuse)
        with pytest.raises(Forbidden, match="not for\nyou — ever"):
            await asker.request(name, b"x")
        with pytest.raises(StageFailed):
            await asker.request(name, b"")


@story
async def test_nobody_answers(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        with pytest.raises(NoReply, match=f"nobody answers {name}"):
            await fabric.request(name, b"")


@story
async def test_an_answer_that_takes_too_long(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:

        async def never(message: Message) -> bytes:
            await asyncio.Event().wait()
            return b""

        await fabric.serve(name, never)
        asked = asyncio.create_task(fabric.request(name, b"", timeout=0.1))
        await bed.after(0.1)
        with pytest.raises(NoReply, match=r"within 0\.1 s"):
            await asked


@story
async def test_a_connection_is_lost_and_comes_back_and_all_goes_on(bed: Bed, name: str) -> None:
    async with bed.fabric() as one, bed.fabric() as other:
        heard: asyncio.Queue[Message] = asyncio.Queue()
        changes: asyncio.Queue[bool] = asyncio.Queue()
        theirs: asyncio.Queue[bool] = asyncio.Queue()
        asked = asyncio.Event()

        async def echo(message: Message) -> bytes:
            if message.data == b"hang":
                asked.set()
                await asyncio.Event().wait()
            return message.data

        await one.subscribe(f"{name}.news", heard.put)
        await one.serve(f"{name}.echo", echo)
        one.on_change(changes.put_nowait)
        other.on_change(theirs.put_nowait)
        hanging = asyncio.create_task(other.request(f"{name}.echo", b"hang", timeout=60.0))
        await asked.wait()

        await bed.crash()
        assert (await changes.get(), await theirs.get()) == (False, False)
        assert (one.connected, other.connected) == (False, False)
        with pytest.raises(FabricLost):
            await hanging
        with pytest.raises(FabricLost):
            await other.publish(f"{name}.news", b"lost")
        with pytest.raises(FabricLost):
            await other.request(f"{name}.echo", b"lost")

        await bed.restart()
        assert (await changes.get(), await theirs.get()) == (True, True)
        assert one.connected
        await other.publish(f"{name}.news", b"again")
        assert (await heard.get()).data == b"again"
        assert await other.request(f"{name}.echo", b"again") == b"again"


@story
async def test_connecting_to_nothing_is_refused_at_once(bed: Bed) -> None:
    lost = bed.fabric()
    async with bed.fabric():
        await bed.crash()
        try:
            with pytest.raises(FabricLost):
                await lost.__aenter__()
        finally:
            await bed.restart()
