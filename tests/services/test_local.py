"""A pipeline of real worker processes: it answers, and whatever is done to it, every request ends and nothing stays."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from cutwater.drivers.loop import run
from cutwater.drivers.measure import measure_link
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.stage.batching import Batching
from cutwater.engine.trace import timeline
from cutwater.errors import (
    BadModel,
    BadTensor,
    CutwaterError,
    DeadlineExceeded,
    InputError,
    Refused,
    StageFailed,
    WorkerLost,
)
from cutwater.services.workers.local import LocalOptions, LocalPipeline
from cutwater.services.workers.outcome import Outcome

pytestmark = pytest.mark.slow

SMALL = LocalOptions(timeout=30.0)


def in_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await story()

    run(limited())


def rows(count: int, start: float = 1.0, width: int = 4) -> np.ndarray:
    return np.arange(start, start + count * width, dtype=np.float32).reshape(count, width)


def outputs(outcome: Outcome | CutwaterError, name: str) -> np.ndarray:
    assert isinstance(outcome, Outcome), outcome
    return outcome.outputs[name]


@pytest.mark.parametrize("options", [SMALL, LocalOptions(tcp=True)], ids=["unix", "tcp"])
def test_three_stages_answer_what_one_would_and_say_what_they_did(make_stage, options: LocalOptions) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(k) for k in range(3)], options=options) as pipeline:
            outcome = await pipeline.infer({"t0": rows(1)})
            np.testing.assert_array_equal(outcome.outputs["t3"], -rows(1))
            assert [mark.stage for mark in outcome.trail] == ["stage-1", "stage-2", "stage-3"]
            for mark in outcome.trail:
                assert mark.received <= mark.started <= mark.finished <= mark.sent
                assert (mark.received_bytes, mark.sent_bytes) == (16, 16)
            snapshot = pipeline.snapshot()
            assert [tally.requests for tally in snapshot.stages] == [1, 1, 1]
            assert (snapshot.gateway.flying, snapshot.gateway.failed) == (0, 0)
            assert list(timeline(pipeline.trace).values())[-1] == outcome.trail

    in_loop(story)


LARGE = 100_000
"""Rows: 1.6 MB."""


@pytest.mark.parametrize("memory", [0, 4 * 2**20, 64 * 2**20], ids=["off", "two frames", "default"])
def test_large_tensors_pass_whatever_memory_is_shared(make_stage, memory: int) -> None:
    async def story() -> None:
        options = LocalOptions(timeout=30.0, shared_memory=memory)
        async with LocalPipeline([make_stage(0), make_stage(1)], options=options) as pipeline:
            feeds = [{"t0": rows(LARGE, start=k)} for k in range(24)]
            # All are kept, so most answers find no room and come through the socket.
            kept = [outputs(outcome, "t2") async for outcome in pipeline.stream(feeds, in_flight=6)]
        for feed, output in zip(feeds, kept, strict=True):
            np.testing.assert_array_equal(output, feed["t0"])
            assert not output.flags.writeable

    in_loop(story)


def test_a_killed_worker_does_not_take_answers_away_that_were_given(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0)], options=SMALL) as pipeline:
            for _ in range(3):
                outcome = await pipeline.infer({"t0": rows(LARGE)})
            os.kill(pipeline.workers[0].pid, signal.SIGKILL)
            with pytest.raises(WorkerLost):
                await pipeline.infer({"t0": rows(LARGE)})
            np.testing.assert_array_equal(outcome.outputs["t1"], -rows(LARGE))

    in_loop(story)


def test_requests_of_different_sizes_stream_through_in_order_with_bounded_company(make_stage) -> None:
    taken = 0

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        nonlocal taken
        for k in range(60):
            taken += 1
            yield {"t0": rows(1 + 400 * (k % 7), start=k)}

    async def story() -> None:
        async with LocalPipeline([make_stage(0), make_stage(1)], options=SMALL) as pipeline:
            k = 0
            async for outcome in pipeline.stream(feeds(), in_flight=5):
                np.testing.assert_array_equal(outputs(outcome, "t2"), rows(1 + 400 * (k % 7), start=k))
                k += 1
                assert taken - k <= 5
            assert k == 60

    in_loop(story)


def test_an_error_in_a_stream_is_one_requests_outcome_and_the_others_go_on(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0)], options=SMALL) as pipeline:
            feeds = [{"t0": rows(1)}, {"t0": rows(1).astype(np.float64)}, {"t0": rows(1, width=5)}, {"t0": rows(2)}]
            good, wrong_type, wrong_size, also_good = [outcome async for outcome in pipeline.stream(feeds)]
            np.testing.assert_array_equal(outputs(good, "t1"), -rows(1))
            np.testing.assert_array_equal(outputs(also_good, "t1"), -rows(2))
            assert isinstance(wrong_type, BadTensor) and "'t0' must be float32" in str(wrong_type)
            assert isinstance(wrong_size, BadTensor) and "'t0' must be float32 [n, 4]" in str(wrong_size)

    in_loop(story)


@pytest.mark.parametrize("feeds", [{}, {"t1": rows(1)}, {"t0": rows(1), "x": rows(1)}], ids=["none", "other", "more"])
def test_feeds_of_other_names_are_refused_by_name(make_stage, feeds) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0)], options=SMALL) as pipeline:
            with pytest.raises(BadTensor, match="the inputs are 't0'"):
                await pipeline.infer(feeds)

    in_loop(story)


def test_batched_requests_get_their_own_rows_back(make_stage) -> None:
    async def story() -> None:
        options = LocalOptions(batching=Batching(limit=4, patience=0.05))
        async with LocalPipeline([make_stage(0)], options=options) as pipeline:
            feeds = [{"t0": rows(1 + k % 2, start=k)} for k in range(8)]
            outcomes = [outcome async for outcome in pipeline.stream(feeds, in_flight=8)]
            for feed, outcome in zip(feeds, outcomes, strict=True):
                np.testing.assert_array_equal(outputs(outcome, "t1"), -feed["t0"])
            assert max(outcome.trail[0].batch for outcome in outcomes if isinstance(outcome, Outcome)) == 4

    in_loop(story)


def test_one_bad_index_in_a_batch_fails_alone(make_stage) -> None:
    async def story() -> None:
        options = LocalOptions(batching=Batching(limit=3, patience=0.2))
        async with LocalPipeline([make_stage(0, nodes=gather())], options=options) as pipeline:
            feeds = [{"t0": np.full((1, 4), value, np.float32)} for value in (1, 99, 2)]
            good, bad, also_good = [outcome async for outcome in pipeline.stream(feeds, in_flight=3)]
            np.testing.assert_array_equal(outputs(good, "t1"), np.full((1, 4), 10, np.float32))
            np.testing.assert_array_equal(outputs(also_good, "t1"), np.full((1, 4), 20, np.float32))
            assert isinstance(bad, StageFailed) and "out of" in str(bad)

    in_loop(story)


def test_replicas_share_the_work_and_one_may_die(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0), make_stage(1)], replicas=[2, 2], options=SMALL) as pipeline:
            feeds = [{"t0": rows(1)}] * 40
            outcomes = [outcome async for outcome in pipeline.stream(feeds, in_flight=8)]
            assert all(isinstance(outcome, Outcome) for outcome in outcomes)
            victim = pipeline.workers[1]
            os.kill(victim.pid, signal.SIGKILL)
            await victim.ended()
            outcomes = [outcome async for outcome in pipeline.stream(feeds, in_flight=8)]
            assert isinstance(outcomes[-1], Outcome)

    in_loop(story)


@pytest.mark.alone
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_worker_ends_every_open_request_with_its_name_and_last_words(make_stage, victim: int) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(k) for k in range(3)], options=SMALL) as pipeline:
            worker = pipeline.workers[victim]
            os.kill(worker.pid, signal.SIGSTOP)
            open_ = [asyncio.create_task(pipeline.infer({"t0": rows(1)})) for _ in range(12)]
            await asyncio.sleep(0)
            os.kill(worker.pid, signal.SIGKILL)
            async with asyncio.timeout(1.0):
                ends = await asyncio.gather(*open_, return_exceptions=True)
            for end in ends:
                assert isinstance(end, WorkerLost)
                assert f"stage-{victim + 1} on node local (pid {worker.pid}) was killed by SIGKILL" in str(end)
            with pytest.raises(WorkerLost, match="SIGKILL"):
                await pipeline.infer({"t0": rows(1)})

    in_loop(story)


def test_a_worker_that_hangs_costs_its_requests_their_deadline_and_answers_again_when_it_wakes(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0), make_stage(1)], options=SMALL) as pipeline:
            os.kill(pipeline.workers[1].pid, signal.SIGSTOP)
            # Gateway and first stage both watch the time; whichever speaks first, it is this error.
            with pytest.raises(DeadlineExceeded):
                await pipeline.infer({"t0": rows(1)}, timeout=0.2)
            os.kill(pipeline.workers[1].pid, signal.SIGCONT)
            np.testing.assert_array_equal((await pipeline.infer({"t0": rows(2)})).outputs["t2"], rows(2))

    in_loop(story)


def test_a_hanging_stage_holds_up_everything_before_it_and_the_door_refuses(make_stage) -> None:
    async def story() -> None:
        options = LocalOptions(credits=2, admission=Admission(window=8, queue=4), timeout=30.0)
        async with LocalPipeline([make_stage(0), make_stage(1)], options=options) as pipeline:
            os.kill(pipeline.workers[1].pid, signal.SIGSTOP)
            open_ = [asyncio.create_task(pipeline.infer({"t0": rows(1)})) for _ in range(40)]
            ended, _ = await asyncio.wait(open_, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(task.exception(), Refused) for task in ended)
            found = pipeline.snapshot().gateway
            assert found.queued <= 4 and found.flying <= 8 and found.queued + found.flying + found.refused == 40
            os.kill(pipeline.workers[1].pid, signal.SIGCONT)
            ends = await asyncio.gather(*open_, return_exceptions=True)
            assert sum(isinstance(end, Outcome) for end in ends) + sum(isinstance(end, Refused) for end in ends) == 40

    in_loop(story)


def test_a_caller_who_gives_up_leaves_nothing_open(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0)], options=SMALL) as pipeline:
            os.kill(pipeline.workers[0].pid, signal.SIGSTOP)
            asking = asyncio.create_task(pipeline.infer({"t0": rows(1)}))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            assert (pipeline.snapshot().gateway.flying, pipeline.snapshot().gateway.queued) == (0, 0)
            os.kill(pipeline.workers[0].pid, signal.SIGCONT)
            np.testing.assert_array_equal((await pipeline.infer({"t0": rows(1)})).outputs["t1"], -rows(1))

    in_loop(story)


def test_a_frame_larger_than_a_worker_takes_is_refused_and_the_next_request_passes(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0), make_stage(1)], options=LocalOptions(max_frame=100_000)) as pipeline:
            for _ in range(20):
                with pytest.raises(CutwaterError, match="accepts at most 100000 bytes"):
                    await pipeline.infer({"t0": rows(10_000)})
            np.testing.assert_array_equal((await pipeline.infer({"t0": rows(1)})).outputs["t2"], rows(1))

    in_loop(story)


def test_who_does_not_know_the_deployment_is_refused_by_a_worker(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0)], options=SMALL) as pipeline:
            ready = pipeline.workers[0].ready
            assert ready is not None
            with pytest.raises(Refused, match="another deployment"):
                await measure_link(ready.addresses[0], "guess")
            assert (await pipeline.infer({"t0": rows(1)})).outputs["t1"].shape == (1, 4)

    in_loop(story)


def test_an_idle_worker_stays_under_150_megabytes(make_stage) -> None:
    async def story() -> None:
        async with LocalPipeline([make_stage(0)], options=SMALL) as pipeline:
            ready = pipeline.workers[0].ready
            assert ready is not None and ready.memory < 150e6

    in_loop(story)


def test_a_stage_that_does_not_load_is_named_and_nothing_stays(make_stage, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def story() -> None:
        pipeline = LocalPipeline([make_stage(0), make_stage(1, op="NoSuchOp")], options=SMALL)
        with pytest.raises(BadModel, match=r"stage-2: .*NoSuchOp"):
            async with pipeline:
                pass

    in_loop(story)
    assert list(tmp_path.glob("cutwater-*")) == []


def test_numbers_and_forms_that_do_not_fit_are_refused_before_anything_starts(make_stage) -> None:
    with pytest.raises(InputError, match="2 stages have 3 hops"):
        LocalPipeline([make_stage(0), make_stage(1)], ["raw"])
    with pytest.raises(InputError, match="replicas must be"):
        LocalPipeline([make_stage(0)], replicas=[0])
    with pytest.raises(InputError, match=r"hop 1 has the codec 'int8\+zstd'.*form 'raw'"):
        LocalPipeline([make_stage(0), make_stage(1)], ["raw", "int8+zstd", "raw"])


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_parent_nothing_of_it_stays(make_stage, tmp_path: Path, blow: signal.Signals) -> None:
    stage = make_stage(0)
    (tmp_path / "stage.onnx").write_bytes(stage.onnx)
    (tmp_path / "run").mkdir()
    script = textwrap.dedent(f"""
        import asyncio
        from dataclasses import replace
        from pathlib import Path
        from cutwater.cut.cut import Cut
        from cutwater.cut.form import Form
        from cutwater.cut.stage import Stage
        from cutwater.drivers.loop import run
        from cutwater.graph.graph import Tensor
        from cutwater.services.workers.local import LocalPipeline
        x, y = (Tensor(name, "float32", (1, 4), 16, 0) for name in ("t0", "t1"))
        begin, end = (Cut(i, (t.name,), 16, 0, 0, t.name) for i, t in enumerate((x, y)))
        onnx = Path({str(tmp_path / "stage.onnx")!r}).read_bytes()
        stage = Stage(begin, end, Form.RAW, Form.RAW, (x,), (y,), onnx, 0, 0, True, "h")
        async def main():
            async with LocalPipeline([stage], replicas=[2]) as pipeline:
                print(*(worker.pid for worker in pipeline.workers), flush=True)
                await asyncio.Event().wait()
        run(main())
    """)
    environment = {**os.environ, "TMPDIR": str(tmp_path / "run"), "ORT_DISABLE_TELEMETRY": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert parent.stdout is not None
    workers = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.send_signal(blow)
    parent.wait(timeout=10)
    for worker in workers:
        assert select.select([worker], [], [], 10)[0], "a worker outlived its parent"
        os.close(worker)
    parent.stdout.close()
    assert list((tmp_path / "run").iterdir()) == []


def gather() -> list[NodeProto]:
    """t1[n, i] = table[t0[n, i]]; an index beyond the table's 3 rows is an error of the stage, not of the input."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [3], [0.0, 10.0, 20.0])
    return [
        helper.make_node("Cast", ["t0"], ["index"], to=TensorProto.INT64),
        helper.make_node("Constant", [], ["table"], value=table),
        helper.make_node("Gather", ["table", "index"], ["t1"]),
    ]
