"""A live gateway whose ways change under it: epochs with tokens and doors of their own, and its own copy at last."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from cutwater.cut.stage import Stage
from cutwater.drivers.gateway import LiveGateway
from cutwater.drivers.loop import run
from cutwater.engine.facts.deployments import Door
from cutwater.engine.facts.gateways import EpochTable
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.vocabulary import Route
from cutwater.errors import BadTensor, DeadlineExceeded
from cutwater.services.workers.doors import Doors, Entry, Exit, doors_of
from cutwater.services.workers.local import LOCAL
from cutwater.services.workers.process import WorkerProcess
from cutwater.services.workers.setup import WorkerSetup
from cutwater.units import StageId
from cutwater.wire.message import PROTOCOL, Hello, Hop

pytestmark = pytest.mark.slow

FEED = {"t0": np.ones((1, 4), np.float32)}


def in_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await story()

    run(limited())


def worker(stage: Stage, folder: Path, name: str, token: str) -> WorkerProcess:
    (folder / f"{name}.onnx").write_bytes(stage.onnx)
    return WorkerProcess(
        WorkerSetup(
            stage=StageId(name),
            model=str(folder / f"{name}.onnx"),
            inputs=stage.inputs,
            outputs=stage.outputs,
            listen=(f"unix:{folder}/{name}",),
            deployment=token,
        ),
        LOCAL,
    )


def table(epoch: int, stage: Stage, address: str, token: str, codec: str = "raw") -> EpochTable:
    entry = Door(border=stage.begin.border, travelling=stage.inputs, codec=codec)
    exit = Door(border=stage.end.border, travelling=stage.outputs, codec=codec)
    packing = Entry(entry).codec.packing.name
    route = Route((Hop(address, packing),), packing, epoch=epoch)
    return EpochTable(epoch=epoch, token=token, routes=(route,), doors=((entry, exit),))


@asynccontextmanager
async def running(*workers: WorkerProcess) -> AsyncIterator[None]:
    try:
        await asyncio.gather(*(one.start() for one in workers))
        yield
    finally:
        await asyncio.gather(*(one.stop() for one in workers))


def gateway(**more: object) -> LiveGateway:
    return LiveGateway(Gateway(), Hello(PROTOCOL, "", "gateway", 0, 2**20), **more)  # type: ignore[arg-type]


def switch(live: LiveGateway, to: EpochTable) -> None:
    live.reroute(to.routes, doors_of(to), {to.epoch: to.token})


def test_a_gateway_goes_over_to_another_epoch_in_one_step_and_no_request_notices(make_stage, tmp_path: Path) -> None:
    async def story() -> None:
        old, new = make_stage(0), make_stage(0, op="Abs")
        async with running(worker(old, tmp_path, "old", "token-1"), worker(new, tmp_path, "new", "token-2")):
            live = gateway()
            switch(live, table(1, old, f"unix:{tmp_path}/old", "token-1"))
            np.testing.assert_array_equal((await live.ask(FEED, 10.0)).outputs["t1"], -FEED["t0"])
            asking = [asyncio.create_task(live.ask(FEED, 10.0)) for _ in range(20)]
            await asyncio.sleep(0)
            launched = live.snapshot().epochs[1]
            assert 0 < launched < 20
            switch(live, table(2, new, f"unix:{tmp_path}/new", "token-2", "raw+lz4"))
            found = [float(reply.outputs["t1"][0, 0]) for reply in await asyncio.gather(*asking)]
            assert found == [-1.0] * launched + [1.0] * (20 - launched)
            assert live.snapshot().epochs == {}
            with pytest.raises(BadTensor, match="the inputs are 't0'"):
                await live.ask({"x": FEED["t0"]}, 10.0)
            live.drain()
            await live.drained.wait()
            live.close()

    in_loop(story)


def test_who_shows_the_token_of_another_epoch_waits_in_vain_and_is_told_why(make_stage, tmp_path: Path) -> None:
    async def story() -> None:
        stage = make_stage(0)
        async with running(worker(stage, tmp_path, "w", "token-1")):
            live = gateway()
            switch(live, table(1, stage, f"unix:{tmp_path}/w", "token-2"))
            with pytest.raises(DeadlineExceeded, match=r"waiting for a way .*another deployment"):
                await live.ask(FEED, 0.3)
            live.close()

    in_loop(story)


def test_a_gateway_with_nobody_left_answers_by_itself_and_says_so(make_stage, tmp_path: Path) -> None:
    async def story() -> None:
        stage = make_stage(0)
        whole = worker(stage, tmp_path, "whole", "own")
        told = []

        async def stand_in(on: bool) -> None:
            told.append(on)
            await (whole.start() if on else whole.stop())

        live = gateway(stand_in=stand_in)
        own = Route((Hop(f"unix:{tmp_path}/whole", "plain"),), epoch=-1, degraded=True)
        doors = Doors(Entry.of(stage, "raw"), Exit.of(stage, "raw"))
        gone = table(1, stage, f"unix:{tmp_path}/gone", "token")
        live.reroute((*gone.routes, own), {**doors_of(gone), (-1, 0): doors}, {1: "token", -1: "own"})
        try:
            reply = await live.ask(FEED, 20.0)
            assert reply.degraded and [mark.stage for mark in reply.trail] == ["whole"]
            np.testing.assert_array_equal(reply.outputs["t1"], -FEED["t0"])
            assert told == [True]
            async with running(worker(stage, tmp_path, "gone", "token")):
                while (await live.ask(FEED, 20.0)).degraded:
                    pass
        finally:
            live.close()
            await whole.stop()

    in_loop(story)
