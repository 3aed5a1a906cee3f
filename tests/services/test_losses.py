"""Workers killed, stopped or hung under a stream of requests: every answer arrives, is right, and comes once."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from cutwater.cut.stage import Stage
from cutwater.drivers.loop import run
from cutwater.drivers.measure import measure_link
from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import Complete
from cutwater.errors import DeadlineExceeded
from cutwater.services.workers.local import LOCAL, LocalOptions, LocalPipeline
from cutwater.services.workers.outcome import Outcome
from cutwater.services.workers.process import WorkerProcess
from cutwater.services.workers.setup import WorkerSetup
from cutwater.units import StageId

pytestmark = pytest.mark.slow

OPTIONS = LocalOptions(timeout=30.0, trace_limit=None)


def in_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await story()

    run(limited())


def feed(k: int) -> dict[str, np.ndarray]:
    return {"t0": np.full((1, 4), k, np.float32)}


async def stream(pipeline: LocalPipeline, count: int, act: Callable[[int], None]) -> list[Outcome]:
    """The outcomes of ``count`` requests; ``act`` is called with the number of each before it is asked."""

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        for k in range(count):
            act(k)
            yield feed(k)

    found = []
    async for outcome in pipeline.stream(feeds(), in_flight=16):
        assert isinstance(outcome, Outcome), outcome
        np.testing.assert_array_equal(outcome.outputs["t2"], np.full((1, 4), len(found), np.float32))
        found.append(outcome)
    assert len(found) == count
    return found


def completed_once(pipeline: LocalPipeline, count: int) -> None:
    """Each of the requests, and the one that opened the pipeline, was completed exactly once."""
    completed = [c.request for step in pipeline.trace for c in step.commands if isinstance(c, Complete)]
    assert sorted(completed) == list(range(1, count + 2))
    snapshot = pipeline.snapshot().gateway
    assert (snapshot.answered, snapshot.failed, snapshot.refused) == (count + 1, 0, 0)


@pytest.mark.parametrize("victim", range(4))
def test_a_worker_killed_under_a_stream_costs_no_answer(make_stage, victim: int) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0), make_stage(1)], replicas=[2, 2], options=OPTIONS) as pipeline:
            pid = pipeline.workers[victim].pid
            await stream(pipeline, 400, lambda k: os.kill(pid, signal.SIGKILL) if k == 100 else None)
            completed_once(pipeline, 400)

    in_loop(story)


@pytest.mark.parametrize("victim", [0, 3], ids=["first stage", "last stage"])
def test_a_worker_that_is_stopped_costs_no_answer_is_suspected_and_taken_back_when_it_goes_on(
    make_stage, victim: int
) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0), make_stage(1)], replicas=[2, 2], options=OPTIONS) as pipeline:
            worker = pipeline.workers[victim]
            assert worker.ready is not None
            await stream(pipeline, 400, lambda k: os.kill(worker.pid, signal.SIGSTOP) if k == 100 else None)
            async with asyncio.timeout(25):
                while not pipeline.snapshot().gateway.suspects:
                    await pipeline.infer(feed(7))
            assert pipeline.snapshot().gateway.suspects == worker.ready.addresses
            os.kill(worker.pid, signal.SIGCONT)
            async with asyncio.timeout(25):
                while pipeline.snapshot().gateway.suspects:
                    await pipeline.infer(feed(7))
            retried = pipeline.snapshot().gateway.retried
            outcomes = [outcome async for outcome in pipeline.stream([feed(k) for k in range(100)], in_flight=16)]
            assert all(isinstance(outcome, Outcome) for outcome in outcomes)
            assert pipeline.snapshot().gateway.retried == retried

    in_loop(story)


def counting() -> list[NodeProto]:
    """t1 = t0, after as many turns of a loop as t0's first number says: a stage that takes as long as one likes."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_too"]), helper.make_node("Identity", ["kept"], ["kept_too"])],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_too", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept_too", TensorProto.FLOAT, None),
        ],
    )
    return [
        helper.make_node("ReduceMax", ["t0"], ["turns"], keepdims=0),
        helper.make_node("Cast", ["turns"], ["count"], to=TensorProto.INT64),
        helper.make_node("Loop", ["count", "", "t0"], ["t1"], body=body),
    ]


FOREVER = 2**40


def test_a_request_that_hangs_its_worker_ends_it_and_the_one_behind_it_goes_elsewhere(make_stage) -> None:
    async def story() -> None:
        stages = [make_stage(0, nodes=counting()), make_stage(1)]
        async with LocalPipeline(stages, replicas=[2, 1], options=OPTIONS) as pipeline:
            hanging = asyncio.create_task(pipeline.infer({"t0": np.full((1, 4), FOREVER, np.float32)}, timeout=5.2))
            others = await asyncio.gather(*(pipeline.infer(feed(k)) for k in range(4)))
            assert all(outcome.latency < 9.0 for outcome in others)
            with pytest.raises(DeadlineExceeded):
                await hanging
            gone = [worker for worker in pipeline.workers if (await _end_of(worker)) is not None]
            assert len(gone) == 1
            assert "stage-1 hangs: a batch of 1 usually takes" in (await gone[0].ended()).message
            assert "hung, and gave itself up" in (await gone[0].ended()).message

    in_loop(story)


async def _end_of(worker: WorkerProcess) -> Fault | None:
    try:
        async with asyncio.timeout(0.2):
            return await worker.ended()
    except TimeoutError:
        return None


def test_a_worker_says_how_it_is_doing_while_something_changes(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0), make_stage(1)], options=OPTIONS) as pipeline:
            worker = pipeline.workers[0]
            await stream(pipeline, 50, lambda k: None)
            while (pulse := worker.pulse).served < 51:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            assert (pulse.served, pulse.failed, pulse.queued) == (51, 0, 0)
            assert pulse.memory > 10e6 and 0 < pulse.seconds < 0.1
            while (quiet := worker.pulse) is pulse:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert quiet == msgspec.structs.replace(pulse, busy=0.0, memory=quiet.memory)
            await asyncio.sleep(1.2)
            assert worker.pulse is quiet

    in_loop(story)


def test_a_worker_may_listen_at_several_addresses(make_stage, tmp_path: Path) -> None:
    async def story() -> None:
        worker = WorkerProcess(setup_of(make_stage(0), tmp_path, tcp=True), LOCAL)
        unix, tcp = (await worker.start()).addresses
        assert unix == f"unix:{tmp_path}/w" and tcp.startswith("tcp:127.0.0.1:") and not tcp.endswith(":0")
        for address in (unix, tcp):
            assert (await measure_link(address, "token", nbytes=1)).round_trip.median > 0
        await worker.stop()
        assert not (tmp_path / "w").exists()

    in_loop(story)


def setup_of(stage: Stage, folder: Path, *, tcp: bool = False) -> WorkerSetup:
    (folder / "stage.onnx").write_bytes(stage.onnx)
    return WorkerSetup(
        stage=StageId("stage-1"),
        model=str(folder / "stage.onnx"),
        inputs=stage.inputs,
        outputs=stage.outputs,
        listen=(f"unix:{folder}/w", "tcp:127.0.0.1:0") if tcp else (f"unix:{folder}/w",),
        deployment="token",
    )


PARENT = """
import asyncio, os, signal, sys
import msgspec
from cutwater.drivers.loop import run
from cutwater.errors import DeadlineExceeded
from cutwater.services.workers.local import LOCAL
from cutwater.services.workers.process import WorkerProcess
from cutwater.services.workers.setup import WorkerSetup

async def main():
    setup = msgspec.json.decode(sys.stdin.readline(), type=WorkerSetup)
    worker = WorkerProcess(setup, LOCAL)
    await worker.start()
    os.kill(worker.pid, signal.SIGSTOP)
    print(worker.pid, flush=True)
    await asyncio.Event().wait()

run(main())
"""


@pytest.mark.parametrize("scratch", [False, True], ids=["killed", "woken"])
def test_even_a_stopped_worker_does_not_outlive_its_parent(make_stage, tmp_path: Path, scratch: bool) -> None:
    setup = setup_of(make_stage(0), tmp_path)
    if scratch:
        setup = msgspec.structs.replace(setup, scratch=str(tmp_path / "scratch"))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.write(msgspec.json.encode(setup) + b"\n")
    parent.stdin.flush()
    worker = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.wait(timeout=10)
    assert select.select([worker], [], [], 10)[0], "a stopped worker outlived its parent"
    os.close(worker)
    parent.stdin.close()
    parent.stdout.close()
    assert (tmp_path / "w").exists() is not scratch
