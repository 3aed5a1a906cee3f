"""Sending in made-up time: to the moment when due, bounded when nobody answers, and an error where calls raise."""

import asyncio

import numpy as np
import pytest
from load_bed import Server, in_made_up_time

from cutwater.lab.load.figures import count_load
from cutwater.lab.load.log import Log
from cutwater.lab.load.pace import pace
from cutwater.lab.load.sender import Sender, SendOptions
from cutwater.workload.schedule import Schedule

DUES = np.arange(100) / 100


USUAL = SendOptions()


def sent(service: float, options: SendOptions = USUAL) -> Log:
    """One request every 10 ms for a second, to a server that takes ``service`` seconds for each."""

    async def story() -> Log:
        log = Log(Schedule({"m": DUES}, 1.0), slos={"m": 0.5})
        return await Sender(log, {"m": [Server(service).prepared]}, options, now=asyncio.get_running_loop().time).run()

    return in_made_up_time(story)


def test_each_request_leaves_when_it_is_due_and_waits_for_those_before_at_the_server_alone() -> None:
    log = sent(service=0.015)
    assert log.sent.tolist() == pytest.approx(DUES.tolist(), abs=1e-9)
    assert log.ended.tolist() == pytest.approx([0.015 * (k + 1) for k in range(100)], abs=1e-9)
    report = count_load(log)
    assert report.together.percentiles["p50"].value == pytest.approx(0.015 * 50 - 0.49, abs=1e-9)
    assert report.punctuality.worst == pytest.approx(0.0, abs=1e-9)


def test_who_is_due_while_too_many_are_open_is_given_up_and_missed() -> None:
    log = sent(service=10.0, options=SendOptions(most_open=5, timeout=30.0))
    report = count_load(log)
    assert (report.together.submitted, report.together.unsent) == (100, 95)
    assert (report.together.answered, report.together.failed) == (3, 2)  # at 10, 20 and 30 s; the others' time is over
    assert report.together.attainment is not None
    assert report.together.attainment.value == 0
    assert report.punctuality.offered == 5
    assert log.most_open == 6


def test_what_a_call_raises_reaches_whoever_waits() -> None:
    fired = []

    def fire(due: float) -> None:
        fired.append(due)
        if due == 0.2:
            raise ValueError("the third one")

    async def story() -> None:
        await pace([0.0, 0.1, 0.2, 0.3], 0.0, fire, asyncio.get_running_loop().time)

    with pytest.raises(ValueError, match="the third one"):
        in_made_up_time(story)
    assert fired == [0.0, 0.1, 0.2]


def test_calls_that_are_overdue_are_made_at_once_in_their_order() -> None:
    """By the kernel's timer, where there is one: all of these were due long ago."""
    fired: list[float] = []
    asyncio.run(pace([k / 1000 for k in range(300)], -1e6, fired.append))
    assert fired == [k / 1000 for k in range(300)]
