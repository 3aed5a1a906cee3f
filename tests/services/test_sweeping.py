"""Who is gone for good leaves nothing behind in the state but his announcement, and in the status for a while only."""

import asyncio
import shutil
from pathlib import Path

import pytest
from fabric_bed import story

from cutwater.drivers.tracefile import TraceFile
from cutwater.engine.facts.gateways import GatewayBeat
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.coordinator.state import Outbox, read_state
from cutwater.services.coordinator.status import MISSED, Sightings
from cutwater.services.coordinator.sweeping import ABSENCE, Sweeper
from cutwater.services.facts import assign_key, gateway_lease, link_key, node_key, routes_key
from cutwater.services.tracing import TraceFolder
from cutwater.units import GatewayId, NodeId

A, B, G, H = NodeId("a"), NodeId("b"), GatewayId("g"), GatewayId("h")


@story
async def test_what_concerns_somebody_who_was_gone_for_a_day_is_removed() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        state, leases = await fabric.keys("state"), await fabric.keys("leases")
        lasting = {node_key(A), node_key(B), assign_key(A), routes_key(G, "m"), "model.m"}
        for key in (*lasting, assign_key(B), link_key(A, B), link_key(B, A), routes_key(H, "m")):
            await state.put(key, b"")
        for held in (node_key(A), node_key(B), gateway_lease(G)):
            await leases.put(held, b"")
        outbox = Outbox(state, (await read_state(state)).revisions, print)
        writing = asyncio.create_task(outbox.run())
        sweeper = Sweeper(state, leases, outbox)
        await sweeper.sweep(0.0)
        await leases.delete(node_key(B))
        await sweeper.sweep(10.0)
        await sweeper.sweep(ABSENCE + 5.0)
        await outbox.written()
        assert routes_key(H, "m") not in await state.entries(), "h was missing from the beginning"
        assert assign_key(B) in await state.entries(), "b has not been gone for a day"
        await sweeper.sweep(ABSENCE + 10.0)
        await outbox.written()
        assert (await state.entries()).keys() == lasting
        writing.cancel()


def test_a_gateway_that_is_gone_is_shown_as_dead_and_then_no_more() -> None:
    heard = Sightings()
    heard.gateway(GatewayBeat(gateway=G, incarnation="1", node=A, host="a", clients=""), 0.0)
    assert [seen.alive for seen in heard.gateways(MISSED - 1.0)] == [False]
    assert heard.gateways(MISSED) == ()


def test_a_trace_that_cannot_be_written_ends_and_nothing_else_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    traces = TraceFolder(tmp_path / "traces", "g")
    trace = traces.open("m")
    assert isinstance(trace, TraceFile)
    trace._file.close()  # as where the next file could not be opened
    traces.flush()
    traces.flush()
    shutil.rmtree(tmp_path / "traces")
    assert traces.open("other") is None
    said = [record.message.split(":")[0] for record in caplog.records]
    assert said == ["m is recorded no more", "other is not recorded"]


def test_a_model_that_is_deployed_anew_keeps_one_trace_open(tmp_path: Path) -> None:
    traces = TraceFolder(tmp_path, "g")
    first, second = traces.open("m"), traces.open("m")
    assert isinstance(first, TraceFile) and isinstance(second, TraceFile)
    first.append(0.0, "gateway", None, [])  # it is closed, and its machine may not have ended
    traces.flush()
    second.close()
    assert (tmp_path / "g.m.jsonl").read_bytes() == b""
