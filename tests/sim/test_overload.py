"""More is asked than can be answered: what is answered comes in time, nothing is computed in vain, all get a share."""

from itertools import takewhile
from random import Random

import pytest
from sim_plans import chain_plan

from cutwater.drivers.sim.outcomes import Asking
from cutwater.drivers.sim.pipeline import PipelineOptions, SimPipeline
from cutwater.drivers.sim.workload import poisson
from cutwater.drivers.sim.world import WorldOptions

STAGES = (0.010, 0.020, 0.015)
CAPACITY = 50.0
FILLED, LONG = 2.0, 12.0
"""From when to when ends are counted."""


def pipeline(timeout: float) -> SimPipeline:
    options = PipelineOptions(timeout=timeout, world=WorldOptions(validate_every=0.05))
    return SimPipeline(chain_plan(STAGES), options=options)


def crowd(to: SimPipeline, factor: float, seed: int = 1, priority: int = 0, client: str = "") -> None:
    arrivals = poisson(factor * CAPACITY, Random(seed))
    to.offer(takewhile(lambda at: at < LONG, arrivals), priority, client)


def settle(run: SimPipeline) -> list[Asking]:
    """What ended while it was crowded."""
    began = run.world.clock.now
    run.world.settle(1e9)
    assert run.world.figures().lost == 0
    return [each for each in run.world.askings if FILLED < (each.ended or 0.0) - began <= LONG]


def per_second(askings: list[Asking], client: str | None = None) -> float:
    """Results."""
    good = [each for each in askings if not each.kind and client in (None, each.client)]
    return len(good) / (LONG - FILLED)


@pytest.mark.parametrize("timeout", [0.2, 0.5, 2.0])
@pytest.mark.parametrize("factor", [2, 10])
def test_at_many_times_the_capacity_as_much_is_answered_as_can_be(factor, timeout):
    run = pipeline(timeout)
    crowd(run, factor)
    ended = settle(run)
    assert per_second(ended) >= 0.97 * CAPACITY
    assert {each.kind for each in ended} == {"", "Refused"}
    # Who is refused hears of it at once, or has waited and was not launched.
    refused = [each for each in ended if each.kind]
    assert sum(each.latency == 0.0 for each in refused) >= 0.98 * len(refused)
    assert all(each.attempt == 0 for each in refused)
    # No stage computed for nobody.
    assert run.workers[-1].served == sum(not each.kind for each in run.world.askings) + 1


def test_the_line_is_as_short_as_the_deadlines_and_not_as_long_as_it_may_be():
    run = pipeline(0.5)
    crowd(run, 10)
    run.world.run(run.world.clock.now + 5.0)
    snapshot = run.entrance.machine.snapshot()
    assert snapshot.queued + snapshot.flying < 0.5 * CAPACITY
    assert len(run.entrance.open) == snapshot.queued + snapshot.flying


def test_a_client_who_asks_little_gets_what_it_asks_beside_one_who_asks_ten_times_what_there_is():
    run = pipeline(0.5)
    crowd(run, 10, client="greedy")
    crowd(run, 0.3, seed=2, client="modest")
    ended = settle(run)
    modest = [each for each in ended if each.client == "modest"]
    assert sum(not each.kind for each in modest) >= 0.95 * len(modest)
    assert per_second(ended) >= 0.97 * CAPACITY
    assert per_second(ended, "greedy") >= 0.6 * CAPACITY


def test_two_who_ask_too_much_get_half_each_however_much_more_one_of_them_asks():
    run = pipeline(1.0)
    crowd(run, 10, client="greedy")
    crowd(run, 2, seed=2, client="other")
    ended = settle(run)
    assert per_second(ended, "greedy") == pytest.approx(0.5 * CAPACITY, rel=0.1)
    assert per_second(ended, "other") == pytest.approx(0.5 * CAPACITY, rel=0.1)


def test_the_urgent_are_answered_as_if_nobody_else_were_there():
    run = pipeline(0.5)
    crowd(run, 10)
    crowd(run, 0.5, seed=2, priority=1, client="urgent")
    ended = settle(run)
    urgent = [each for each in ended if each.priority]
    assert sum(not each.kind for each in urgent) >= 0.99 * len(urgent)
    assert per_second(ended) >= 0.97 * CAPACITY
