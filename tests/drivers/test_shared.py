"""Payloads in shared memory: they come as sent, their places come back, and nobody reads where he should not."""

import asyncio
import gc
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cutwater.drivers.connect import dial, listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.loop import run
from cutwater.drivers.shared import SHARED, Borrowed, Lent, borrow, lend
from cutwater.errors import FrameError
from cutwater.units import RequestId
from cutwater.wire.arena import PAGE
from cutwater.wire.frames import Frame, FrameReader, encode, placed
from cutwater.wire.message import PROTOCOL, Answer, Credit, Hello, Message, Release, Share, TensorSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory without a name is Linux's")

MIB = 2**20


class Keeper:
    """An owner that keeps the very views it is given."""

    def __init__(self) -> None:
        self.cork = Cork()
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.frames: asyncio.Queue[tuple[Message, list[memoryview]]] = asyncio.Queue()
        self.losses: asyncio.Queue[str] = asyncio.Queue()

    def opened(self, link: Link) -> None:
        self.links.put_nowait(link)

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        self.frames.put_nowait((message, buffers))

    def lost(self, link: Link, reason: str) -> None:
        self.losses.put_nowait(reason)

    def paused(self, link: Link) -> None: ...

    def resumed(self, link: Link) -> None: ...


def answer(size: int) -> Answer:
    return Answer(RequestId(1), 1, "plain", (TensorSpec("x", "uint8", (size,), size),), ())


def in_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await story()

    run(limited())


@asynccontextmanager
async def pair(folder: Path, here: int, there: int) -> AsyncIterator[tuple[Link, Link, Keeper]]:
    """Both ends of a link, with so much memory each, after a word has gone there and back; and who is told there."""
    owner = Keeper()
    hello = Hello(PROTOCOL, "d", "end", 4, 16 * MIB)
    listener = await listen(f"unix:{folder}/s", hello, owner, memory=there)
    link = await dial(listener.address, hello, Keeper(), memory=here)
    await link.ping()
    try:
        yield link, await owner.links.get(), owner
    finally:
        link.close()
        listener.close()
        await owner.losses.get()


async def sent(link: Link, owner: Keeper, size: int, fill: int = 1) -> tuple[list[memoryview], bool]:
    """What arrives of ``size`` bytes, and whether they were shared."""
    before = link.shared_bytes
    link.send(answer(size), [bytes([fill]) * size])
    message, buffers = await owner.frames.get()
    assert message == answer(size)
    return buffers, link.shared_bytes == before + size


def test_a_thousand_payloads_pass_through_memory_for_two(tmp_path: Path) -> None:
    async def story() -> None:
        async with pair(tmp_path, 2 * MIB, 2 * MIB) as (link, back, owner):
            for k in range(1000):
                buffers, shared = await sent(link, owner, MIB - 5, fill=k % 256)
                assert buffers[0][0] == buffers[0][-1] == k % 256
                assert shared
                del buffers
                back.send(Credit(1))  # says, by the way, what is free again
                await back.ping()

    in_loop(story)


def test_without_room_payloads_travel_in_the_frame_and_what_is_held_stays_as_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with pair(tmp_path, 2 * MIB, 2 * MIB) as (link, back, owner):
            held = [await sent(link, owner, MIB, fill=k) for k in range(4)]
            assert [shared for _, shared in held] == [True, True, False, False]
            assert [bytes(buffers[0]) for buffers, _ in held] == [bytes([k]) * MIB for k in range(4)]
            assert not (await sent(link, owner, 3 * MIB))[1]
            del held[0]
            await back.ping()
            assert (await sent(link, owner, MIB))[1]

    in_loop(story)


@pytest.mark.parametrize(("here", "there"), [(0, MIB), (MIB, 0), (0, 0)])
def test_one_end_without_shared_memory_is_enough_for_none(tmp_path: Path, here: int, there: int) -> None:
    async def story() -> None:
        async with pair(tmp_path, here, there) as (link, _, owner):
            buffers, shared = await sent(link, owner, MIB // 2)
            assert (bytes(buffers[0]), shared) == (b"\1" * (MIB // 2), False)

    in_loop(story)


def test_small_frames_are_not_shared(tmp_path: Path) -> None:
    async def story() -> None:
        async with pair(tmp_path, MIB, MIB) as (link, _, owner):
            assert not (await sent(link, owner, SHARED // 2))[1]
            assert (await sent(link, owner, SHARED))[1]

    in_loop(story)


def test_views_outlive_the_link_and_no_descriptor_stays(tmp_path: Path) -> None:
    async def story() -> None:
        async with pair(tmp_path, MIB, MIB) as (link, _, owner):
            assert memories() == 6  # of each direction the one to be opened, and each end's mapping
            buffers, shared = await sent(link, owner, MIB // 2, fill=9)
            assert shared
        assert bytes(buffers[0]) == bytes([9]) * (MIB // 2)
        assert memories() == 1
        del buffers
        assert memories() == 0

    in_loop(story)


def memories() -> int:
    """How many descriptors of shared memory this process has open."""
    gc.collect()
    return sum("memfd:cutwater" in os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir())


def test_a_place_that_was_never_lent_ends_the_link_it_is_given_back_by(tmp_path: Path) -> None:
    async def story() -> None:
        async with pair(tmp_path, MIB, MIB) as (link, _, owner):
            link.send(Release((PAGE,)))
            assert "is not in use" in await owner.losses.get()
            owner.losses.put_nowait("seen")

    in_loop(story)


@pytest.fixture
def memory() -> Iterator[tuple[Lent, Borrowed]]:
    lent = lend(MIB)
    ours, theirs = socket.socketpair()
    assert lent is not None
    borrowed = borrow(lent.offer, ours)
    assert borrowed is not None
    lent.released(Release())
    ours.close()
    theirs.close()
    yield lent, borrowed
    lent.close()


@pytest.mark.parametrize("place", [-(2**63), -PAGE, -2, 1, PAGE - 64, MIB - PAGE, MIB, 2**62])
def test_a_payload_beyond_or_beside_the_places_is_refused(memory: tuple[Lent, Borrowed], place: int) -> None:
    reader = FrameReader(8 * MIB)
    reader.memory = memory[1]
    with pytest.raises(FrameError, match="no place in 1048576 bytes"):
        receive(reader, placed(encode(answer(2 * PAGE), [bytes(2 * PAGE)])[0], place))


def test_places_at_random_show_what_was_written_or_are_refused(memory: tuple[Lent, Borrowed]) -> None:
    chance = random.Random(3)
    lent, borrowed = memory
    whole = chance.randbytes(MIB)
    assert lent.write([whole]) == 0
    reached = set()
    for _ in range(2000):
        size, place = chance.randrange(1, 2 * MIB), chance.choice([-PAGE, 0, PAGE, 17, 2**40]) * chance.randrange(300)
        reader = FrameReader(8 * MIB)
        reader.memory = borrowed
        try:
            ((_, buffers),) = receive(reader, placed(encode(answer(size), [bytes(size)])[0], place))
        except FrameError:
            reached.add("refused")
        else:
            reached.add("shown")
            assert bytes(buffers[0]) == whole[place : place + size]
            del buffers
            assert borrowed.release() == Release((place,))
    assert reached == {"refused", "shown"}


def test_a_payload_in_memory_that_was_never_opened_is_refused() -> None:
    with pytest.raises(FrameError, match="has not opened"):
        receive(FrameReader(8 * MIB), placed(encode(answer(10), [bytes(10)])[0], 0))


def test_a_place_in_use_cannot_be_named_again(memory: tuple[Lent, Borrowed]) -> None:
    _, borrowed = memory
    view = borrowed.view(0, 10)
    with pytest.raises(FrameError, match="while it is in use"):
        borrowed.view(0, 10)
    part = view[2:4]
    del view
    assert borrowed.release() is None
    del part
    assert borrowed.release() == Release((0,))
    assert len(borrowed.view(0, 10)) == 10


def test_what_is_read_cannot_be_written(memory: tuple[Lent, Borrowed]) -> None:
    lent, borrowed = memory
    place = lent.write([b"abc", b"de"])
    assert place is not None
    view = borrowed.view(place, 5)
    assert bytes(view) == b"abcde"
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 0


def test_only_memory_that_cannot_shrink_is_opened(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    (tmp_path / "file").write_bytes(bytes(PAGE))
    os.mkfifo(tmp_path / "fifo")
    opened = [
        os.open(tmp_path / "file", os.O_RDONLY),
        os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK),
        os.memfd_create("open", os.MFD_ALLOW_SEALING),
    ]
    os.ftruncate(opened[-1], PAGE)
    for descriptor in (*opened, 10**6, 2**63):
        assert borrow(Share(descriptor, PAGE), ours) is None
    lent = lend(PAGE)
    assert lent is not None
    for nbytes in (0, 2 * PAGE, 2**63):
        assert borrow(Share(lent.offer.descriptor, nbytes), ours) is None
    lent.close()
    for descriptor in opened:
        os.close(descriptor)
    ours.close()
    theirs.close()


def receive(reader: FrameReader, stream: bytes) -> list[Frame]:
    buffer = reader.get_buffer()
    buffer[: len(stream)] = stream
    return list(reader.buffer_updated(len(stream)))
