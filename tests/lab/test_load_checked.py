"""Open and closed load against services that stall, err, and answer wrongly."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from cutwater.errors import DeadlineExceeded, LinkLost, Refused
from cutwater.lab.load.checked import Case, Load
from cutwater.lab.load.result import Result
from cutwater.services.workers.outcome import Feeds, Outcome

QUESTION = {"x": np.zeros(1, np.float32)}
ANSWER = {"y": np.array([1.0, -100.0], np.float32)}
CASE = Case(QUESTION, ANSWER)


def outcome(y: object = None, degraded: bool = False) -> Outcome:
    return Outcome(ANSWER if y is None else {"y": np.asarray(y, np.float32)}, 0.0, (), degraded=degraded)


def results(ask: Callable[[Feeds], Awaitable[Outcome]], requests: int = 1) -> list[Result]:
    async def story() -> list[Result]:
        load = Load(ask, [CASE])
        await load.open([0.0] * requests, 1.0)
        assert load.sent == requests
        return [each.result for each in load.attempts]

    return asyncio.run(story())


def test_every_answer_is_held_against_the_uncut_models() -> None:
    async def answer(feeds: Feeds) -> Outcome:
        return outcome(next(answers))

    answers = iter([[1.0, -100.0], [1.0005, -100.0], [1.01, -100.0], [float("nan"), -100.0], [[1.0, -100.0]]])
    good, wrong = Result.ANSWERED, Result.WRONG
    assert results(answer, 5) == [good, good, wrong, wrong, wrong]


def test_what_the_gateway_answers_by_itself_is_told_apart() -> None:
    async def answer(feeds: Feeds) -> Outcome:
        return outcome(degraded=True)

    assert results(answer) == [Result.DEGRADED]


def test_a_word_is_told_from_silence() -> None:
    async def answer(feeds: Feeds) -> Outcome:
        raise next(errors)

    silence = DeadlineExceeded("the gateway said nothing")
    silence.__cause__ = TimeoutError()
    errors = iter([Refused("full"), DeadlineExceeded("too late"), silence, LinkLost("gone")])
    assert results(answer, 4) == [Result.REFUSED, Result.FAILED, Result.LOST, Result.LOST]


def test_a_request_that_is_due_does_not_wait_for_the_one_before() -> None:
    """The service stalls until the last request has come; each latency counts from when it was due."""

    async def story() -> None:
        load = Load(stall, [CASE])
        everybody.clear()
        await load.open([0.0, 0.02, 0.04, 0.06, 5.0], 0.1)
        assert load.sent == 4
        assert sorted(round(each.due, 2) for each in load.attempts) == [0.0, 0.02, 0.04, 0.06]
        first = min(load.attempts, key=lambda each: each.due)
        assert first.latency >= 0.06

    everybody = asyncio.Event()
    waiting = 0

    async def stall(feeds: Feeds) -> Outcome:
        nonlocal waiting
        waiting += 1
        if waiting == 4:
            everybody.set()
        await everybody.wait()
        return outcome()

    asyncio.run(story())
