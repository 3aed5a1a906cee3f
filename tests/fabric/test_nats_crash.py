"""A NATS server that is killed in the middle of everything, and comes back on the same store."""

import asyncio
import shutil
import signal
from pathlib import Path

import pytest
from fabric_bed import NatsBed, names, story
from nats.aio.msg import Msg

from cutwater.errors import BadBlob, FabricError, FabricLost
from cutwater.fabric.nats import FAULT
from cutwater.fabric.server import ServerOptions


@pytest.mark.slow
@story
async def test_a_fetch_goes_on_after_the_server_was_killed(nats_bed: NatsBed, name: str, tmp_path: Path) -> None:
    async with nats_bed.fabric() as fabric:
        data = name.encode() * 4_000_000
        ref = await fabric.blobs.put(data)
        begun = asyncio.Event()
        seen: list[int] = []

        def progress(done: int, total: int) -> None:
            seen.append(done)
            begun.set()

        fetching = asyncio.create_task(fabric.blobs.fetch(ref.hash, tmp_path / "it", progress))
        await begun.wait()
        await nats_bed.crash()
        assert not fetching.done()
        await nats_bed.restart()
        assert await fetching == ref
        assert (tmp_path / "it").read_bytes() == data
        assert len(seen) == len(set(seen)), "nothing was fetched twice"


@pytest.mark.slow
@story
async def test_an_upload_goes_on_after_the_server_was_killed(nats_bed: NatsBed, name: str, tmp_path: Path) -> None:
    async with nats_bed.fabric() as fabric:
        data = name.encode() * 4_000_000
        begun = asyncio.Event()
        storing = asyncio.create_task(fabric.blobs.put(data, lambda done, total: begun.set()))
        await begun.wait()
        await nats_bed.crash()
        assert not storing.done()
        await nats_bed.restart()
        ref = await storing
        await fabric.blobs.fetch(ref.hash, tmp_path / "it")
        assert (tmp_path / "it").read_bytes() == data


@pytest.mark.slow
@story
async def test_what_was_confirmed_is_there_after_a_kill(nats_bed: NatsBed, name: str) -> None:
    async with nats_bed.fabric() as fabric:
        back = asyncio.Event()
        fabric.on_change(lambda connected: back.set() if connected else None)
        keys = await fabric.keys(name)
        queue = await fabric.queue(name)
        confirmed: list[int] = []

        async def write() -> None:
            for number in range(100_000):
                await asyncio.gather(keys.put(f"k.{number}", b"%d" % number), queue.put(b"%d" % number))
                confirmed.append(number)
                if number == 200:
                    enough.set()

        enough = asyncio.Event()
        writing = asyncio.create_task(write())
        await enough.wait()
        await nats_bed.crash()
        with pytest.raises(FabricLost):
            await writing
        await nats_bed.restart()
        await back.wait()
        entries = await keys.entries()
        assert [number for number in confirmed if f"k.{number}" not in entries] == []
        assert await queue.depth() >= len(confirmed)


@story
async def test_a_blob_whose_bytes_are_not_what_its_name_says_is_refused(
    nats_bed: NatsBed, name: str, tmp_path: Path
) -> None:
    async with nats_bed.fabric() as fabric:
        ref = await fabric.blobs.put(name.encode() * 50_000)
        other = await fabric.blobs.put(b"other")
        await fabric.blobs.delete(ref.hash)
        await fabric.publish(f"blob.{ref.hash}.0", b"forged")
        manifest = b'{"hash": "%s", "nbytes": 6, "chunk": 131072}' % ref.hash.encode()
        await fabric.publish(f"blob.{ref.hash}.manifest", manifest)
        while await fabric.blobs.find(ref.hash) is None:
            pass
        with pytest.raises(BadBlob, match=ref.hash):
            await fabric.blobs.fetch(ref.hash, tmp_path / "it")
        assert names(tmp_path) == []
        await fabric.blobs.fetch(other.hash, tmp_path / "other")
        assert (tmp_path / "other").read_bytes() == b"other"


@story
async def test_a_blob_with_a_chunk_missing_is_refused(nats_bed: NatsBed, name: str, tmp_path: Path) -> None:
    async with nats_bed.fabric() as fabric:
        ref = await fabric.blobs.put(name.encode())
        await fabric.blobs.delete(ref.hash)
        manifest = b'{"hash": "%s", "nbytes": %d, "chunk": 131072}' % (ref.hash.encode(), ref.nbytes)
        await fabric.publish(f"blob.{ref.hash}.manifest", manifest)
        while await fabric.blobs.find(ref.hash) is None:
            pass
        with pytest.raises(BadBlob, match="chunk 0"):
            await fabric.blobs.fetch(ref.hash, tmp_path / "it")


@story
async def test_an_error_that_nobody_can_read_is_an_error_of_ours(nats_bed: NatsBed, name: str) -> None:
    async with nats_bed.fabric() as fabric:
        connection = fabric._line.connection

        async def answer(message: Msg) -> None:
            await connection.publish(message.reply, b"nothing", headers={FAULT: "what"})

        await connection.subscribe(name, cb=answer)
        with pytest.raises(FabricError, match=f"the error that {name} answered with cannot be read"):
            await fabric.request(name, b"")


@pytest.mark.slow
@story
async def test_nobody_goes_on_on_a_line_that_nobody_keeps(nats_bed: NatsBed) -> None:
    def trip(connected: bool) -> None:
        raise ZeroDivisionError(f"connected: {connected}")

    async def work() -> None:
        async with nats_bed.fabric() as fabric:
            fabric.on_change(trip)
            ready.set()
            await asyncio.Event().wait()

    ready = asyncio.Event()
    working = asyncio.create_task(work())
    await ready.wait()
    await nats_bed.crash()
    with pytest.raises(ZeroDivisionError, match="connected: False"):
        await working
    await nats_bed.restart()


@pytest.mark.slow
@story
async def test_blobs_can_be_stored_again_after_the_whole_store_was_lost(name: str, tmp_path: Path) -> None:
    bed = NatsBed(ServerOptions(home=tmp_path / "server"))
    await bed.restart()
    try:
        async with bed.fabric() as fabric:
            ref = await fabric.blobs.put(name.encode())
            await bed.crash()
            shutil.rmtree(tmp_path / "server" / "store")
            await bed.restart()
            while True:
                try:
                    assert await fabric.blobs.put(name.encode()) == ref
                    break
                except FabricLost:  # not there again yet
                    await asyncio.sleep(0)
            await fabric.blobs.fetch(ref.hash, tmp_path / "it")
            assert (tmp_path / "it").read_bytes() == name.encode()
    finally:
        bed.end(signal.SIGTERM)
