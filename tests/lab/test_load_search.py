"""The highest rate a service bears: found in made-up time, where the border can be computed, and no machine is busy."""

import asyncio

import pytest
from load_bed import Server, in_made_up_time

from cutwater.errors import BadQuantity, NoPlan
from cutwater.lab.load.log import Log
from cutwater.lab.load.search import Found, Hopeless, Search, SearchOptions
from cutwater.lab.load.sender import Sender
from cutwater.lab.load.work import CV, RATE, Work, at_rate, scaling
from cutwater.workload.schedule import Schedule

SERVICE, SLO, TIME = 0.010, 0.100, 5.0
BORDER = (1 + (SLO - SERVICE) / (0.99 * TIME)) / SERVICE
"""Requests per second. At a constant rate r the k-th waits k (SERVICE - 1/r); of r TIME, 99 % must be in time."""


def found(work: Work, what: str, options: SearchOptions, service: float = SERVICE) -> Found:
    async def story() -> Found:
        loop = asyncio.get_running_loop()

        async def send(schedule: Schedule, hopeless: Hopeless) -> Log:
            log = Log(schedule, slos={"m": SLO})
            return await Sender(log, {"m": [Server(service).prepared]}, now=loop.time).run(hopeless)

        return await Search(scaling(work, what), send, options).run()

    return in_made_up_time(story)


@pytest.mark.parametrize("own", [7.0, 90.0, 900.0])
def test_the_rate_is_found_within_the_width_from_wherever_the_search_begins(own: float) -> None:
    search = found(at_rate(["m"], own, 0.0, TIME, 0), RATE, SearchOptions(width=0.02, repeats=1))
    assert search.kept * own <= BORDER < search.broken * own <= search.kept * own * 1.02 + 1e-9
    assert [tried.kept for tried in sorted(search.tries, key=lambda each: each.factor)] == sorted(
        (tried.kept for tried in search.tries), reverse=True
    )


def test_what_is_hopeless_is_abandoned_before_its_end() -> None:
    search = found(at_rate(["m"], 400.0, 0.0, TIME, 0), RATE, SearchOptions(width=0.5, repeats=3))
    first = search.tries[0]
    assert (first.factor, first.kept, first.abandoned, first.repeats) == (1.0, False, True, 1)
    assert first.requests < 400 * TIME / 2


@pytest.mark.slow
def test_the_burstiness_that_is_found_keeps_the_slo_and_a_little_more_does_not() -> None:
    search = found(at_rate(["m"], 50.0, 1.0, 20.0, 3), CV, SearchOptions(width=0.1, repeats=2, most=100.0))
    tries = {tried.factor: tried for tried in search.tries}
    assert tries[search.kept].attainment.value >= 0.99 > tries[search.broken].attainment.value
    assert search.kept > 1
    assert search.broken <= search.kept * 1.1 + 1e-9


def test_a_service_that_is_never_in_time_has_no_rate() -> None:
    with pytest.raises(NoPlan, match="give a longer SLO"):
        found(at_rate(["m"], 20.0, 0.0, TIME, 0), RATE, SearchOptions(repeats=1), service=2 * SLO)


@pytest.mark.parametrize("wrong", [{"target": 1.0}, {"width": 0.0}, {"repeats": 0}])
def test_what_cannot_be_searched_is_said(wrong: dict[str, float]) -> None:
    with pytest.raises(BadQuantity):
        SearchOptions(**wrong)  # type: ignore[arg-type]
