"""The planner's process: answers like the planner itself, and is started again when it has ended."""

import asyncio
import io
import os
import signal
from pathlib import Path

import pytest
from cluster_bed import alive

from cutwater.drivers.loop import run
from cutwater.engine.control import MakePlan, NodeView, Planned
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Announcement, Hardware
from cutwater.errors import BadFile
from cutwater.services.coordinator.library import Library
from cutwater.services.coordinator.planner import answer
from cutwater.services.coordinator.planning import LIMIT, PlannerProcess, Prepare, serve
from cutwater.services.facts import decode, encode
from cutwater.units import NodeId

pytestmark = pytest.mark.slow


def command(record: ModelRecord, ticket: int) -> MakePlan:
    hardware = Hardware(machine="test", cores=2, memory=2**30, speed=1.0)
    told = Announcement(node=NodeId("a"), incarnation="1", host="a", hardware=hardware, address="unix:/x", version="0")
    return MakePlan(
        ticket=ticket,
        spec=DeploySpec(model=record.name),
        record=record,
        nodes=(NodeView(announcement=told, free=2**30),),
        links=(),
        source=NodeId("a"),
        source_host="a",
    )


def test_it_answers_like_the_planner_and_lives_through_its_own_death(
    plain_record: ModelRecord, blob_folder: Path
) -> None:
    async def story() -> None:
        planner = PlannerProcess(blob_folder)
        try:
            first = await planner.plan(command(plain_record, 1))
            assert first == answer(command(plain_record, 1), Library(blob_folder))
            pid = planner.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            asked = asyncio.create_task(planner.plan(command(plain_record, 2)))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            lost = await asked
            assert lost.fault is not None
            assert (lost.ticket, lost.fault.kind, lost.fault.retryable) == (2, "ProcessLost", True)
            again = await planner.plan(command(plain_record, 3))
            assert (again.ticket, again.blueprint) == (3, first.blueprint)
            pid = planner.pid
        finally:
            await planner.close()
        assert not alive(pid)

    run(asyncio.wait_for(story(), 30))


def test_a_planner_that_hangs_is_ended_and_says_so_in_time(plain_record: ModelRecord, blob_folder: Path) -> None:
    async def story() -> None:
        planner = PlannerProcess(blob_folder, limit=0.01)  # less than an interpreter takes to start
        hung = await planner.plan(command(plain_record, 1))
        assert hung.fault is not None and "took over 0.01 s" in hung.fault.message
        assert planner.pid is None

    run(asyncio.wait_for(story(), 30))


def test_a_planner_that_was_prepared_has_read_the_model_and_answers_as_ever(
    plain_record: ModelRecord, blob_folder: Path
) -> None:
    async def story() -> None:
        planner = PlannerProcess(blob_folder)
        try:
            await planner.prepare(plain_record)
            pid = planner.pid
            assert pid is not None
            found = await planner.plan(command(plain_record, 1))
            assert found == answer(command(plain_record, 1), Library(blob_folder)) and planner.pid == pid
        finally:
            await planner.close()

    run(asyncio.wait_for(story(), 30))


def test_what_is_prepared_is_not_answered_and_what_is_wrong_with_it_is_said_with_the_plan(
    plain_record: ModelRecord,
) -> None:
    wanted = [Prepare(plain_record), command(plain_record, 7)]
    reading = io.BytesIO(b"".join(len(data).to_bytes(4, "big") + data for data in map(encode, wanted)))
    writing = io.BytesIO()
    read: list[ModelRecord] = []

    def prepare(record: ModelRecord) -> None:
        read.append(record)
        raise BadFile("there is none")

    serve(reading, writing, lambda asked: Planned(model=asked.spec.model, ticket=asked.ticket), prepare)
    assert read == [plain_record]
    assert decode(writing.getvalue()[4:], Planned) == Planned(model="vit", ticket=7)


def test_a_plan_that_waits_behind_many_slow_ones_is_not_asked_for_again() -> None:
    assert CoordinatorOptions().plan_timeout >= 10 * LIMIT
