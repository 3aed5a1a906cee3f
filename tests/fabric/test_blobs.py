"""Blobs: stored once, fetched whole and verified, resumed where they broke off; the same over every fabric."""

import asyncio
import hashlib
import random
from pathlib import Path

import pytest
from fabric_bed import Bed, names, story

from cutwater.errors import BadBlob, FabricLost
from cutwater.fabric.base import BlobRef


def some_bytes(name: str, nbytes: int) -> bytes:
    """Bytes no other test has."""
    return random.Random(name).randbytes(nbytes)


@pytest.mark.parametrize("nbytes", [0, 1, 131_072, 131_073, 3_000_000])
@story
async def test_a_blob_comes_back_as_it_was_stored(bed: Bed, name: str, tmp_path: Path, nbytes: int) -> None:
    async with bed.fabric() as storer, bed.fabric() as fetcher:
        data = some_bytes(name, nbytes)
        source = tmp_path / "source"
        source.write_bytes(data)
        ref = await storer.blobs.put(source)
        assert ref == BlobRef(hashlib.sha256(data).hexdigest(), nbytes)
        assert await fetcher.blobs.find(ref.hash) == ref
        assert await fetcher.blobs.fetch(ref.hash, tmp_path / "cache" / "it") == ref
        assert (tmp_path / "cache" / "it").read_bytes() == data
        assert names(tmp_path / "cache") == ["it"]


@story
async def test_bytes_are_stored_like_files(bed: Bed, name: str, tmp_path: Path) -> None:
    async with bed.fabric() as fabric:
        source = tmp_path / "source"
        source.write_bytes(name.encode())
        assert await fabric.blobs.put(name.encode()) == await fabric.blobs.put(source)


@story
async def test_progress_is_told_up_to_the_end(bed: Bed, name: str, tmp_path: Path) -> None:
    async with bed.fabric() as fabric:
        up: list[tuple[int, int]] = []
        down: list[tuple[int, int]] = []
        ref = await fabric.blobs.put(some_bytes(name, 2_500_000), lambda *seen: up.append(seen))
        await fabric.blobs.fetch(ref.hash, tmp_path / "it", lambda *seen: down.append(seen))
        for seen in (up, down):
            assert seen == sorted(seen)
            assert seen[-1] == (ref.nbytes, ref.nbytes)
        assert len(down) > 2


@story
async def test_a_blob_that_is_not_there_is_refused(bed: Bed, name: str, tmp_path: Path) -> None:
    async with bed.fabric() as fabric:
        unknown = hashlib.sha256(name.encode()).hexdigest()
        assert await fabric.blobs.find(unknown) is None
        with pytest.raises(BadBlob, match=unknown):
            await fabric.blobs.fetch(unknown, tmp_path / "it")
        assert names(tmp_path) == []
        await fabric.blobs.delete(unknown)


@story
async def test_what_is_no_hash_is_refused(bed: Bed, tmp_path: Path) -> None:
    async with bed.fabric() as fabric:
        for hash in ("../etc/passwd", "*", ">", "", "AB" * 32, "ab"):
            with pytest.raises(BadBlob, match="no sha256"):
                await fabric.blobs.fetch(hash, tmp_path / "it")
            with pytest.raises(BadBlob, match="no sha256"):
                await fabric.blobs.delete(hash)


@story
async def test_a_deleted_blob_is_gone_and_can_be_stored_again(bed: Bed, name: str, tmp_path: Path) -> None:
    async with bed.fabric() as fabric:
        data = some_bytes(name, 400_000)
        ref = await fabric.blobs.put(data)
        await fabric.blobs.delete(ref.hash)
        assert await fabric.blobs.find(ref.hash) is None
        assert await fabric.blobs.put(data) == ref
        await fabric.blobs.fetch(ref.hash, tmp_path / "it")
        assert (tmp_path / "it").read_bytes() == data


@story
async def test_a_broken_fetch_goes_on_where_it_stopped(bed: Bed, name: str, tmp_path: Path) -> None:
    async with bed.fabric() as fabric:
        data = some_bytes(name, 5_000_000)
        ref = await fabric.blobs.put(data)
        half_way = asyncio.Event()
        seen: list[int] = []

        def first(done: int, total: int) -> None:
            if done > total // 2:
                half_way.set()

        fetching = asyncio.create_task(fabric.blobs.fetch(ref.hash, tmp_path / "it", first))
        await half_way.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert not (tmp_path / "it").exists()
        kept = (tmp_path / "it.part").stat().st_size
        assert 0 < kept < ref.nbytes

        await fabric.blobs.fetch(ref.hash, tmp_path / "it", lambda done, total: seen.append(done))
        assert seen[0] > kept // 2
        assert (tmp_path / "it").read_bytes() == data
        assert not (tmp_path / "it.part").exists()


@story
async def test_rubbish_left_behind_does_not_spoil_a_fetch(bed: Bed, name: str, tmp_path: Path) -> None:
    async with bed.fabric() as fabric:
        data = some_bytes(name, 3_000_000)
        ref = await fabric.blobs.put(data)
        (tmp_path / "it.part").write_bytes(bytes(2_000_000))
        await fabric.blobs.fetch(ref.hash, tmp_path / "it")
        assert (tmp_path / "it").read_bytes() == data
        (tmp_path / "it").write_bytes(b"somebody wrote here")
        (tmp_path / "it.part").write_bytes(bytes(9_000_000))
        await fabric.blobs.fetch(ref.hash, tmp_path / "it")
        assert (tmp_path / "it").read_bytes() == data


@story
async def test_fetches_of_one_blob_into_one_place_do_not_disturb_each_other(
    bed: Bed, name: str, tmp_path: Path
) -> None:
    async with bed.fabric() as one, bed.fabric() as other:
        data = some_bytes(name, 2_000_000)
        ref = await one.blobs.put(data)
        fetches = [fabric.blobs.fetch(ref.hash, tmp_path / "it") for fabric in (one, other, one, other)]
        assert await asyncio.gather(*fetches) == [ref] * 4
        assert (tmp_path / "it").read_bytes() == data
        assert names(tmp_path) == ["it"]


@story
async def test_without_a_fabric_nothing_is_stored(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        await bed.crash()
        try:
            with pytest.raises(FabricLost):
                await fabric.blobs.put(name.encode())
        finally:
            await bed.restart()
