"""Two deployments on one node with one place: they take turns, and one that is stopped or dies is passed over."""

import asyncio
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fabric_bed import story
from onnx import helper

from cutwater.cut.stage import Stage
from cutwater.drivers.gateway import LiveGateway
from cutwater.engine.control import Ended, KeeperEvent, Start, Started
from cutwater.engine.facts.nodes import WorkerSpec
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.gateway.neighbours import Neighbours
from cutwater.engine.turns import Turns, TurnsSnapshot
from cutwater.engine.vocabulary import Route
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.cache import BlobCache
from cutwater.services.node.crew import Crew
from cutwater.services.workers.doors import Doors, Entry, Exit
from cutwater.units import NodeId, StageId, WorkerId
from cutwater.wire.message import PROTOCOL, Hello, Hop, Mark

WIDTH = 32768
LONG = 400
"""Operations one after the other: tens of milliseconds."""
ROUNDS = 4
NODE = NodeId("a")


class Deployment:
    """A worker in the crew's care, and the gateway that asks it."""

    def __init__(self, crew: Crew, stage: Stage, blob: str, name: str, neighbours: Neighbours) -> None:
        self.name = WorkerId(name)
        self.stage = stage
        self.machine = Gateway()
        hello = Hello(PROTOCOL, name, "gateway", 0, 2**20)
        self.gateway = LiveGateway(self.machine, hello, neighbours=neighbours)
        self.pid = 0
        spec = WorkerSpec(
            worker=self.name, model=name, epoch=1, stage=StageId("stage-1"), blob=blob, nbytes=len(stage.onnx),
            inputs=stage.inputs, outputs=stage.outputs, token=name,
        )  # fmt: skip
        crew.start(Start(spec))

    def serves(self, event: Started) -> None:
        self.pid = event.pid
        doors = Doors(Entry.of(self.stage, "raw"), Exit.of(self.stage, "raw"))
        route = Route((Hop(event.addresses[0], "plain"),), nodes=(NODE,))
        self.gateway.reroute([route], {(0, 0): doors})

    async def ask(self) -> Mark:
        reply = await self.gateway.ask({"t0": np.zeros((1, WIDTH), np.float32)}, 60.0)
        return reply.trail[0]


def look(crew: Crew) -> TurnsSnapshot:
    machine = crew._turns.machine
    assert isinstance(machine, Turns)
    return machine.snapshot()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody says when a worker begins
        await asyncio.sleep(0.002)


@pytest.mark.slow
@story
async def test_neighbours_take_turns_and_pass_over_one_that_is_stopped_or_dies(tmp_path: Path, make_stage) -> None:
    names = ["t0", *(f"x{k}" for k in range(1, LONG)), "t1"]
    nodes = [helper.make_node("Cos", [a], [b]) for a, b in pairwise(names)]
    stage: Stage = make_stage(0, width=WIDTH, nodes=nodes)
    async with MemoryFabric(MemoryServer()) as fabric:
        blob = (await fabric.blobs.put(stage.onnx)).hash
        events: asyncio.Queue[KeeperEvent] = asyncio.Queue()
        crew = Crew(NODE, BlobCache(tmp_path / "cache", 2**30, fabric.blobs), tmp_path, events.put_nowait)
        neighbours = Neighbours()
        both = {name: Deployment(crew, stage, blob, name, neighbours) for name in ("one", "other")}
        for _ in both:
            event = await events.get()
            assert isinstance(event, Started)
            both[event.worker].serves(event)

        marks = await asyncio.gather(*(each.ask() for each in both.values() for _ in range(ROUNDS)))
        spans = sorted((mark.started, mark.finished) for mark in marks)
        # On a machine so busy that a batch takes ten times as long, somebody may lose a turn.
        together = sum(began < done for (_, done), (began, _) in pairwise(spans))
        assert together <= look(crew).lost < len(spans) // 2

        # The door of whoever was answered last has heard of what was done for the other.
        assert any(each.machine._ways.beside.loads[NODE].done for each in both.values())

        # One is stopped while it computes: the other is held up for a moment, not for as long as that lasts.
        one, other = both.values()
        before = look(crew).lost
        stopped = asyncio.create_task(one.ask())
        await until(lambda: look(crew).holders == (one.name,))
        os.kill(one.pid, signal.SIGSTOP)
        asked = [asyncio.create_task(other.ask()) for _ in range(ROUNDS)]
        await asyncio.gather(*asked)
        assert not stopped.done() and look(crew).lost > before
        os.kill(one.pid, signal.SIGCONT)
        await stopped

        # One is killed while it computes: its place is free as soon as that is known.
        killed = asyncio.create_task(one.ask())
        await until(lambda: look(crew).holders == (one.name,))
        os.kill(one.pid, signal.SIGKILL)
        await other.ask()
        event = await events.get()
        assert isinstance(event, Ended) and event.worker == one.name
        killed.cancel()
        await asyncio.wait([killed])
        for each in both.values():
            each.gateway.close()
        await crew.close()
