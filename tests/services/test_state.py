"""State: what one coordinator writes the next one reads, and one who was overtaken writes no more."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from fabric_bed import story

from cutwater.engine.facts.deployments import DeploymentRecord, DeploySpec
from cutwater.engine.facts.gateways import Note
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Announcement, Assignment, Hardware, MeasuredLink
from cutwater.fabric.base import KeyValue
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.fabric.server import MAX_PAYLOAD, EmbeddedServer, ServerOptions
from cutwater.services.coordinator.state import Outbox, born, read_state
from cutwater.services.facts import assign_key, decode, deployment_key, drain_key, encode, link_key, model_key, node_key
from cutwater.units import NodeId

RECORD = ModelRecord(name="m", hash="h", blob="b", nbytes=1, profile="p", speed=1.0)
NOTE = Note(at="", kind="drain", about="a", text="")


def assignment(term: int) -> Assignment:
    return Assignment(node=NodeId("a"), term=term)


def deployment(next_epoch: int) -> DeploymentRecord:
    return DeploymentRecord(spec=DeploySpec(model="m"), next_epoch=next_epoch)


class Writer:
    """An outbox at work."""

    def __init__(self, state: KeyValue, revisions: dict[str, int]) -> None:
        self.overtaken: list[str] = []
        self.box = Outbox(state, revisions, self.overtaken.append)
        self.task = asyncio.create_task(self.box.run())


@story
async def test_a_successor_reads_what_was_written() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        state = await fabric.keys("state")
        writer = Writer(state, {})
        writer.box.put(model_key("m"), RECORD)
        writer.box.put(deployment_key("m"), deployment(1))
        writer.box.put(deployment_key("m"), deployment(2))
        writer.box.put(drain_key(NodeId("a")), NOTE)
        writer.box.put(drain_key(NodeId("b")), NOTE)
        await writer.box.written()
        writer.box.put(drain_key(NodeId("b")), None)
        await writer.box.written()
        known = await read_state(state)
        assert (known.models, known.deployments, known.draining) == ((RECORD,), (deployment(2),), ("a",))
        again = Writer(state, known.revisions)
        again.box.put(model_key("m"), None)
        await again.box.written()
        assert (await read_state(state)).models == ()
        for each in (writer, again):
            each.task.cancel()


@story
async def test_who_was_overtaken_writes_no_more() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        state = await fabric.keys("state")
        old = Writer(state, {})
        old.box.put(assign_key(NodeId("a")), assignment(1))
        await old.box.written()
        new = Writer(state, (await read_state(state)).revisions)
        new.box.put(assign_key(NodeId("a")), assignment(2))
        await new.box.written()
        old.box.put(assign_key(NodeId("a")), assignment(1))
        old.box.put(deployment_key("m"), deployment(9))
        await old.task
        assert len(old.overtaken) == 1
        entries = await state.entries()
        assert list(entries) == ["assign.a"]
        assert decode(entries["assign.a"].value or b"", Assignment) == assignment(2)
        new.task.cancel()


@story
async def test_what_is_decided_while_the_fabric_is_away_is_written_when_it_is_back() -> None:
    server = MemoryServer()
    async with MemoryFabric(server) as fabric:
        state = await fabric.keys("state")
        writer = Writer(state, {})
        server.go_down()
        writer.box.put(assign_key(NodeId("a")), assignment(1))
        writer.box.put(assign_key(NodeId("a")), assignment(2))
        writer.box.put(deployment_key("m"), deployment(1), first=True)
        await asyncio.sleep(0)
        server.come_back()
        await writer.box.written()
        entries = await state.entries()
        assert decode(entries["assign.a"].value or b"", Assignment) == assignment(2)
        # What a successor must know is there before anybody acts on it.
        assert entries["deployment.m"].revision < entries["assign.a"].revision
        writer.task.cancel()


@story
async def test_a_record_that_cannot_be_read_or_says_it_is_another_hinders_no_successor() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        state = await fabric.keys("state")
        link = MeasuredLink(source=NodeId("a"), target=NodeId("b"), bandwidth=1.0, latency=1.0, at="")
        await state.put(model_key("m"), encode(RECORD))
        await state.put(model_key("n"), b"\xc1 nothing")
        await state.put(link_key(NodeId("a"), NodeId("b")), encode(link))
        await state.put(link_key(NodeId("c"), NodeId("b")), encode(link))
        await state.put(node_key(NodeId("c")), encode(RECORD))
        hardware = Hardware(machine="none", cores=0, memory=0, speed=float("nan"))
        strange = Announcement(node=NodeId("d"), incarnation="", host="", hardware=hardware, address="", version="")
        await state.put(node_key(NodeId("d")), encode(strange))
        known = await read_state(state)
        assert (known.models, known.links, known.nodes) == ((RECORD,), (link,), ())
        assert model_key("n") in known.revisions  # so that it can be replaced


@pytest.mark.slow
@story
async def test_what_the_fabric_does_not_take_holds_up_nothing_else(tmp_path: Path) -> None:
    options = ServerOptions(home=tmp_path)
    async with EmbeddedServer(options) as server, NatsFabric(NatsOptions(servers=(server.url,))) as fabric:
        state = await fabric.keys("state")
        writer = Writer(state, {})
        writer.box.put(model_key("huge"), msgspec.structs.replace(RECORD, name="x" * MAX_PAYLOAD))
        writer.box.put(model_key("m"), RECORD)
        async with state.watch() as entries:
            assert (await anext(entries)).key == model_key("m")
        await writer.box.written()  # nobody waits for what will not be
        writer.box.put(model_key("huge"), RECORD)  # what replaces it is small enough
        await writer.box.written()
        assert set(await state.entries()) == {model_key("m"), model_key("huge")}
        writer.task.cancel()


@story
async def test_terms_grow_when_another_store_takes_the_place_of_one_that_was_lost() -> None:
    async with MemoryFabric(MemoryServer()) as old, MemoryFabric(MemoryServer()) as new:
        before = await old.keys("state")
        last = await born(before) + await before.put("lease", b"")
        assert await born(before) < last, "it is written down, not made anew by whoever asks"
        after = await new.keys("state")
        assert await born(after) + await after.put("lease", b"") > last


@story
async def test_what_a_node_writes_is_removed_however_often_it_wrote_it() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        state = await fabric.keys("state")
        await state.put("node.a", b"here I am")
        writer = Writer(state, (await read_state(state)).revisions)
        await state.put("node.a", b"here I am again")
        writer.box.put("node.a", None)
        await writer.box.written()
        assert await state.get("node.a") is None
        assert writer.overtaken == []
        writer.task.cancel()
