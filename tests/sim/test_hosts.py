"""Cores are shared fairly, and computing side by side takes as much longer as was measured."""

from cutwater.drivers.sim.clock import Clock
from cutwater.drivers.sim.hosts import Host
from cutwater.drivers.sim.process import Process
from cutwater.units import NodeId


def finish_times(host: Host, clock: Clock, jobs: list[tuple[float, float]]) -> list[float]:
    """When jobs of ``(start, seconds)`` are done."""
    done: dict[int, float] = {}
    for number, (start, seconds) in enumerate(jobs):

        def begin(_: None, number: int = number, seconds: float = seconds) -> None:
            process = Process(clock, host, NodeId("n"), f"p{number}")
            process.computing.add(seconds, lambda _: done.update({number: clock.now}), None)

        clock.at(start, begin)
    clock.run(100.0)
    return [round(done[number], 9) for number in range(len(jobs))]


def test_jobs_that_fit_the_cores_do_not_slow_each_other_down():
    clock = Clock()
    assert finish_times(Host(clock, "h", 2), clock, [(0.0, 2.0), (1.0, 2.0)]) == [2.0, 3.0]


def test_one_core_is_shared_equally_by_all_that_want_it():
    clock = Clock()
    # Alone for 1 s, then half a core each: the first has 1 s left, which takes 2; the second then is alone again.
    assert finish_times(Host(clock, "h", 1), clock, [(0.0, 2.0), (1.0, 2.0)]) == [3.0, 4.0]


def test_busy_neighbours_slow_down_by_the_measured_contention():
    clock = Clock()
    assert finish_times(Host(clock, "h", 2, contention=1.5), clock, [(0.0, 1.0), (0.0, 1.0)]) == [1.5, 1.5]


def test_jobs_that_end_at_the_same_time_all_end():
    clock = Clock()
    assert finish_times(Host(clock, "h", 4), clock, [(0.0, 0.3), (0.1, 0.2), (0.2, 0.1), (0.1 + 0.1, 0.1)]) == [0.3] * 4


def test_a_stopped_process_goes_on_where_it_was():
    clock = Clock()
    process = Process(clock, Host(clock, "h", 1), NodeId("n"), "p")
    done: list[float] = []
    process.loop.add(2.0, lambda _: done.append(clock.now), None)
    clock.at(0.5, lambda _: process.stop())
    clock.at(1.0, lambda _: process.loop.add(1.0, lambda _: done.append(clock.now), None))
    clock.at(3.0, lambda _: process.resume())
    clock.run(10.0)
    assert done == [4.5, 5.5]


def test_a_dead_process_does_nothing_any_more():
    clock = Clock()
    process = Process(clock, Host(clock, "h", 1), NodeId("n"), "p")
    done: list[float] = []
    told: list[str] = []
    process.on_death.append(lambda: told.append("dead"))
    process.loop.add(1.0, lambda _: done.append(clock.now), None)
    clock.at(0.5, lambda _: process.die())
    clock.run(10.0)
    process.resume()
    process.loop.add(0.0, lambda _: done.append(clock.now), None)
    assert (done, told) == ([], ["dead"])


def test_jobs_that_had_a_core_each_still_end_when_others_crowd_in_again_and_again():
    clock = Clock()
    host = Host(clock, "h", 1)
    # Each time one is alone, then joined by a longer one: the shared rate is the same as the time before.
    starts = [(0.0, 1.0), (0.5, 2.0), (10.0, 1.0), (10.5, 2.0)]
    assert finish_times(host, clock, starts) == [1.5, 3.0, 11.5, 13.0]
