"""When links are measured: all of them at first, each again after a while, and again sooner where it did not work."""

from itertools import pairwise

from cluster_world import announcement

from cutwater.engine.control import Measure
from cutwater.engine.coordinator.members import Member, Members, Standing
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.coordinator.survey import Survey
from cutwater.engine.facts.nodes import MeasuredLink, NodeBeat
from cutwater.units import NodeId

OPTIONS = CoordinatorOptions()
A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


def cluster(*nodes: NodeId, cpu: float = 0.0, host: str | None = None) -> Members:
    members: Members = {}
    for node in nodes:
        member = members[node] = Member(announcement(node, host=host), Standing.ALIVE)
        member.beat = NodeBeat(node=node, incarnation="1", cpu=cpu, memory=0)
    return members


def pairs(asked: Measure | None) -> list[tuple[NodeId, NodeId]]:
    return [] if asked is None else [(asked.node, peer) for peer, _ in asked.peers]


def answer(survey: Survey, asked: Measure, now: float) -> None:
    for source, target in pairs(asked):
        survey.measured(MeasuredLink(source=source, target=target, bandwidth=1e9, latency=1e-3, at=""), now)


def known(members: Members) -> Survey:
    """A survey that has begun with every link known."""
    survey = Survey(OPTIONS)
    every = {(a, b) for a in members for b in members if a != b}
    for node in members:
        survey.joined(node, members, every, now=0.0)
    return survey


def test_a_known_link_is_measured_again_and_again() -> None:
    members = cluster(A, B)
    survey = known(members)
    assert not survey.busy and survey.next(members, 0.0) is None
    measured: dict[tuple[NodeId, NodeId], list[float]] = {(A, B): [], (B, A): []}
    now = 0.0
    while now < 2000.0:
        at = survey.wake_at()
        assert at is not None
        now = at
        asked = survey.next(members, now)
        if asked is not None:
            (pair,) = pairs(asked)
            assert not survey.busy, "no first plan waits for this"
            measured[pair].append(now)
            answer(survey, asked, now + 1.0)
    for times in measured.values():
        assert len(times) >= 4
        assert all(0.7 * 300.0 < b - a < 1.3 * 300.0 + 10.0 for a, b in pairwise([0.0, *times]))


def test_only_one_link_is_measured_again_at_a_time_with_a_rest_after_it() -> None:
    members = cluster(A, B, C)
    survey = known(members)
    late = 10_000.0
    asked = survey.next(members, late)
    assert asked is not None and len(asked.peers) == 1
    assert survey.next(members, late + 0.5) is None
    answer(survey, asked, late + 1.0)
    assert survey.next(members, late + 1.0) is None
    assert survey.wake_at() == late + 1.0 + OPTIONS.survey_rest
    assert survey.next(members, late + 1.0 + OPTIONS.survey_rest) is not None


def test_a_link_that_cannot_be_measured_is_tried_again_ever_later() -> None:
    members = cluster(A, B)
    survey = Survey(OPTIONS)
    survey.joined(A, members, {(B, A)}, now=0.0)
    asked = survey.next(members, 0.0)
    assert pairs(asked) == [(A, B)] and survey.busy
    tried, now = [0.0], 0.0
    while len(tried) < 4:
        survey.failed((A, B), now)
        assert not survey.busy
        asked = None
        while (A, B) not in pairs(asked):
            at = survey.wake_at()
            assert at is not None
            now, asked = at, survey.next(members, at)
        tried.append(now)
    assert [b - a for a, b in pairwise(tried)] == [10.0, 20.0, 40.0]


def test_a_node_that_does_not_answer_is_given_up_and_asked_again() -> None:
    members = cluster(A, B)
    survey = Survey(OPTIONS)
    survey.joined(A, members, {(B, A)}, now=0.0)
    assert survey.next(members, 0.0) is not None
    assert survey.wake_at() == OPTIONS.survey_timeout
    assert survey.next(members, OPTIONS.survey_timeout) is None and not survey.busy
    again = OPTIONS.survey_timeout + max(OPTIONS.survey_rest, OPTIONS.survey_retry)
    assert pairs(survey.next(members, again)) == [(A, B)]


def test_busy_nodes_and_nodes_of_one_host_are_left_alone() -> None:
    members = cluster(A, B, cpu=0.9)
    survey = known(members)
    assert survey.next(members, 1000.0) is None
    quiet = cluster(A, B)
    assert survey.next(quiet, 1000.0 + 0.1 * OPTIONS.survey_again) is not None
    assert known(cluster(A, B, host="one")).wake_at() is None


def test_a_node_that_went_is_forgotten_and_its_links_are_looked_at_again_when_it_is_back() -> None:
    members = cluster(A, B)
    survey = known(members)
    assert survey.next(members, 1000.0) is not None
    members[B].standing = Standing.GONE
    survey.gone(B)
    assert survey.next(members, 2000.0) is None and survey.wake_at() is None
    members[B].standing = Standing.ALIVE
    survey.joined(B, members, {(A, B), (B, A)}, now=3000.0)
    assert survey.wake_at() is not None


def test_a_thousand_nodes_have_few_links_each() -> None:
    members = cluster(*(NodeId(f"n{k}") for k in range(1000)))
    survey = Survey(OPTIONS)
    asked = 0
    for node in members:
        survey.joined(node, members, (), now=0.0)
    while (measure := survey.next(members, 0.0)) is not None:
        asked += len(measure.peers)
        answer(survey, measure, 0.0)
    assert asked <= 2 * OPTIONS.survey_peers * len(members)
