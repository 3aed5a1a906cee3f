"""Models that share nodes: the door of each reckons with what the others have there, and all of it replays."""

import pytest
from gateway_story import L1, L2, R1, R2, R3, A, C, Story, answer, launch

from cutwater.engine.gateway.crowd import Crowd
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.gateway.neighbours import AGAIN, Neighbours
from cutwater.engine.replay import replay
from cutwater.engine.trace import Step, Trace, from_line, to_line
from cutwater.engine.vocabulary import Asked, Beside, Fail, GatewayEvent, Load, Opened, Received, Rerouted, Route
from cutwater.units import NodeId, RequestId

N, M = NodeId("n"), NodeId("m")
EIGHTH = Route((A,), seconds=(0.125,), latency=0.125, nodes=(N,))
"""Answers eight requests per second, at the node n."""
TWO = (EIGHTH, Route((C,), seconds=(0.125,), latency=0.125, nodes=(M,)))
"""The same at each of two nodes."""


def beside(waiting: float = 0.0, flying: float = 0.0, done: float = 0.0) -> Beside:
    """At the node n."""
    return Beside({N: Load(waiting, flying, done)})


def test_what_others_have_open_at_the_node_is_before_a_request_like_its_own() -> None:
    story = Story(EIGHTH)
    story.tell(beside(waiting=0.25, flying=0.5), at=1.0)
    # 0.75 s of theirs and 0.125 s of its own, with caution.
    (refused,) = story.ask(R1, at=1.0, timeout=0.875)
    assert isinstance(refused, Fail) and refused.fault.retry_after == 1.0625 * (0.75 + 0.125)
    assert story.ask(R2, at=1.0, timeout=1.125) == [launch(R2, route=EIGHTH, budget=1.125)]
    story.tell(beside(), at=1.5)
    assert story.ask(R3, at=1.5, timeout=0.375) == [launch(R3, route=EIGHTH, budget=0.375)]


def test_what_others_have_at_other_nodes_is_nothing_to_it() -> None:
    story = Story(EIGHTH)
    story.tell(Beside({M: Load(9.0, 9.0, 9.0)}), at=1.0)
    story.ask(R1, at=1.0)
    assert story.ask(R2, at=1.0, timeout=0.375) == [launch(R2, route=EIGHTH, budget=0.375)]


def test_of_two_ways_the_one_whose_node_has_less_to_do_for_others_is_chosen() -> None:
    story = Story(*TWO)
    story.tell(beside(flying=0.2), at=1.0)
    assert story.ask(R1, at=1.0) == [launch(R1, L2, TWO[1])]
    story.tell(Beside({N: Load(0.0, 0.2, 0.0), M: Load(0.0, 0.2, 0.0)}), at=1.0)
    assert story.ask(R2, at=1.0) == [launch(R2, L1, EIGHTH)]


def test_that_answers_come_slowly_while_others_are_computed_is_not_held_against_the_own_model() -> None:
    story = Story(EIGHTH, window=1, credits=1000)
    for number in range(1, 200):
        story.ask(RequestId(number), at=1.0, timeout=60.0)
    for number in range(1, 101):  # between two answers the node computes for others for a quarter of a second
        at = 1.0 + 0.375 * number
        story.tell(beside(done=0.25 * number), at)
        story.tell(Received(L1, answer(RequestId(number))), at)
    assert story.machine._door.flow.gap == pytest.approx(0.125, rel=1e-3)


def test_one_whose_neighbours_fill_the_node_keeps_one_under_way_and_its_others_wait_outside() -> None:
    story = Story(EIGHTH)
    story.tell(beside(flying=10.0), at=1.0)
    assert story.ask(R1, at=1.0, timeout=60.0) == [launch(R1, route=EIGHTH, budget=60.0)]
    story.tell(Received(L1, answer(R1, seconds=(0.125,))), at=1.125)
    story.ask(R1, at=2.0, timeout=30.0)
    assert story.ask(R2, at=2.0, timeout=30.0) == []


def test_neighbours_hear_of_each_other_through_what_their_nodes_have_to_do() -> None:
    neighbours = Neighbours()
    one, other, apart = Story(EIGHTH, window=2), Story(EIGHTH), Story(TWO[1])
    for story in (one, other, apart):
        neighbours.add(story.machine.share)
    assert neighbours.beside(other.machine.share, 1.0) == Beside({N: Load(0.0, 0.0, 0.0)})
    for number in range(1, 6):
        one.ask(RequestId(number), at=1.1)
    assert neighbours.beside(other.machine.share, 1.0 + AGAIN / 2) is None
    # Two are flying. Of the three that wait one is launched before one more of the other's, as doors take turns.
    assert neighbours.beside(other.machine.share, 1.1) == beside(waiting=0.125, flying=0.25)
    assert neighbours.beside(other.machine.share, 1.2) is None
    one.tell(Received(L1, answer(R1, seconds=(0.125,))), at=1.3)
    assert neighbours.beside(other.machine.share, 1.3) == beside(waiting=0.125, flying=0.25, done=0.125)
    assert neighbours.beside(apart.machine.share, 1.3) is None
    neighbours.remove(one.machine.share)
    assert neighbours.beside(other.machine.share, 1.4) == Beside({})
    apart.tell(Rerouted((EIGHTH,)), at=1.5)
    neighbours.moved()
    assert neighbours.beside(other.machine.share, 1.5) == Beside({N: Load(0.0, 0.0, 0.0)})


def test_water_finds_one_level() -> None:
    crowd = Crowd()
    crowd.loads = {N: Load(1.0, 2.0, 0.0), M: Load(0.0, 0.5, 0.0)}
    assert crowd.beyond(1.0, [(N,)], launched=False) == 3.0
    assert crowd.beyond(1.0, [(N,)], launched=True) == 2.0
    assert crowd.beyond(1.0, [(N, M)], launched=False) == 3.0
    # Two ways take 1 s each; the one at m has room for all of it before n's 3 s are over, and for 4 s not.
    assert crowd.beyond(1.0, [(N,), (M,)], launched=False) == 0.5 + 2.0 - 1.0
    assert crowd.beyond(4.0, [(N,), (M,)], launched=False) == (8.0 + 3.0 + 0.5) / 2 - 4.0
    assert crowd.beyond(1.0, [(N,), (NodeId("free"),)], launched=False) == 1.0


def test_what_neighbours_have_is_in_the_trace_so_that_it_replays() -> None:
    trace, machine = Trace(), Gateway()
    trace.begin("gateway", machine)
    events: list[GatewayEvent] = [Rerouted((EIGHTH,)), Opened(L1, 4, "unix:a"), beside(0.25, 0.5, 1.0), Asked(R1, 0.9)]
    for at, event in enumerate(events, 1):
        trace.append(float(at), "gateway", event, machine.handle(event, float(at)))
    assert [type(command) for step in trace for command in step.commands][-1] is Fail
    lines = [from_line(to_line(line)) for line in [*trace.births.values(), *trace]]
    found = replay(lines)
    assert (found.steps, found.difference) == (4, None)
    without = [line for line in lines if not (isinstance(line, Step) and isinstance(line.event, Beside))]
    assert replay(without).difference is not None
