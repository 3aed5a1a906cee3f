"""The cache: blobs by hash, each brought once, whole or not at all, within a bound."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path

import pytest
from fabric_bed import story

from cutwater.errors import BadBlob, BadFile
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.cache import BlobCache


async def stored(fabric: MemoryFabric, *contents: bytes) -> list[str]:
    return [(await fabric.blobs.put(content)).hash for content in contents]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@story
async def test_a_blob_is_brought_once_and_found_again_by_the_next_process(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        [blob] = await stored(fabric, b"weights")
        cache = BlobCache(tmp_path, 1000, fabric.blobs)
        paths = await asyncio.gather(cache.fetch(blob), cache.fetch(blob))
        assert [path.read_bytes() for path in paths] == [b"weights"] * 2
        await fabric.blobs.delete(blob)
        assert (await BlobCache(tmp_path, 1000, fabric.blobs).fetch(blob)).read_bytes() == b"weights"


@story
async def test_a_file_that_is_not_what_its_name_says_is_brought_anew(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        [blob] = await stored(fabric, b"weights")
        (tmp_path / blob).write_bytes(b"weig")
        assert (await BlobCache(tmp_path, 1000, fabric.blobs).fetch(blob)).read_bytes() == b"weights"


@story
async def test_what_was_not_used_for_longest_makes_room_but_never_what_is_in_use(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        first, second, third, fourth = await stored(fabric, b"a" * 40, b"b" * 40, b"c" * 40, b"d" * 40)
        cache = BlobCache(tmp_path, 100, fabric.blobs)
        for age, blob in ((300, first), (200, second)):
            os.utime(await cache.fetch(blob), (1e9 - age, 1e9 - age))
        with cache.hold(first):
            await cache.fetch(third)
            assert files(tmp_path) == {first, third}
            await cache.fetch(fourth)
            assert first in files(tmp_path)
        cache.trim()
        assert cache.nbytes() <= 100


@story
async def test_a_blob_that_is_none_is_refused(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        cache = BlobCache(tmp_path / "cache", 1000, fabric.blobs)
        with pytest.raises(BadBlob, match="no hash of a blob"):
            await cache.fetch("../../etc/passwd")
        with pytest.raises(BadBlob):
            await cache.fetch(sha256(b"never stored").hexdigest())
        assert cache.nbytes() == 0


@story
async def test_a_folder_that_takes_nothing_is_said_in_words_that_whoever_asked_understands(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        [blob] = await stored(fabric, b"weights")
        (tmp_path / "cache").write_bytes(b"no folder")
        with pytest.raises(BadFile, match="cannot keep the blob"):
            await BlobCache(tmp_path / "cache", 1000, fabric.blobs).fetch(blob)
