"""An end of a link that falls silent is noticed; one that is only slow, idle or busy is not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cutwater.drivers.connect import dial, listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.loop import run
from cutwater.units import RequestId
from cutwater.wire.frames import encode
from cutwater.wire.message import PROTOCOL, Answer, Hello, Message, TensorSpec

pytestmark = pytest.mark.slow

MIB = 2**20
HELLO = Hello(PROTOCOL, "d1", "stage-1", 4, 64 * MIB)


class End:
    """An owner that keeps what it is told of losses."""

    def __init__(self) -> None:
        self.cork = Cork()
        self.losses: asyncio.Queue[str] = asyncio.Queue()

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None: ...

    def lost(self, link: Link, reason: str) -> None:
        self.losses.put_nowait(reason)

    def paused(self, link: Link) -> None: ...

    def resumed(self, link: Link) -> None: ...


@asynccontextmanager
async def stranger(
    address: str, act: Callable[[asyncio.StreamReader], Awaitable[None]]
) -> AsyncIterator[tuple[Link, End]]:
    """A link to one who greets, does ``act``, and then neither reads nor says anything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(bytes(part) for part in encode(HELLO)))
        await act(reader)
        await asyncio.Event().wait()

    kind, _, path = address.partition(":")
    tasks = []

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(serve(reader, writer)))

    if kind == "unix":
        server = await asyncio.start_unix_server(begin, path)
    else:
        server = await asyncio.start_server(begin, "127.0.0.1", 0)
        address = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
    end = End()
    try:
        yield await dial(address, HELLO, end, memory=0), end
    finally:
        for task in tasks:
            task.cancel()
        server.close()


def in_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await story()

    run(limited())


@pytest.fixture(params=["unix", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s" if request.param == "unix" else "tcp"


async def nothing(reader: asyncio.StreamReader) -> None:
    """Read nothing at all."""


@pytest.mark.alone
def test_one_who_says_nothing_any_more_is_gone_within_three_seconds(address: str) -> None:
    async def story() -> None:
        async with stranger(address, nothing) as (_, end):
            began = time.monotonic()
            assert await end.losses.get() == "silent for 1.5 s"
            assert 1.4 < time.monotonic() - began < 3.0

    in_loop(story)


def test_one_who_takes_a_large_frame_slowly_is_there_for_as_long_as_it_takes_it(address: str) -> None:
    async def story() -> None:
        taken = 0

        async def take(reader: asyncio.StreamReader) -> None:
            nonlocal taken
            while taken < 6 * MIB:
                taken += len(await reader.read(MIB // 2))
                await asyncio.sleep(0.15)

        async with stranger(address, take) as (link, end):
            payload = bytes(10 * MIB)
            link.send(
                Answer(RequestId(1), 1, "plain", (TensorSpec("x", "uint8", (len(payload),), len(payload)),), ()),
                [payload],
            )
            assert (await end.losses.get()).startswith("silent for")
            assert taken >= 6 * MIB

    in_loop(story)


def test_two_live_ends_with_nothing_to_say_stay_together(tmp_path: Path) -> None:
    async def story() -> None:
        here, there = End(), End()
        listener = await listen(f"unix:{tmp_path}/s", HELLO, there)
        link = await dial(listener.address, HELLO, here)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await asyncio.wait(
                    [asyncio.create_task(end.losses.get()) for end in (here, there)],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                pytest.fail("an end was lost")
        link.close()
        listener.close()

    in_loop(story)


def test_who_stands_still_itself_does_not_blame_the_other(tmp_path: Path) -> None:
    async def story() -> None:
        here, there = End(), End()
        listener = await listen(f"unix:{tmp_path}/s", HELLO, there)
        link = await dial(listener.address, HELLO, here)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:  # the program around the link computes, and the event loop does not turn
            pass
        assert await link.ping() > 0
        assert here.losses.empty() and there.losses.empty()
        link.close()
        listener.close()

    in_loop(story)
