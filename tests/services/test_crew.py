"""A crew: its keeper hears of everything that comes to nothing, so that nothing waits for ever."""

import asyncio
import sys
from pathlib import Path

import pytest
from fabric_bed import story

from cutwater.engine.control import Ended, Fetch, Fetched, KeeperEvent, Start
from cutwater.engine.facts.nodes import WorkerSpec
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.cache import BlobCache
from cutwater.services.node.crew import Crew
from cutwater.units import NodeId, StageId, WorkerId


@story
async def test_a_stage_file_that_the_disk_does_not_take_is_told(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        blob = (await fabric.blobs.put(b"weights")).hash
        (tmp_path / "cache").write_bytes(b"no folder")
        told: asyncio.Queue[KeeperEvent] = asyncio.Queue()
        cache = BlobCache(tmp_path / "cache", 1000, fabric.blobs)
        crew = Crew(NodeId("a"), cache, tmp_path, told.put_nowait)
        crew.fetch(Fetch(blob))
        event = await told.get()
        assert isinstance(event, Fetched) and event.fault is not None
        assert event.fault.kind == "BadFile"
        await crew.close()


@story
async def test_a_worker_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        blob = (await fabric.blobs.put(b"weights")).hash
        told: asyncio.Queue[KeeperEvent] = asyncio.Queue()
        crew = Crew(NodeId("a"), BlobCache(tmp_path / "cache", 1000, fabric.blobs), tmp_path, told.put_nowait)
        spec = WorkerSpec(
            worker=WorkerId("m.1.0.0.0"),
            model="m",
            epoch=1,
            stage=StageId("stage-1"),
            blob=blob,
            nbytes=7,
            inputs=(),
            outputs=(),
            token="",
        )
        monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
        crew.start(Start(spec))
        event = await told.get()
        assert isinstance(event, Ended)
        assert event.fault.kind == "WorkerLost" and "cannot be started" in event.fault.message
        await crew.close()
