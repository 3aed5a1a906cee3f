"""A deployment's way from a wish to a live epoch and back to nothing, command by command."""

from cluster_world import Story, announcement, blueprint, model, spec

from cutwater.engine.control import (
    Assign,
    DeployAsked,
    Direct,
    Erase,
    Leading,
    MakePlan,
    NodeView,
    Planned,
    Save,
    Tell,
    UndeployAsked,
)
from cutwater.engine.coordinator.coordinator import CoordinatorSnapshot
from cutwater.engine.coordinator.rollout import Epoch, token_of
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploymentRecord, EpochPhase, EpochRecord
from cutwater.engine.facts.gateways import EpochTable, ModelTally, RouteTable
from cutwater.engine.facts.nodes import Assignment, Phase
from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import Route
from cutwater.units import GatewayId, NodeId
from cutwater.wire.message import Hop

A, B = NodeId("a"), NodeId("b")
TOKEN = token_of("s", "m", 1)
MADE = blueprint("m", "a", "b")


def specs(made=MADE, epoch=1, token=TOKEN):
    """The workers of an epoch, as they are wanted."""
    record = EpochRecord(epoch=epoch, token=token, phase=EpochPhase.STARTING, blueprint=made)
    workers = Epoch(made.model, record, 0.0, CoordinatorOptions()).workers
    return {name: worker.spec for name, worker in workers.items()}


def record(*epochs: tuple[int, EpochPhase], **rest: object) -> DeploymentRecord:
    """What is saved of a deployment of two stages."""
    made = tuple(
        EpochRecord(epoch=k, token=token_of("s", "m", k), phase=phase, blueprint=MADE, why="deployed")
        for k, phase in epochs
    )
    return DeploymentRecord(spec=spec("m"), epochs=made, **rest)  # type: ignore[arg-type]


def assign(node: NodeId, *workers: str) -> Assign:
    return Assign(Assignment(node=node, term=1, workers=tuple(specs()[name] for name in workers)))


def table(mark: str, **rest: object) -> Direct:
    return Direct(GatewayId("g"), RouteTable(model="m", term=1, mark=mark, **rest))  # type: ignore[arg-type]


WAY = Route(
    hops=(Hop("unix:/m.1.0.0.0", "plain"), Hop("tcp:b:m.1.0.1.0", "plain")),
    epoch=1,
    seconds=(0.01, 0.01),
    latency=0.01,
    nodes=(A, B),
)
DOORS = ((MADE.chains[0].entry, MADE.chains[0].exit),)
WAYS = EpochTable(epoch=1, token=TOKEN, routes=(WAY,), doors=DOORS)


def test_a_deployment_comes_up_from_its_last_stage_is_probed_serves_and_goes() -> None:
    story = Story(announcement("a"), announcement("b"))
    story.lead("m")
    views = tuple(NodeView(announcement=announcement(name), free=8 * 2**30) for name in ("a", "b"))
    asked = MakePlan(ticket=1, spec=spec("m"), record=model("m"), nodes=views, links=(), source=A, source_host="a")
    assert story.tell(DeployAsked(spec("m")), at=10.0) == [Save(record()), table("1.1")]
    story.uses("m", RouteTable(model="m", term=1, mark="1.1"))
    assert story.beats(at=12.0) == []  # the links between its nodes are being measured
    assert story.beats(at=13.0) == [asked]

    assert story.tell(Planned(model="m", ticket=1, blueprint=MADE), at=13.5) == [
        Tell("rolling-out", "m", "epoch 1: deployed"),
        Save(record((1, EpochPhase.STARTING), next_epoch=2)),
        Assign(Assignment(node=A, term=1, coming=("m-0",))),  # to be fetched while the stage after it loads
        assign(B, "m.1.0.1.0"),
    ]
    story.runs("b", "m.1.0.1.0", phase=Phase.LOADING)
    assert story.beats(at=14.0) == []
    story.runs("b", "m.1.0.1.0")
    assert story.beat("b", at=14.5) == [assign(A, "m.1.0.0.0")]
    story.runs("a", "m.1.0.0.0")
    assert story.beat("a", at=15.0) == [
        Save(record((1, EpochPhase.PROBING), next_epoch=2)),
        table("1.2", candidate=WAYS),
    ]
    story.uses("m", RouteTable(model="m", term=1, mark="1.2", candidate=WAYS))
    assert story.gateway(at=15.5) == [
        Tell("rolled-out", "m", "deployed"),
        Save(record((1, EpochPhase.LIVE), next_epoch=2)),
        table("1.3", live=WAYS),
    ]
    story.uses("m", RouteTable(model="m", term=1, mark="1.3", live=WAYS))
    assert story.beats(at=16.0) == []  # all is as wanted
    assert story.machine.snapshot() == CoordinatorSnapshot(
        term=1, nodes=2, gateways=1, deployments=1, rolling=0, parked=0, planning=0
    )

    gone = RouteTable(model="m", term=1, mark="1.4", removed=True)
    assert story.tell(UndeployAsked("m"), at=17.0) == [
        Tell("removed", "m", "undeployed"),
        Save(record((1, EpochPhase.DRAINING), next_epoch=2, removed=True)),
        Direct(GatewayId("g"), gone),
    ]
    story.uses("m", gone, flying={1: 3})
    assert story.gateway(at=17.5) == []  # three requests are still under way
    story.uses("m", gone)
    assert story.gateway(at=18.0) == [
        Save(record(next_epoch=2, removed=True)),
        assign(A),
        assign(B),
    ]
    story.running = {A: {}, B: {}}
    assert story.beat("a", at=18.5) == []
    assert story.beat("b", at=18.5) == [Erase("m")]


def test_an_epoch_whose_probe_fails_is_rolled_back_and_tried_again_after_a_pause() -> None:
    story = Story(announcement("a"), announcement("b"), options=CoordinatorOptions(survey_patience=0.0))
    story.lead("m")
    story.tell(DeployAsked(spec("m")), at=10.0)
    story.obey(story.tell(Planned(model="m", ticket=1, blueprint=MADE), at=10.0))
    for _ in range(2):
        story.obey(story.beat("b", at=10.0))
        story.obey(story.beat("a", at=10.0))
    story.uses("m", RouteTable(model="m", term=1, mark="1.2", candidate=WAYS), probed={1: "b cannot be reached"})
    assert story.gateway(at=10.5) == [
        Tell("rolled-back", "m", "g got no answer through it: b cannot be reached"),
        Save(record(next_epoch=2)),
        assign(A),
        assign(B),
        table("1.3"),
    ]
    story.running = {A: {}, B: {}}
    story.tallies.clear()
    assert [type(command) for command in story.beats(at=11.0)] == []
    assert [type(command) for command in story.beats(at=11.5)] == [MakePlan]


def test_a_gateway_that_is_ill_delays_a_roll_out_and_does_not_stop_it() -> None:
    story = Story(announcement("a"), announcement("b"), options=CoordinatorOptions(survey_patience=0.0))
    story.lead("m")
    story.tell(DeployAsked(spec("m")), at=10.0)
    story.gateway(at=10.0, gateway=GatewayId("ill"))
    story.obey(story.tell(Planned(model="m", ticket=1, blueprint=MADE), at=10.0))
    for _ in range(2):
        story.obey(story.beat("b", at=10.0))
        story.obey(story.beat("a", at=10.0))

    def said(at: float) -> list[Tell]:
        complaint = ModelTally(model="m", probed={1: "too many open files"})
        commands = story.beats(at) + story.gateway(at, gateway=GatewayId("ill"), models=(complaint,))
        return [command for command in commands if isinstance(command, Tell)]

    assert [note for half in range(1, 40) for note in said(10.0 + half / 2)] == []
    assert said(30.0) == [
        Tell("unproven", "m", "epoch 1: ill got no answer through it: too many open files"),
        Tell("rolled-out", "m", "deployed"),
    ]


def test_a_worker_that_ends_at_every_load_fails_its_epoch_and_its_node_is_left_out_for_a_while() -> None:
    story = Story(announcement("a"), announcement("b"), options=CoordinatorOptions(survey_patience=0.0))
    story.lead("m")
    story.tell(DeployAsked(spec("m")), at=10.0)
    story.tell(Planned(model="m", ticket=1, blueprint=MADE), at=10.0)
    fault = Fault("StageFailed", "the file is not a model", "node b", False)
    for restarts in (1, 2):
        story.runs("b", "m.1.0.1.0", phase=Phase.BACKING_OFF, restarts=restarts, fault=fault)
        assert story.beats(at=10.0 + restarts / 2) == []
    story.runs("b", "m.1.0.1.0", phase=Phase.BACKING_OFF, restarts=3, fault=fault)
    assert story.beat("b", at=11.5) == [
        Tell("rolled-back", "m", "m.1.0.1.0 ended 3 times on b: the file is not a model"),
        Save(record(next_epoch=2)),
        assign(B),
    ]
    story.running[B].clear()
    story.beats(at=12.0)
    (asked,) = story.beats(at=12.5)
    assert isinstance(asked, MakePlan) and [view.announcement.node for view in asked.nodes] == [A]


def test_what_was_lost_on_the_way_is_said_again() -> None:
    story = Story(announcement("a"), announcement("b"), options=CoordinatorOptions(survey_patience=0.0))
    story.lead("m")
    story.tell(DeployAsked(spec("m")), at=10.0)
    story.tell(Planned(model="m", ticket=1, blueprint=MADE), at=10.0)
    assert story.beat("b", at=11.5) == []
    assert story.beat("b", at=12.0) == [assign(B, "m.1.0.1.0")]  # it does not show what it was assigned
    assert story.beat("b", at=12.5) == []
    assert story.gateway(at=12.5) == [table("1.1")]  # nor the gateway the table it was sent
    assert story.gateway(at=12.8) == []
    story.runs("a", "n.7.0.0.0")
    told = Assign(Assignment(node=A, term=1, coming=("m-0",)))
    assert story.beat("a", at=12.9) == [told]  # and this one nobody wants


def test_a_changed_wish_replaces_the_live_epoch_and_the_old_one_serves_until_then() -> None:
    story = Story(announcement("a"), announcement("b"), options=CoordinatorOptions(survey_patience=0.0))
    story.lead("m")
    story.go_live(MADE, at=10.0)
    live = story.machine.books.deployments["m"].live
    assert live is not None and live.number == 1
    asked = story.tell(DeployAsked(spec("m", stages=1)), at=11.0)[-1]
    assert isinstance(asked, MakePlan) and asked.live == MADE
    made = blueprint("m", "b")
    story.obey(story.tell(Planned(model="m", ticket=asked.ticket, blueprint=made), at=11.0))
    assert story.tallies["m"].epoch == 1
    for at in (11.5, 12.0, 12.5, 13.0):
        story.obey(story.beats(at))
    assert story.tallies["m"].epoch == 2
    assert {name: [*workers] for name, workers in story.running.items()} == {A: [], B: ["m.2.0.0.0"]}


def test_a_new_leader_adopts_what_runs_and_needs_no_other_plan() -> None:
    first = Story(announcement("a"), announcement("b"), options=CoordinatorOptions(survey_patience=0.0))
    first.lead("m")
    first.go_live(MADE, at=10.0)
    saved = first.machine.books.deployments["m"].record()

    second = Story(announcement("a"), announcement("b"))
    second.running, second.tallies = first.running, first.tallies
    known = Leading(term=9, secret="t", models=(model("m"),), nodes=tuple(second.nodes.values()), deployments=(saved,))
    assert second.tell(known, at=0.0) == []
    assert second.gateway(at=0.1) == []  # what it cannot know yet it does not write
    mine = [specs()["m.1.0.0.0"]]
    assert second.beat("a", at=0.2)[:1] == [Assign(Assignment(node=A, term=9, workers=tuple(mine)))]
    told = second.beat("b", at=0.3)
    mine = [specs()["m.1.0.1.0"]]
    adopted = RouteTable(model="m", term=9, mark="9.1", live=WAYS)
    assert told[:2] == [Assign(Assignment(node=B, term=9, workers=tuple(mine))), Direct(GatewayId("g"), adopted)]
    second.uses("m", adopted)
    for at in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
        assert [c for c in second.beats(at) if isinstance(c, (MakePlan, Save, Direct))] == []


def test_a_new_leader_waits_a_lease_before_it_gives_a_silent_node_up() -> None:
    story = Story(announcement("a"), announcement("b"))
    saved = record((1, EpochPhase.LIVE), next_epoch=2)
    nodes = tuple(story.nodes.values())
    story.tell(Leading(term=1, secret="s", models=(model("m"),), nodes=nodes, deployments=(saved,)), at=0.0)
    story.runs("a", "m.1.0.0.0")
    for at in (0.5, 1.5, 2.5):
        assert not any(isinstance(command, (Tell, MakePlan)) for command in story.beat("a", at))
    told = story.beat("a", at=3.0)
    assert told[0] == Tell("lost", "b", "b has been silent for 3 s")
    assert isinstance(told[-1], MakePlan) and [view.announcement.node for view in told[-1].nodes] == [A]


def test_a_gateway_that_was_away_when_a_model_was_undeployed_is_told_when_it_is_back() -> None:
    story = Story(announcement("a"))
    story.lead("m")
    story.uses("m", RouteTable(model="m", term=0, mark="0.7", live=WAYS))
    assert story.gateway(at=10.5) == [Direct(GatewayId("g"), RouteTable(model="m", term=1, removed=True))]
    story.uses("m", RouteTable(model="m", term=1, removed=True))
    assert story.gateway(at=11.0) == []


def test_a_new_leader_ends_a_draining_epoch_only_when_it_has_heard_the_gateways() -> None:
    story = Story(announcement("a"), announcement("b"))
    saved = record((1, EpochPhase.DRAINING), (2, EpochPhase.LIVE), next_epoch=3)
    nodes = tuple(story.nodes.values())
    story.tell(Leading(term=1, secret="s", models=(model("m"),), nodes=nodes, deployments=(saved,)), at=0.0)
    for k in (1, 2):
        story.runs("a", f"m.{k}.0.0.0")
        story.runs("b", f"m.{k}.0.1.0")
    said = [command for at in (0.5, 1.5, 2.5, 3.0) for node in "ab" for command in story.beat(node, at)]
    assert [command for command in said if isinstance(command, Save)] == [
        Save(record((2, EpochPhase.LIVE), next_epoch=3))
    ]
    assert story.machine.books.settle_at is None

    story.tell(Leading(term=2, secret="s", models=(model("m"),), nodes=nodes, deployments=(saved,)), at=4.0)
    story.uses("m", RouteTable(model="m", term=1, live=WAYS), epoch=2, flying={1: 1})
    said = [c for at in (4.5, 5.5, 6.5, 7.0, 7.5) for c in story.beats(at)]
    assert not any(isinstance(command, Save) for command in said)  # one request is still under way
    story.uses("m", RouteTable(model="m", term=1, live=WAYS), epoch=2)
    assert Save(record((2, EpochPhase.LIVE), next_epoch=3)) in story.gateway(at=8.0)


def test_a_plan_that_takes_minutes_is_waited_for() -> None:
    story = Story(announcement("a"), announcement("b"), options=CoordinatorOptions(survey_patience=0.0))
    story.lead("m")
    (asked,) = [c for c in story.tell(DeployAsked(spec("m")), at=10.0) if isinstance(c, MakePlan)]
    assert not any(isinstance(c, MakePlan) for second in range(11, 611) for c in story.beats(at=float(second)))
    told = story.tell(Planned(model="m", ticket=asked.ticket, blueprint=MADE), at=610.5)
    assert told[0] == Tell("rolling-out", "m", "epoch 1: deployed")


def test_what_other_models_use_of_a_host_is_told_though_their_nodes_are_not_offered() -> None:
    nodes = (announcement("a", host="h"), announcement("b", host="h"), announcement("c"))
    story = Story(*nodes, options=CoordinatorOptions(survey_patience=0.0))
    story.lead("m", "n")
    story.go_live(blueprint("n", "b", "c"), at=10.0)
    for node, worker in (("b", "n.1.0.0.0"), ("c", "n.1.0.1.0")):
        story.runs(node, worker, busy=0.5)
    story.beats(at=10.5)
    (asked,) = [c for c in story.tell(DeployAsked(spec("m", nodes=("a",))), at=11.0) if isinstance(c, MakePlan)]
    assert [view.announcement.node for view in asked.nodes] == ["a"]
    assert asked.taken == {"h": 0.5}
