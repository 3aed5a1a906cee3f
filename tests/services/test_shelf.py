"""Stage files on the fabric: there while a blueprint needs them, and gone some time after the last one has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from fabric_bed import story

from cutwater.engine.facts.deployments import (
    Blueprint,
    Chain,
    DeploymentRecord,
    DeploySpec,
    Door,
    EpochPhase,
    EpochRecord,
    StagePart,
)
from cutwater.engine.facts.models import ModelRecord
from cutwater.fabric.base import Blobs, KeyValue
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.plan.plan import Plan, Score
from cutwater.services.cache import BlobCache
from cutwater.services.coordinator.shelf import GRACE, Shelf, used_files
from cutwater.services.coordinator.state import Outbox, read_state
from cutwater.units import NodeId, StageId

ONE, TWO = (sha256(name).hexdigest() for name in (b"one", b"two"))
DOOR = Door(border=("x",), travelling=(), codec="raw")
SCORE = Score(latency=0.1, throughput=10.0, bottleneck="", stages=(), hops=(), memory={}, traffic={})
PLAN = Plan(
    model="m", model_hash="h", objective="throughput", source=NodeId("a"), sink=NodeId("a"), stages=(), codecs=(),
    score=SCORE, bound=10.0, gap=0.0, solver="",
)  # fmt: skip


def blueprint(*blobs: str) -> Blueprint:
    parts = tuple(
        StagePart(stage=StageId(f"s{k}"), blob=blob, nbytes=3, inputs=(), outputs=(), batchable=False)
        for k, blob in enumerate(blobs)
    )
    chain = Chain(plan=PLAN, parts=parts, posts=(), entry=DOOR, exit=DOOR)
    return Blueprint(model="m", chains=(chain,), throughput=10.0, latency=0.1)


def deployed(*blobs: str) -> DeploymentRecord:
    epoch = EpochRecord(epoch=1, token="t", phase=EpochPhase.LIVE, blueprint=blueprint(*blobs))
    return DeploymentRecord(spec=DeploySpec(model="m"), epochs=(epoch,))


class Bed:
    """A coordinator's shelf, and what its deployments are."""

    def __init__(self, blobs: Blobs, state: KeyValue, folder: Path) -> None:
        self.blobs = blobs
        self.state = state
        self.cache = BlobCache(folder, 1000, blobs)
        self.deployments: list[DeploymentRecord] = []
        self.overtaken: list[str] = []

    async def begin(self) -> None:
        """A term begins."""
        known = await read_state(self.state)
        self.outbox = Outbox(self.state, known.revisions, self.overtaken.append)
        self.writing = asyncio.create_task(self.outbox.run())
        self.shelf = Shelf(self.blobs, self.cache, self.outbox, known.stored, lambda: used_files([], self.deployments))

    async def end(self) -> None:
        await self.outbox.written()
        self.writing.cancel()

    async def there(self) -> set[str]:
        return {blob for blob in (ONE, TWO) if await self.blobs.find(blob) is not None}


@asynccontextmanager
async def bed(folder: Path) -> AsyncIterator[Bed]:
    for name, blob in ((b"one", ONE), (b"two", TWO)):
        (folder / blob).write_bytes(name)
    async with MemoryFabric(MemoryServer()) as fabric:
        made = Bed(fabric.blobs, await fabric.keys("state"), folder)
        await made.begin()
        yield made
        await made.end()
        assert made.overtaken == []


@story
async def test_what_no_deployment_refers_to_is_removed_after_a_while(tmp_path: Path) -> None:
    async with bed(tmp_path) as made:
        await made.shelf.put(blueprint(ONE, TWO))
        made.deployments = [deployed(TWO)]
        await made.shelf.tidy(0.0)
        await made.shelf.tidy(GRACE - 1)
        assert await made.there() == {ONE, TWO}
        await made.shelf.tidy(GRACE)
        assert await made.there() == {TWO}
        await made.shelf.put(blueprint(ONE))
        assert await made.there() == {ONE, TWO}


@story
async def test_what_is_used_again_in_between_begins_anew(tmp_path: Path) -> None:
    async with bed(tmp_path) as made:
        await made.shelf.put(blueprint(ONE))
        for now, deployments in ((0.0, []), (GRACE - 1, [deployed(ONE)]), (GRACE, []), (2 * GRACE - 1, [])):
            made.deployments = deployments
            await made.shelf.tidy(now)
        assert await made.there() == {ONE}


@story
async def test_what_a_plan_counts_on_stays_until_its_deployment_says_so(tmp_path: Path) -> None:
    async with bed(tmp_path) as made:
        with made.shelf.keep(blueprint(ONE)):
            await made.shelf.put(blueprint(ONE))
            await made.shelf.tidy(0.0)
            await made.shelf.tidy(GRACE)
            assert await made.there() == {ONE}
            made.deployments = [deployed(ONE)]
        await made.shelf.tidy(2 * GRACE)
        assert await made.there() == {ONE}


@story
async def test_a_successor_knows_what_may_have_to_go(tmp_path: Path) -> None:
    async with bed(tmp_path) as made:
        await made.shelf.put(blueprint(ONE, TWO))
        await made.end()
        await made.begin()
        made.deployments = [deployed(ONE)]
        await made.shelf.tidy(100.0)
        await made.shelf.tidy(100.0 + GRACE)
        assert await made.there() == {ONE}
        await made.end()
        await made.begin()
        assert (await read_state(made.state)).stored == (ONE,)


@story
async def test_a_file_that_somebody_has_removed_is_put_again_once_in_doubt(tmp_path: Path) -> None:
    async with bed(tmp_path) as made:
        await made.shelf.put(blueprint(ONE))
        await made.blobs.delete(ONE)
        made.shelf.doubt()
        await made.shelf.put(blueprint(ONE))
        assert await made.there() == {ONE}


def test_models_files_are_used_too() -> None:
    record = ModelRecord(name="m", hash="h", blob=ONE, nbytes=1, profile=TWO, speed=1.0)
    assert used_files([record], []) == {ONE, TWO}
