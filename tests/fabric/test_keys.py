"""Keys: values, compare and set, running out, and watches; the same over every fabric."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fabric_bed import Bed, story

from cutwater.errors import Conflict, FabricError, FabricLost
from cutwater.fabric.base import Entry


async def told(watch: AsyncIterator[Entry], number: int) -> list[tuple[str, bytes | None]]:
    """The next so many entries."""
    return [(entry.key, entry.value) for entry in [await anext(watch) for _ in range(number)]]


@story
async def test_a_value_is_written_read_and_removed(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        keys = await fabric.keys(name)
        assert await keys.get("node.a") is None
        first = await keys.put("node.a", b"one")
        assert await keys.get("node.a") == Entry("node.a", b"one", first)
        second = await keys.put("node.a", b"")
        assert second > first
        assert await keys.get("node.a") == Entry("node.a", b"", second)
        await keys.delete("node.a")
        await keys.delete("node.a")
        assert await keys.get("node.a") is None


@story
async def test_only_one_creates_a_key(bed: Bed, name: str) -> None:
    async with bed.fabric() as one, bed.fabric() as other:
        ours, theirs = await one.keys(name), await other.keys(name)
        revision = await ours.create("leader", b"one")
        with pytest.raises(Conflict, match="leader"):
            await theirs.create("leader", b"other")
        await ours.delete("leader", revision)
        assert await theirs.create("leader", b"other") > revision


@story
async def test_an_update_wants_the_current_revision(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        keys = await fabric.keys(name)
        first = await keys.create("k", b"1")
        second = await keys.update("k", b"2", first)
        with pytest.raises(Conflict, match="k"):
            await keys.update("k", b"3", first)
        with pytest.raises(Conflict):
            await keys.delete("k", first)
        assert await keys.get("k") == Entry("k", b"2", second)
        await keys.delete("k", second)
        with pytest.raises(Conflict):
            await keys.update("k", b"3", second)


@story
async def test_entries_are_the_current_values_of_a_pattern(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        keys = await fabric.keys(name)
        assert await keys.entries() == {}
        for key in ("node.a", "node.b", "node.c", "link.a.b"):
            await keys.put(key, key.encode())
        await keys.delete("node.b")
        assert set(await keys.entries()) == {"node.a", "node.c", "link.a.b"}
        assert set(await keys.entries("node.*")) == {"node.a", "node.c"}
        assert set(await keys.entries("link.>")) == {"link.a.b"}
        assert (await keys.entries("node.a"))["node.a"].value == b"node.a"


@story
async def test_a_watch_gives_current_values_and_then_changes(bed: Bed, name: str) -> None:
    async with bed.fabric() as writer, bed.fabric() as watcher:
        keys = await writer.keys(name)
        await keys.put("a", b"1")
        await keys.put("gone", b"1")
        await keys.delete("gone")
        async with (await watcher.keys(name)).watch() as watch:
            assert await told(watch, 1) == [("a", b"1")]
            await keys.put("b", b"1")
            await keys.put("c", b"1")
            assert await told(watch, 2) == [("b", b"1"), ("c", b"1")]
            await keys.put("b", b"2")
            await keys.put("a", b"2")
            await keys.delete("c")
            assert await told(watch, 3) == [("b", b"2"), ("a", b"2"), ("c", None)]


@story
async def test_a_watch_sees_its_pattern_only(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        keys = await fabric.keys(name)
        async with keys.watch("assign.a") as one, keys.watch("assign.*") as all_of_them:
            await keys.put("node.a", b"0")
            await keys.put("assign.b", b"1")
            await keys.put("assign.a", b"2")
            assert await told(one, 1) == [("assign.a", b"2")]
            assert await told(all_of_them, 2) == [("assign.b", b"1"), ("assign.a", b"2")]


@pytest.mark.slow
@story
async def test_a_lease_runs_out_unless_it_is_renewed(bed: Bed, name: str) -> None:
    async with bed.fabric() as holder, bed.fabric() as other:
        leases = await holder.keys(name, ttl=1.0)
        async with (await other.keys(name, ttl=1.0)).watch() as watch:
            revision = await leases.create("leader", b"holder")
            assert await told(watch, 1) == [("leader", b"holder")]
            await bed.after(0.5)
            revision = await leases.update("leader", b"again", revision)
            assert await told(watch, 1) == [("leader", b"again")]
            await bed.after(0.9)
            assert await leases.get("leader") is not None
            await bed.after(0.1)
            assert await told(watch, 1) == [("leader", None)]
        assert await leases.get("leader") is None
        with pytest.raises(Conflict):
            await leases.update("leader", b"holder", revision)
        assert await leases.create("leader", b"other") > revision


@story
async def test_a_watch_repeats_current_values_after_an_outage(bed: Bed, name: str) -> None:
    async with bed.fabric() as writer, bed.fabric() as watcher:
        keys = await writer.keys(name)
        back = asyncio.Event()
        writer.on_change(lambda connected: back.set() if connected else None)
        await keys.put("a", b"1")
        async with (await watcher.keys(name)).watch() as watch:
            assert await told(watch, 1) == [("a", b"1")]
            await bed.crash()
            with pytest.raises(FabricLost):
                await keys.get("a")
            await bed.restart()
            await back.wait()
            assert (await keys.get("a")) is not None
            assert await told(watch, 1) == [("a", b"1")]
            await keys.put("a", b"2")
            assert await told(watch, 1) == [("a", b"2")]


@pytest.mark.slow
@story
async def test_a_watch_tells_what_ran_out_during_an_outage(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        leases = await fabric.keys(name, ttl=1.0)
        async with leases.watch() as watch:
            await leases.put("a", b"1")
            assert await told(watch, 1) == [("a", b"1")]
            await bed.crash()
            await bed.after(1.0)
            await bed.restart()
            while (entry := await anext(watch)).value is not None:
                assert entry.key == "a"
            assert (entry.key, entry.value) == ("a", None)


@story
async def test_what_is_no_key_is_refused(bed: Bed, name: str) -> None:
    async with bed.fabric() as fabric:
        keys = await fabric.keys(name)
        for key in ("", "a..b", "a.*", ">", "a b", "a."):
            with pytest.raises(FabricError, match="no subject or key"):
                await keys.put(key, b"x")
        with pytest.raises(FabricError, match="cannot name a bucket"):
            await fabric.keys("a.b")
