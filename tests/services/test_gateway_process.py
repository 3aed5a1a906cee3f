"""A gateway on a real fabric with real workers answers like the uncut model, whatever happens on the way."""

import asyncio
import functools
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gateway_bed import GATEWAY, MODEL, Bed, bed, in_loop, with_gateway

from cutwater.cut.lattice import Lattice
from cutwater.drivers.live import clock
from cutwater.engine.facts.gateways import RouteTable
from cutwater.errors import CutwaterError, FrameError, LinkLost, NotFound, Refused
from cutwater.fabric.server import ServerOptions, answering, prepare
from cutwater.services.workers.outcome import Outcome

pytestmark = pytest.mark.slow

RAW = ("raw", "raw", "raw")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server."""
    options = ServerOptions(home=tmp_path_factory.mktemp("nats"))
    server = subprocess.Popen(prepare(options))
    yield asyncio.run(answering(options, server.pid))
    server.terminate()
    server.wait()


def story(test: Callable[[Bed], Awaitable[None]]) -> Callable[..., None]:
    """A test that is given a gateway with nothing deployed yet, and never hangs."""

    @functools.wraps(test)
    def told(tmp_path: Path, vit_lattice: Lattice, url: str) -> None:
        async def tell() -> None:
            async with with_gateway(tmp_path, vit_lattice, url) as made:
                await test(made)

        in_loop(tell)

    del told.__wrapped__  # type: ignore[attr-defined] # pytest shall see the fixtures this one asks for
    return told


def check(bed: Bed, number: int, outcome: Outcome | CutwaterError, tolerance: float = 1e-5) -> None:
    assert isinstance(outcome, Outcome), outcome
    wanted = bed.uncut(number)
    (found,) = outcome.outputs.values()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * float(np.abs(wanted).max()))


@story
async def test_answers_are_those_of_the_uncut_model(bed: Bed) -> None:
    await bed.go_live(await bed.deploy(1, [0.5], RAW, [1, 1]))
    async with bed.client() as client:
        feeds = [bed.feeds(k) for k in range(8)]
        outcomes = [outcome async for outcome in client.stream(feeds)]
    for k, outcome in enumerate(outcomes):
        check(bed, k, outcome)
        assert isinstance(outcome, Outcome) and not outcome.degraded
        assert [mark.stage for mark in outcome.trail] == ["worker-1", "worker-2"]
    names = [outcome.request for outcome in outcomes if isinstance(outcome, Outcome)]
    assert len(set(names)) == 8
    tally = await bed.until(lambda tally: tally.answered == 8)
    assert (tally.accepted, tally.failed, tally.refused, tally.retried) == (8, 0, 0, 0)
    assert 0 < tally.p50 <= tally.p99 < 5 and tally.rate > 0


@story
async def test_what_waits_is_computed_in_batches_and_everyone_gets_its_own_answer(bed: Bed) -> None:
    await bed.go_live(await bed.deploy(1, [0.5], RAW, [1, 1], batch=4))
    async with bed.client() as client:
        outcomes = [outcome async for outcome in client.stream([bed.feeds(k % 8) for k in range(200)], in_flight=16)]
    for k, outcome in enumerate(outcomes):
        check(bed, k % 8, outcome)
    sizes = [mark.batch for outcome in outcomes if isinstance(outcome, Outcome) for mark in outcome.trail]
    assert max(sizes) == 4


@story
async def test_a_stream_goes_on_while_another_cut_takes_over(bed: Bed) -> None:
    first = await bed.deploy(1, [0.5], RAW, [1, 1])
    await bed.go_live(first)
    second = await bed.deploy(2, [0.3, 0.7], ("raw", "float16", "raw", "raw"), [1, 1, 1])
    answered = 0
    async with bed.client() as client:

        async def stream() -> None:
            nonlocal answered
            feeds = (bed.feeds(k % 8) for k in range(10**6))
            async for outcome in client.stream(feeds, in_flight=8):
                check(bed, answered % 8, outcome, 1e-2)
                answered += 1

        streaming = asyncio.create_task(stream())
        await bed.until(lambda tally: tally.answered > 20)
        table = RouteTable(model=MODEL, term=0, live=first.table(), candidate=second.table())
        await bed.direct(table)
        tally = await bed.until(lambda tally: tally.probed == {2: ""})
        assert tally.epoch == 1
        await bed.go_live(second)
        await bed.until(lambda tally: set(tally.flying) == {2})
        seen = answered
        await bed.until(lambda tally: tally.answered > seen + 20)
        assert not streaming.done()
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
    tally = await bed.until(lambda tally: tally.flying == {})
    assert (tally.failed, tally.retried, tally.refused) == (0, 0, 0)


def test_a_candidate_that_does_not_answer_is_reported_and_nothing_else_changes(
    tmp_path: Path, vit_lattice: Lattice, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutwater.services.gateway.hosted.PROBE_LIMIT", 0.5)

    async def story() -> None:
        async with with_gateway(tmp_path, vit_lattice, url) as bed:
            first, second = await bed.deploy(1, [0.5], RAW, [1, 1]), await bed.deploy(2, [0.4], RAW, [1, 1])
            await bed.go_live(first)
            second.workers[1][0].kill()
            await second.workers[1][0].ended()
            await bed.direct(RouteTable(model=MODEL, term=0, live=first.table(), candidate=second.table()))
            tally = await bed.until(lambda tally: 2 in tally.probed)
            assert tally.probed[2] and tally.epoch == 1
            async with bed.client() as client:
                check(bed, 1, await client.infer(bed.feeds(1)))

    in_loop(story)


@story
async def test_killing_one_of_two_replicas_loses_nothing(bed: Bed) -> None:
    deployed = await bed.deploy(1, [0.5], RAW, [1, 2])
    await bed.go_live(deployed)
    async with bed.client() as client:
        numbers = iter(range(10**6))
        outcomes: list[Outcome | CutwaterError] = []

        async def stream() -> None:
            feeds = (bed.feeds(next(numbers) % 8) for _ in range(400))
            async for outcome in client.stream(feeds, in_flight=8):
                outcomes.append(outcome)
                if len(outcomes) == 100:
                    os.kill(deployed.workers[1][0].pid, signal.SIGKILL)

        await stream()
    for k, outcome in enumerate(outcomes):
        check(bed, k % 8, outcome)
    tally = await bed.until(lambda tally: tally.answered >= 400)
    assert (len(outcomes), tally.answered, tally.failed) == (400, 400, 0)
    address = deployed.workers[1][0].setup.listen[0]
    assert (await bed.until_beat(lambda beat: bool(beat.suspects))).suspects == (address,)


@pytest.mark.alone
@story
async def test_a_warm_spare_takes_over_at_once(bed: Bed) -> None:
    deployed = await bed.deploy(1, [0.5], RAW, [1, 1], spares=1)
    await bed.go_live(deployed)
    async with bed.client() as client:
        for k in range(20):
            outcome = await client.infer(bed.feeds(k))
            assert [mark.stage for mark in outcome.trail] == ["worker-1", "worker-2"]
        os.kill(deployed.workers[1][0].pid, signal.SIGKILL)
        began = clock()
        outcome = await client.infer(bed.feeds(1))
        took = clock() - began
        check(bed, 1, outcome)
        assert [mark.stage for mark in outcome.trail] == ["worker-1", "worker-3"]
        assert took < 1.0  # the figure itself is measured where nothing else runs


@story
async def test_when_all_is_gone_the_gateway_answers_by_itself_and_says_so(bed: Bed) -> None:
    deployed, whole = await bed.deploy(1, [0.5], RAW, [1, 1]), await bed.whole()
    await bed.go_live(deployed, whole)
    async with bed.client() as client:
        assert not (await client.infer(bed.feeds(1))).degraded
        os.kill(deployed.workers[0][0].pid, signal.SIGKILL)
        outcome = await client.infer(bed.feeds(2))
        check(bed, 2, outcome)
        assert outcome.degraded and [mark.stage for mark in outcome.trail] == ["whole"]
        await bed.until(lambda tally: tally.degraded == 1 and tally.failed == 0)
        assert bed.gateway is not None
        whole_worker = bed.gateway.hosts[MODEL].whole
        assert whole_worker is not None
        stand_in = whole_worker.process
        assert stand_in is not None

        back = await bed.deploy(2, [0.5], RAW, [1, 1])
        await bed.go_live(back, whole)
        while (await client.infer(bed.feeds(3))).degraded:
            """The link to the new worker is still being dialled."""
        assert (await stand_in.ended()).kind == "WorkerLost"


@story
async def test_requests_for_a_parked_model_wait_until_it_is_back(bed: Bed) -> None:
    await bed.direct(RouteTable(model=MODEL, term=0))
    await bed.until(lambda tally: tally.epoch == 0)
    async with bed.client() as client:
        waiting = asyncio.create_task(client.infer(bed.feeds(1)))
        await bed.until(lambda tally: tally.queued == 1)
        await bed.go_live(await bed.deploy(1, [0.5], RAW, [1, 1]))
        check(bed, 1, await waiting)


@story
async def test_a_model_that_was_undeployed_is_unknown_and_what_is_open_ends(bed: Bed) -> None:
    deployed = await bed.deploy(1, [0.5], RAW, [1, 1])
    await bed.go_live(deployed)
    async with bed.client() as client:
        check(bed, 1, await client.infer(bed.feeds(1)))
        await bed.direct(RouteTable(model=MODEL, term=0, live=deployed.table(), removed=True))
        await bed.until(lambda tally: tally.epoch == 0 and tally.flying == {})
        with pytest.raises(Refused, match="drain"):
            await client.infer(bed.feeds(1))
    with pytest.raises(NotFound, match=f"cutwater deploy {MODEL}"):
        async with bed.client():
            pass


@story
async def test_a_table_of_a_coordinator_that_leads_no_more_is_ignored(bed: Bed) -> None:
    deployed = await bed.deploy(1, [0.5], RAW, [1, 1])
    await bed.go_live(deployed)
    await bed.write(RouteTable(model=MODEL, term=0))
    await bed.write(RouteTable(model="other", term=99))
    await bed.until_beat(lambda beat: len(beat.models) == 2)
    async with bed.client() as client:
        check(bed, 1, await client.infer(bed.feeds(1)))


@story
async def test_who_sends_too_much_is_counted_and_who_goes_takes_its_requests_along(bed: Bed) -> None:
    deployed = await bed.deploy(1, [0.5], RAW, [1, 1])
    await bed.go_live(deployed)
    async with bed.client() as other:
        async with bed.client() as rude:
            assert rude._link is not None
            rude._link.peer = rude._hello  # believes that the gateway takes what it takes itself
            with pytest.raises(FrameError, match="this end accepts 1048576"):
                await rude.infer({"pictures": np.zeros(2**20, np.float32)})
        await bed.until(lambda tally: tally.refused == 1)
        async with bed.client() as leaving:
            os.kill(deployed.workers[1][0].pid, signal.SIGSTOP)
            left = [asyncio.create_task(leaving.infer(bed.feeds(k))) for k in range(8)]
            await bed.until(lambda tally: tally.flying == {1: 8})
        outcomes = await asyncio.gather(*left, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LinkLost] * 8
        tally = await bed.until(lambda tally: tally.flying == {} and tally.queued == 0)
        os.kill(deployed.workers[1][0].pid, signal.SIGCONT)
        assert (tally.accepted, tally.answered, tally.failed) == (8, 0, 0)
        check(bed, 1, await other.infer(bed.feeds(1)))


def test_streams_go_on_while_the_fabric_is_away_and_tables_are_obeyed_when_it_is_back(
    tmp_path: Path, vit_lattice: Lattice
) -> None:
    options = ServerOptions(home=tmp_path / "nats")

    async def story() -> None:
        server = await asyncio.create_subprocess_exec(*prepare(options))
        try:
            url = await answering(options, server.pid)
            async with with_gateway(tmp_path / "home", vit_lattice, url) as bed:
                first, second = await bed.deploy(1, [0.5], RAW, [1, 1]), await bed.deploy(2, [0.3], RAW, [1, 1])
                await bed.go_live(first)
                async with bed.client() as client:
                    check(bed, 1, await client.infer(bed.feeds(1)))
                    server.kill()
                    await server.wait()
                    for k in range(50):
                        check(bed, k, await client.infer(bed.feeds(k)))
                    server = await asyncio.create_subprocess_exec(*prepare(options))
                    await bed.until(lambda tally: tally.answered == 51)
                    await bed.go_live(second)
                    outcome = await client.infer(bed.feeds(2))
                    check(bed, 2, outcome)
                    assert [mark.stage for mark in outcome.trail] == ["worker-3", "worker-4"]
        finally:
            server.kill()
            await server.wait()

    in_loop(story)


def test_sigterm_lets_what_is_open_end_and_takes_nobody_in(tmp_path: Path, vit_lattice: Lattice, url: str) -> None:
    async def story() -> None:
        async with bed(tmp_path, vit_lattice, url) as made:
            process = await made.start_gateway()
            await made.go_live(await made.deploy(1, [0.5], RAW, [1, 1]))
            async with made.client() as client:
                check(made, 1, await client.infer(made.feeds(1)))
                open_ = [asyncio.create_task(client.infer(made.feeds(k))) for k in range(16)]
                await made.until(lambda tally: tally.accepted > 1)
                process.send_signal(signal.SIGTERM)
                outcomes = await asyncio.gather(*open_, return_exceptions=True)
                answered = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
                assert all(isinstance(outcome, Outcome | Refused) for outcome in outcomes)
                assert answered
            assert await process.wait() == 0
            assert await made.lease(GATEWAY) is None

    in_loop(story)


def test_a_gateway_that_can_hear_of_no_more_ways_ends(tmp_path: Path, vit_lattice: Lattice, url: str) -> None:
    def broken(table: RouteTable) -> None:
        raise RuntimeError(f"no table of {table.model} is understood")

    async def tell() -> None:
        with pytest.raises(RuntimeError, match="no table of other is understood"):
            async with with_gateway(tmp_path, vit_lattice, url) as bed:
                assert bed.gateway is not None
                bed.gateway._see = broken  # type: ignore[method-assign]
                await bed.write(RouteTable(model="other", term=1))
                await asyncio.wait([bed.gateway._over])

    in_loop(tell)
