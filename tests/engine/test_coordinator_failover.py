"""Workers crash, nodes go, drain and are revoked: what serves goes on, and the rest is planned anew."""

from cluster_world import Story, announcement, blueprint, chain, spec

from cutwater.engine.control import (
    Assign,
    Beaten,
    CoordinatorCommand,
    DeployAsked,
    Direct,
    DrainAsked,
    MakePlan,
    NodeRevoked,
    Planned,
    Tell,
)
from cutwater.engine.coordinator.rollout import token_of
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import Blueprint, EpochPhase
from cutwater.engine.facts.nodes import Assignment, NodeBeat, Phase
from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import Tick
from cutwater.units import NodeId

QUICK = CoordinatorOptions(survey_patience=0.0)
A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
LOST = Fault("WorkerLost", "killed by SIGKILL", "node b", True)


def live_story(made: Blueprint | None = None, nodes: str = "abc") -> Story:
    """Two stages on a and b; c, if it is there, is free."""
    story = Story(*map(announcement, nodes), options=QUICK)
    story.lead("m")
    story.go_live(made or blueprint("m", "a", "b"), at=10.0)
    return story


def routes(commands: list) -> list[tuple[tuple[str, ...], bool]]:
    """The hops of the live ways in the only table among ``commands``, and whether they are spare."""
    (table,) = [command.table for command in commands if isinstance(command, Direct)]
    return [(tuple(hop.address for hop in route.hops), route.spare) for route in table.live.routes]


def test_a_crashed_worker_leaves_the_routes_and_returns_when_it_serves_again_without_a_plan() -> None:
    story = live_story()
    story.runs("b", "m.1.0.1.0", phase=Phase.BACKING_OFF, restarts=1, fault=LOST)
    told = story.beat("b", at=10.5)
    assert [type(command) for command in told] == [Direct] and routes(told) == []
    story.obey(told)
    story.runs("b", "m.1.0.1.0", restarts=1)
    told = story.beat("b", at=11.0)
    assert [type(command) for command in told] == [Direct]
    assert routes(told) == [(("unix:/m.1.0.0.0", "tcp:b:m.1.0.1.0"), False)]


def test_a_worker_that_crashes_again_and_again_is_planned_onto_another_node() -> None:
    story = live_story()
    for crash in range(1, 6):
        story.runs("b", "m.1.0.1.0", phase=Phase.BACKING_OFF, restarts=crash, fault=LOST)
        told = story.beat("b", at=10.0 + crash / 10)
    assert told[0] == Tell("failing", "m.1.0.1.0", "it ends again and again on b")
    (asked,) = [command for command in told if isinstance(command, MakePlan)]
    assert [view.announcement.node for view in asked.nodes] == [A, C]


def test_a_lost_node_is_noticed_within_a_lease_and_its_share_goes_to_the_survivors() -> None:
    story = live_story()
    del story.running[B]
    for at in (11.0, 12.0):
        story.obey(story.beats(at))
    told = story.beat("a", at=13.0)
    assert told[0] == Tell("lost", "b", "b has been silent for 3 s")
    assert routes(told) == []
    story.obey(told)
    (asked,) = [command for command in told if isinstance(command, MakePlan)]
    assert [view.announcement.node for view in asked.nodes] == [A, C] and asked.live is not None
    story.bring_up(blueprint("m", "a", "c"), at=13.2)
    assert story.tallies["m"].epoch == 2
    assert {node: [*workers] for node, workers in story.running.items()} == {A: ["m.2.0.0.0"], C: ["m.2.0.1.0"]}


def test_a_spare_serves_as_soon_as_the_node_before_it_is_lost() -> None:
    made = Blueprint(model="m", chains=(chain("m", ["a", "b"], 2, spares=["c"]),), throughput=1.0, latency=0.1)
    story = live_story(made)
    live = story.machine.books.deployments["m"].live
    assert live is not None and len(live.workers) == 4
    story.runs("b", "m.1.0.1.0", phase=Phase.BACKING_OFF, restarts=1, fault=LOST)
    assert routes(story.beat("b", at=10.5)) == [
        (("unix:/m.1.0.0.0", "tcp:c:m.1.0.1.1"), True),
        (("tcp:c:m.1.0.0.1", "unix:/m.1.0.1.1"), True),
    ]


def test_a_node_lost_in_the_middle_of_a_roll_out_ends_it_and_another_plan_is_asked_for_at_once() -> None:
    story = Story(announcement("a"), announcement("b"), announcement("c"), options=QUICK)
    story.lead("m")
    story.tell(DeployAsked(spec("m")), at=10.0)
    story.obey(story.tell(Planned(model="m", ticket=1, blueprint=blueprint("m", "a", "b")), at=10.0))
    del story.running[B]
    for at in (11.0, 12.0):
        story.beats(at)
    told = story.beat("a", at=13.0)
    assert [command.text for command in told if isinstance(command, Tell)] == [
        "b has been silent for 3 s",
        "b cannot be used",
    ]
    (asked,) = [command for command in told if isinstance(command, MakePlan)]
    assert [view.announcement.node for view in asked.nodes] == [A, C]


def test_a_drained_node_serves_until_another_does_its_part() -> None:
    story = live_story()
    told = story.tell(DrainAsked(B), at=10.5)
    assert [type(command) for command in told] == [Tell, MakePlan]  # its ways stay
    story.obey(told)
    story.bring_up(blueprint("m", "a", "c"), at=10.6)
    assert story.running[B] == {} and story.tallies["m"].epoch == 2
    assert story.beats(at=11.0) == []


def test_a_revoked_node_runs_nothing_and_every_token_it_knew_ends() -> None:
    story = Story(announcement("a"), announcement("b"), announcement("c"), options=QUICK)
    story.lead("m", "n")
    story.go_live(blueprint("m", "a", "b"), at=10.0)
    story.go_live(blueprint("n", "a", "c"), at=10.0)
    told = story.tell(NodeRevoked(B), at=11.0)
    assert Assign(Assignment(node=B, term=1)) in told
    asked = [command for command in told if isinstance(command, MakePlan)]
    assert {command.spec.model for command in asked} == {"m", "n"}
    assert all(B not in [view.announcement.node for view in command.nodes] for command in asked)
    story.obey(told)
    del story.running[B]
    story.bring_up(blueprint("m", "a", "c"), at=11.1)
    story.bring_up(blueprint("n", "a", "c"), at=11.1)
    for name, number in (("m", 2), ("n", 2)):
        live = story.machine.books.deployments[name].live
        assert live is not None and live.token == token_of("s", name, number) != token_of("s", name, 1)
    assert (
        story.tell(Beaten(NodeBeat(node=B, incarnation="1", cpu=0.0, memory=0)), at=11.5) == []
    )  # nobody listens to it any more


def test_a_node_that_returns_before_the_plan_needs_none() -> None:
    story = live_story()
    states = story.running.pop(B)
    for at in (11.0, 12.0):
        story.obey(story.beats(at))
    story.obey(story.beats(at=13.0))
    story.running[B] = states
    told = story.beat("b", at=13.5)
    assert routes(told) == [(("unix:/m.1.0.0.0", "tcp:b:m.1.0.1.0"), False)]
    story.obey(told)
    asked = story.machine.books.deployments["m"].asked
    assert asked is not None
    assert story.tell(Planned(model="m", ticket=asked.ticket, blueprint=blueprint("m", "a", "c")), at=13.6) == []
    live = story.machine.books.deployments["m"].live
    assert live is not None and live.number == 1 and live.phase is EpochPhase.LIVE


def test_a_worker_no_gateway_can_reach_is_planned_elsewhere_though_its_node_says_it_serves() -> None:
    story = live_story()
    suspects = ("tcp:b:m.1.0.1.0",)
    story.gateway(at=10.5, suspects=suspects)
    for at in (11.5, 12.5, 13.5, 14.5):
        assert not any(isinstance(c, MakePlan) for c in story.beats(at) + story.gateway(at, suspects=suspects))
    for node in story.running:
        story.beat(node, at=15.4)
    told = story.gateway(at=16.0, suspects=suspects)
    assert told == []  # one beat in between did not name it, so the time began anew


def test_a_worker_suspected_all_the_time_is_planned_elsewhere() -> None:
    story = live_story()
    for at in (10.5, 12.0, 13.5, 15.0):
        for node in story.running:
            story.beat(node, at)
        assert story.gateway(at, suspects=("tcp:b:m.1.0.1.0",)) == []
    told = story.gateway(at=15.5, suspects=("tcp:b:m.1.0.1.0",))
    assert told[0] == Tell("failing", "m.1.0.1.0", "g gets no answer from it on b")
    (asked,) = [command for command in told if isinstance(command, MakePlan)]
    assert [view.announcement.node for view in asked.nodes] == [A, C]


def suspected(story: Story, worker: str, since: float) -> list[CoordinatorCommand]:
    """A gateway hears nothing of a worker for as long as it takes."""
    for at in (since, since + 1.5, since + 3.0, since + 4.5, since + 5.0):
        for node in story.running:
            story.beat(node, at)
        told = story.gateway(at, suspects=(worker,))
    return told


def test_a_node_that_was_left_out_for_a_while_is_one_to_plan_with_again() -> None:
    story = live_story()
    suspected(story, "tcp:b:m.1.0.1.0", since=10.5)
    deployment = story.machine.books.deployments["m"]
    asked = deployment.asked
    assert asked is not None
    story.obey(story.tell(Planned(model="m", ticket=asked.ticket, blueprint=blueprint("m", "a", "c")), at=15.6))
    end = 15.5 + story.machine.options.unfit_for
    now = 15.6
    while now < end:
        story.obey(story.beats(at=now))
        story.obey(story.gateway(now))
        assert deployment.wish is None and B in deployment.unfit
        now += 1.0
    told = story.beats(at=end + 0.1) + story.tell(Tick(), at=end + 0.2)
    (asked_again,) = [command for command in told if isinstance(command, MakePlan)]
    assert [view.announcement.node for view in asked_again.nodes] == [A, B, C]
    assert deployment.asked is not None and deployment.asked.why == "b may run it again"


def test_where_the_others_cannot_serve_a_node_on_which_workers_failed_may_try_again() -> None:
    story = Story(*map(announcement, "abc"), options=QUICK)
    story.lead("m")
    story.obey(story.tell(DeployAsked(spec("m")), at=10.0))
    deployment = story.machine.books.deployments["m"]
    deployment.unfit.add(B, 10.0)
    asked = deployment.asked
    assert asked is not None
    story.tell(Planned(model="m", ticket=asked.ticket, fault=Fault("NoPlan", "too small", "coordinator")), at=10.5)
    assert not deployment.unfit and deployment.failures == 1
    story.tell(Tick(), at=10.5 + story.machine.options.retry)
    assert deployment.asked is not None and deployment.asked.nodes == {A, B, C}


def test_where_no_other_node_is_left_one_on_which_workers_fail_goes_on() -> None:
    story = live_story(nodes="ab")
    suspected(story, "tcp:b:m.1.0.1.0", since=10.5)
    deployment = story.machine.books.deployments["m"]
    assert story.machine.books.unfit(deployment) == {B}
    deployment.asked = None  # its answer would be one stage on a
    told = suspected(story, "unix:/m.1.0.0.0", since=16.0)
    assert A in deployment.unfit and B in deployment.unfit
    assert story.machine.books.unfit(deployment) == frozenset()
    assert not any(isinstance(command, MakePlan) for command in told)
    assert deployment.asked is None and deployment.failures == 0, "what is live stays"
