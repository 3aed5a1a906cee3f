"""A node keeps an idle process, so that a worker that has ended is back without the start of an interpreter."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from fabric_bed import story

from cutwater.cut.lattice import Lattice
from cutwater.engine.control import Ended, KeeperEvent, Start, Started
from cutwater.engine.facts.nodes import WorkerSpec
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.cache import BlobCache
from cutwater.services.node import reserve
from cutwater.services.node.crew import Crew
from cutwater.services.node.reserve import Reserve
from cutwater.units import NodeId, StageId, WorkerId

pytestmark = pytest.mark.slow


async def filled(kept: Reserve) -> int:
    """The process id of the one that is idle."""
    await kept.fill()
    (process,) = kept._idle
    return process.pid


@story
async def test_a_worker_that_was_killed_comes_back_in_the_idle_process(
    tmp_path: Path, vit_tiny: Path, vit_lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "CALM", 0.0)
    graph, weights = vit_lattice.graph, await asyncio.to_thread(vit_tiny.read_bytes)
    async with MemoryFabric(MemoryServer()) as fabric:
        blob = (await fabric.blobs.put(weights)).hash
        told: asyncio.Queue[KeeperEvent] = asyncio.Queue()
        cache = BlobCache(tmp_path / "cache", 10**9, fabric.blobs)
        crew = Crew(NodeId("a"), cache, tmp_path, told.put_nowait, reserve=1)
        spec = WorkerSpec(
            worker=WorkerId("m.1.0.0.0"),
            model="m",
            epoch=1,
            stage=StageId("stage-1"),
            blob=blob,
            nbytes=7,
            inputs=tuple(graph.tensors[name] for name in graph.inputs),
            outputs=tuple(graph.tensors[name] for name in graph.outputs),
            token="",
        )
        crew.start(Start(spec))
        first = await told.get()
        assert isinstance(first, Started)
        idle = await filled(crew._reserve)
        os.kill(first.pid, signal.SIGKILL)
        assert isinstance(await told.get(), Ended)
        crew.start(Start(spec))
        second = await told.get()
        assert isinstance(second, Started) and second.pid == idle
        await crew.close()


@story
async def test_one_that_died_is_not_given_and_closing_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "CALM", 0.0)
    kept = Reserve(1)
    first = await filled(kept)
    os.kill(first, signal.SIGKILL)
    await kept._idle[0].wait()
    assert kept.take() is None
    second = await filled(kept)
    await kept.close()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
