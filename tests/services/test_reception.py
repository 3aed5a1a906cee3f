"""Clients and a gateway's reception over real links: who comes in, how much one may have open, who goes and when."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from cutwater.api.backend import Ask
from cutwater.drivers.loop import run
from cutwater.engine.facts.gateways import RouteTable
from cutwater.errors import (
    BadTensor,
    DeadlineExceeded,
    FrameError,
    LinkLost,
    NotFound,
    Refused,
    StageFailed,
)
from cutwater.services.front.host import Reply
from cutwater.services.gateway import client
from cutwater.services.gateway.client import NativeClient
from cutwater.services.gateway.reception import Reception, ReceptionOptions
from cutwater.services.workers.outcome import Outcome
from cutwater.units import RequestId

OPTIONS = ReceptionOptions(name="gateway-1", credits=3, max_frame=100_000)


class Doubler:
    """Answers x with y = 2 x; waits where x is 0, fails where it is negative."""

    def __init__(self) -> None:
        self.asked = 0
        self.priorities: list[int] = []
        self.open = 0
        self.most = 0
        self.refused: list[str] = []
        self.gate = asyncio.Event()
        self.changed = asyncio.Condition()

    able = True
    table = RouteTable(model="m", term=0)

    async def ask(self, ask: Ask) -> Reply:
        feeds = ask.feeds
        self.asked += 1
        self.priorities.append(ask.priority)
        request = RequestId((7 << 32) + self.asked)
        if feeds.keys() != {"x"}:
            raise BadTensor("the input is 'x'")
        await self._count(1)
        try:
            if not feeds["x"].any():
                await self.gate.wait()
        finally:
            await self._count(-1)
        if feeds["x"].min() < 0:
            return Reply(request, {}, (), StageFailed("negative"))
        return Reply(request, {"y": feeds["x"] * 2}, ())

    def refuse(self, why: str) -> None:
        self.refused.append(why)

    async def _count(self, more: int) -> None:
        self.open += more
        self.most = max(self.most, self.open)
        async with self.changed:
            self.changed.notify_all()

    async def until_open(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.open == count)


@asynccontextmanager
async def gateway(tmp_path: Path, options: ReceptionOptions = OPTIONS) -> AsyncIterator[tuple[Reception, Doubler, str]]:
    host = Doubler()
    reception = Reception({"double": host}, options)
    address = await reception.open(f"unix:{tmp_path}/clients.sock")
    try:
        yield reception, host, address
    finally:
        reception.close()


def in_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await story()

    run(limited())


def x(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32)}


def test_a_client_gets_the_outputs_and_the_gateways_name_for_its_request(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (_, host, address), NativeClient(address, "double") as asking:
            outcome = await asking.infer(x(1, 2.5))
            np.testing.assert_array_equal(outcome.outputs["y"], np.array([2, 5], np.float32))
            assert (outcome.request, outcome.trail, outcome.degraded) == ("00000007-1", (), False)
            await asking.infer(x(1), priority=-3)
            assert host.priorities == [0, -3]

    in_loop(story)


def test_outcomes_of_a_stream_come_in_order_and_an_error_is_one_of_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (_, host, address), NativeClient(address, "double") as asking:
            feeds = [x(1), x(-1), BadTensor("unreadable"), *(x(k) for k in range(2, 30)), {"z": x(1)["x"]}]
            outcomes = [outcome async for outcome in asking.stream(feeds, in_flight=20)]
            said = [
                float(outcome.outputs["y"][0]) if isinstance(outcome, Outcome) else str(outcome) for outcome in outcomes
            ]
            failed = "negative (request 00000007-2)"
            assert said == [2.0, failed, "unreadable", *(2.0 * k for k in range(2, 30)), "the input is 'x'"]
            assert host.most <= OPTIONS.credits

    in_loop(story)


def test_one_client_may_have_so_much_open_and_no_more_and_hinders_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            gateway(tmp_path) as (_, host, address),
            NativeClient(address, "double") as greedy,
            NativeClient(address, "double") as modest,
        ):
            waiting = [asyncio.create_task(greedy.infer(x(0))) for _ in range(10)]
            await host.until_open(3)
            await modest.infer(x(1))
            assert host.open == 3
            host.gate.set()
            assert len(await asyncio.gather(*waiting)) == 10

    in_loop(story)


def test_an_unknown_model_is_named_together_with_the_one_that_was_meant(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (reception, _, address):
            with pytest.raises(NotFound, match=r"no model 'duoble'.*did you mean 'double'.*cutwater deploy duoble"):
                async with NativeClient(address, "duoble"):
                    pass
            assert reception.missed == {"duoble": 1}

    in_loop(story)


def test_a_gateway_with_a_token_wants_to_see_it(tmp_path: Path) -> None:
    async def story() -> None:
        options = ReceptionOptions(name="gateway-1", token="open sesame")
        async with gateway(tmp_path, options) as (_, _, address):
            for token in ("", "open barley"):
                with pytest.raises(Refused, match="wants its token"):
                    async with NativeClient(address, "double", token=token):
                        pass
            async with NativeClient(address, "double", token="open sesame") as asking:
                await asking.infer(x(1))

    in_loop(story)


def test_a_gateway_that_ends_takes_nobody_in_and_finishes_what_is_open(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (reception, host, address), NativeClient(address, "double") as asking:
            open_ = asyncio.create_task(asking.infer(x(0)))
            await host.until_open(1)
            reception.draining = True
            with pytest.raises(Refused, match="gateway-1 is ending"):
                async with NativeClient(address, "double"):
                    pass
            ended = asyncio.create_task(reception.finished())
            host.gate.set()
            await ended
            assert not (await open_).outputs["y"].any()

    in_loop(story)


def test_a_request_over_the_limit_fails_alone_and_is_not_sent(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (_, host, address), NativeClient(address, "double") as asking:
            for _ in range(2 * OPTIONS.credits):
                with pytest.raises(FrameError, match=r"gateway-1, which accepts at most 100000 bytes"):
                    await asking.infer({"x": np.ones(50_000, np.float32)})
            await asking.infer(x(1))
            assert host.asked == 1 and host.refused == []

    in_loop(story)


def test_an_answer_over_the_clients_limit_is_a_clear_failure(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            gateway(tmp_path) as (_, _, address),
            NativeClient(address, "double", max_frame=2000) as asking,
        ):
            with pytest.raises(FrameError, match="client, which accepts at most 2000"):
                await asking.infer({"x": np.ones(1000, np.float32)})
            await asking.infer(x(1))

    in_loop(story)


def test_who_sends_too_much_anyway_is_told_counted_and_cut_off_and_nobody_else_notices(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            gateway(tmp_path) as (_, host, address),
            NativeClient(address, "double") as other,
            NativeClient(address, "double") as rude,
        ):
            assert rude._link is not None
            rude._link.peer = rude._hello  # believes that what it takes itself is what the gateway takes
            with pytest.raises(FrameError, match="this end accepts 100000"):
                await rude.infer({"x": np.ones(10**6, np.float32)})
            with pytest.raises(FrameError):
                await rude.infer(x(1))
            assert len(host.refused) == 1 and "accepts 100000" in host.refused[0]
            await other.infer(x(1))

    in_loop(story)


def test_who_takes_more_credit_than_there_is_is_cut_off(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (_, host, address), NativeClient(address, "double") as rude:
            rude._room.release()
            outcomes = await asyncio.gather(*(rude.infer(x(0)) for _ in range(4)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [FrameError] * 4
            assert "more than 3 requests are open" in str(outcomes[0])
            await host.until_open(0)

    in_loop(story)


def test_who_goes_or_gives_up_leaves_nothing_open(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (_, host, address):
            async with NativeClient(address, "double") as asking:
                for _ in range(2 * OPTIONS.credits):  # more often than there is credit, which therefore comes back
                    given_up = asyncio.create_task(asking.infer(x(0)))
                    await host.until_open(1)
                    given_up.cancel()
                    await host.until_open(0)
                left = asyncio.create_task(asking.infer(x(0)))
                await host.until_open(1)
            await host.until_open(0)
            with pytest.raises(LinkLost):
                await left

    in_loop(story)


def test_a_gateway_that_is_gone_is_a_lost_link_for_what_is_open_and_what_comes(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (reception, host, address), NativeClient(address, "double") as asking:
            open_ = [asyncio.create_task(asking.infer(x(0))) for _ in range(5)]
            await host.until_open(3)
            reception.close()
            for task in open_:
                with pytest.raises(LinkLost, match="is gone"):
                    await task
            with pytest.raises(LinkLost):
                await asking.infer(x(1))

    in_loop(story)


def test_a_gateway_that_says_nothing_costs_a_request_its_time_and_little_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "GRACE", 0.01)

    async def story() -> None:
        async with gateway(tmp_path) as (_, host, address), NativeClient(address, "double", timeout=0.02) as asking:
            with pytest.raises(DeadlineExceeded, match=r"within 0.02 s"):
                await asking.infer(x(0))
            await host.until_open(0)

    in_loop(story)


def test_a_client_who_stayed_is_answered_by_whoever_answers_for_the_model_now(tmp_path: Path) -> None:
    async def story() -> None:
        before, after = Doubler(), Doubler()
        hosts = {"double": before}
        reception = Reception(hosts, OPTIONS)
        address = await reception.open(f"unix:{tmp_path}/clients.sock")
        async with NativeClient(address, "double") as asking:
            await asking.infer(x(1))
            del hosts["double"]
            await asking.infer(x(1))  # what became of the model is said by whoever answered for it
            hosts["double"] = after
            await asking.infer(x(1))
        assert (before.asked, after.asked) == (2, 1)
        reception.close()

    in_loop(story)


def test_a_request_that_breaks_its_handling_is_answered_with_an_error(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (_, host, address), NativeClient(address, "double") as asking:
            host.gate.set()
            for _ in range(2 * OPTIONS.credits):
                with pytest.raises(StageFailed, match="could not handle this request: ValueError"):
                    await asking.infer({"x": np.zeros(0, np.float32)})  # has no minimum
            assert host.open == 0

    in_loop(story)


def test_who_takes_no_answers_gets_no_more_than_its_credit(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path) as (reception, host, address), NativeClient(address, "double") as rude:
            (guest,) = reception._guests.values()
            reception.paused(guest.link)  # as when the client reads nothing
            await asyncio.gather(*(rude.infer(x(1)) for _ in range(OPTIONS.credits)))
            rude._room.release()
            with pytest.raises(FrameError, match="more than 3 requests are open"):
                await rude.infer(x(1))
            assert host.asked == OPTIONS.credits

    in_loop(story)
