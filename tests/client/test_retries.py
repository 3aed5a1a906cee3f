"""Which errors are met with another try, after which pause, and for how long."""

import asyncio
import random

import pytest

from cutwater.client.retries import Retries
from cutwater.drivers.live import clock
from cutwater.errors import BadTensor, CutwaterError, DeadlineExceeded, Refused
from cutwater.units import Seconds

RNG = random.Random(7)


def tries(retries: Retries, error: CutwaterError, time: Seconds) -> int:
    """How often something is tried that always fails in the same way."""
    lefts: list[Seconds] = []

    async def attempt(left: Seconds) -> None:
        lefts.append(left)
        raise error

    with pytest.raises(type(error)):
        asyncio.run(retries.run(attempt, clock() + time, RNG))
    assert lefts == sorted(lefts, reverse=True)
    return len(lefts)


def test_pauses_double_and_are_anything_up_to_that() -> None:
    retries = Retries(first=0.1, longest=0.5)
    for number, longest in enumerate((0.1, 0.2, 0.4, 0.5, 0.5), start=1):
        pauses = [retries.pause(number, 0.0, RNG) for _ in range(500)]
        assert min(pauses) < 0.1 * longest and 0.9 * longest < max(pauses) <= longest


def test_pauses_come_on_top_of_what_the_gateway_asks_for() -> None:
    retries = Retries(first=0.1)
    assert all(3.0 <= retries.pause(1, 3.0, RNG) <= 3.1 for _ in range(100))


def test_only_what_can_get_better_is_tried_again() -> None:
    quick = Retries(most=3, first=1e-4)
    assert tries(quick, Refused("full"), 5) == 4
    assert tries(quick, BadTensor("no"), 5) == 1
    assert tries(Retries(most=0), Refused("full"), 5) == 1


def test_no_try_begins_that_could_not_end_in_time() -> None:
    later = Refused("full")
    later.retry_after = 10
    assert tries(Retries(), later, 5) == 1
    assert tries(Retries(), DeadlineExceeded("unused"), 0) == 0
