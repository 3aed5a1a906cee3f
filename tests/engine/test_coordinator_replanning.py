"""Plans that might pay: when they are looked for, what they must gain, what a trial says; and who makes room."""

import msgspec
from cluster_world import GIB, Story, announcement, blueprint, spec

from cutwater.engine.control import Announced, DeployAsked, LinkMeasured, MakePlan, Planned, Tell
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploySpec, EpochPhase
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.engine.fault import Fault
from cutwater.units import NodeId

QUICK = CoordinatorOptions(survey_patience=0.0, consider=2.0)
C = NodeId("c")
FULL = Fault("NoPlan", "no node has room", "planner")


def live_story(wish: DeploySpec | None = None) -> Story:
    """Two stages on a and b."""
    story = Story(announcement("a"), announcement("b"), options=QUICK)
    story.lead("m")
    story.go_live(blueprint("m", "a", "b"), at=10.0, wish=wish)
    return story


def join(story: Story, at: float) -> MakePlan:
    """c joins; what is asked for when things have calmed down."""
    story.nodes[C] = announcement("c")
    story.running[C] = {}
    story.tell(Announced(story.nodes[C]), at)
    story.obey(story.beats(at))
    assert not any(isinstance(command, MakePlan) for command in story.beats(at + 1.9))
    (asked,) = [command for command in story.beats(at + 2.0) if isinstance(command, MakePlan)]
    return asked


def number(story: Story, name: str = "m") -> int:
    live = story.machine.books.deployments[name].live
    assert live is not None
    return live.number


def serve(story: Story, begin: float, end: float) -> list:
    """Beats, twice a second; everything that was said meanwhile."""
    told = []
    for half in range(1, round((end - begin) * 2) + 1):
        for name, table in story.machine.books.gateways["g"].tables.items():
            story.uses(name, table)
        commands = story.beats(begin + half / 2)
        story.obey(commands)
        told += commands
    return told


def test_a_node_that_joins_is_used_if_that_gains_enough_and_not_otherwise() -> None:
    for best, switched in ((114.0, False), (116.0, True)):
        story = live_story()
        asked = join(story, at=11.0)
        assert [view.announcement.node for view in asked.nodes] == ["a", "b", "c"]
        story.bring_up(blueprint("m", "a", "c"), at=13.5, best=best, current=100.0)
        assert number(story) == (2 if switched else 1)


def test_for_a_latency_less_is_better() -> None:
    for best, switched in ((0.009, False), (0.008, True)):
        story = live_story(spec("m", objective="latency"))
        join(story, at=11.0)
        story.bring_up(blueprint("m", "a", "c"), at=13.5, best=best, current=0.01)
        assert number(story) == (2 if switched else 1)


def test_after_a_switch_the_old_epoch_stays_warm_until_the_trial_is_over() -> None:
    story = live_story()
    join(story, at=11.0)
    story.bring_up(blueprint("m", "a", "c"), at=13.5, best=200.0, current=100.0)
    assert [*story.running[NodeId("b")]] == ["m.1.0.1.0"]
    serve(story, 13.5, 34.5)
    assert number(story) == 2 and story.running[NodeId("b")] == {}


def test_a_switch_that_made_it_worse_is_undone_and_not_tried_again_for_a_while() -> None:
    story = live_story(spec("m", objective="latency"))
    story.figures = {"rate": 50.0, "p50": 0.010}
    join(story, at=11.0)
    serve(story, 13.0, 13.5)
    story.bring_up(blueprint("m", "a", "c"), at=13.5, best=0.005, current=0.010)
    assert number(story) == 2
    story.figures = {"rate": 50.0, "p50": 0.012}
    told = serve(story, 13.5, 33.5)
    notes = [command for command in told if isinstance(command, Tell)]
    assert notes == [Tell("rolled-back", "m", "measured, the switch made it worse")]
    assert number(story) == 1
    story.tell(LinkMeasured(MeasuredLink(source=C, target=C, bandwidth=1.0, latency=0.0, at="")), 33.5)
    serve(story, 33.5, 40.0)
    assert story.running[C] == {}
    assert not any(isinstance(command, MakePlan) for command in serve(story, 40.0, 333.0))


def test_a_slow_node_is_noticed_and_shown_to_the_planner() -> None:
    story = live_story()
    served = 0
    told = []
    for half in range(1, 20):
        served += 10
        story.runs("a", "m.1.0.0.0", served=served, spent=served * 0.011)
        story.runs("b", "m.1.0.1.0", served=served, spent=served * 0.041)
        told += story.beats(at=10.0 + half / 2)
    notes = [command for command in told if isinstance(command, Tell)]
    assert notes == [Tell("slow", "b", "b takes 4.0 times as long as predicted")]
    (asked,) = [command for command in told if isinstance(command, MakePlan)]
    assert [round(view.slowdown, 1) for view in asked.nodes] == [1.0, 4.0]


def test_nodes_whose_batches_save_time_make_no_other_node_slow() -> None:
    story = Story(announcement("a"), announcement("b"), announcement("c"), options=QUICK)
    story.lead("m", "n")
    batches = blueprint("m", "a", "b")
    parts = tuple(msgspec.structs.replace(part, batchable=True) for part in batches.chains[0].parts)
    chains = (msgspec.structs.replace(batches.chains[0], parts=parts, batch=8),)
    story.go_live(msgspec.structs.replace(batches, chains=chains), at=10.0)
    story.go_live(blueprint("n", "c"), at=11.0)
    told = []
    for half in range(1, 30):
        story.runs("a", "m.1.0.0.0", served=80 * half, spent=80 * half * 0.002)
        story.runs("b", "m.1.0.1.0", served=80 * half, spent=80 * half * 0.002)
        story.runs("c", "n.1.0.0.0", served=10 * half, spent=10 * half * 0.01)
        told += story.beats(at=12.0 + half / 2)
    assert [command for command in told if isinstance(command, Tell)] == []


def test_a_fleet_that_is_slow_as_a_whole_is_no_reason_to_move() -> None:
    story = Story(announcement("a"), announcement("b"), announcement("c"), options=QUICK)
    story.lead("m")
    story.go_live(blueprint("m", "a", "b", "c"), at=10.0)
    told = []
    for half in range(1, 30):
        for k, node in enumerate("abc"):
            story.runs(node, f"m.1.0.{k}.0", served=10 * half, spent=10 * half * 0.03)
        told += story.beats(at=10.0 + half / 2)
    # The fleet's median is theirs: none is slower than the others.
    assert [command for command in told if isinstance(command, (Tell, MakePlan))] == []


def test_a_link_that_has_changed_is_a_reason_to_look_and_a_little_noise_is_none() -> None:
    story = live_story()
    a, b = NodeId("a"), NodeId("b")
    for bandwidth, at, asked in ((1e7, 10.5, True), (1.2e7, 24.0, False), (4e6, 38.0, True)):
        link = MeasuredLink(source=a, target=b, bandwidth=bandwidth, latency=1e-3, at="")
        story.tell(LinkMeasured(link), at)
        told = serve(story, at, at + 12)
        plans = [command for command in told if isinstance(command, MakePlan)]
        assert bool(plans) is asked
        for plan in plans:
            made = blueprint("m", "a", "b")
            assert story.tell(Planned(model="m", ticket=plan.ticket, blueprint=made), at + 12) == []  # the same again


def test_a_wish_for_more_stages_than_nodes_is_met_as_far_as_they_allow_and_in_full_once_they_are_there() -> None:
    story = live_story(spec("m", stages=3))
    live = story.machine.books.deployments["m"].live
    assert live is not None and live.why == "deployed; 2 of 3 stages, as the nodes allow no more"
    join(story, at=11.0)
    # It gains nothing, and is put on no trial: it is what was asked for.
    story.bring_up(blueprint("m", "a", "b", "c"), at=13.5, best=90.0, current=100.0)
    live = story.machine.books.deployments["m"].live
    assert live is not None and (live.number, live.why) == (2, "c joined")
    assert story.machine.books.deployments["m"].trial is None


def test_no_gain_is_worth_less_than_what_was_asked_for() -> None:
    story = live_story(spec("m", stages=2))
    join(story, at=11.0)
    story.bring_up(blueprint("m", "c"), at=13.5, best=500.0, current=100.0)
    assert number(story) == 1


def test_a_deployment_whose_named_nodes_are_all_gone_says_so_until_one_is_back() -> None:
    story = Story(announcement("a"), announcement("b"), announcement("c"), options=QUICK)
    story.lead("m")
    story.go_live(blueprint("m", "a", "b"), at=10.0, wish=spec("m", nodes=("a", "b")))
    del story.running[NodeId("a")], story.running[NodeId("b")]
    said = "of the nodes it may run on (a, b), none can be used now"
    assert Tell("unplanned", "m", said) in serve(story, 10.0, 13.0)
    story.running[NodeId("b")] = {}
    asked = [command for command in serve(story, 13.0, 18.0) if isinstance(command, MakePlan)]
    assert [view.announcement.node for view in asked[0].nodes] == ["b"]


def test_a_name_that_no_node_has_is_told_with_the_one_that_was_meant() -> None:
    story = Story(announcement("pi-a"), options=QUICK)
    story.lead("m")
    told = story.tell(DeployAsked(spec("m", nodes=("pj-a",))), at=10.0)
    said = "of the nodes it may run on (pj-a), none can be used now; did you mean 'pi-a'?"
    assert told[0] == Tell("unplanned", "m", said)


def test_voluntary_switches_keep_a_minute_apart() -> None:
    story = live_story()
    join(story, at=11.0)
    story.bring_up(blueprint("m", "a", "c"), at=13.5, best=200.0, current=100.0)
    link = MeasuredLink(source=NodeId("a"), target=C, bandwidth=1.0, latency=1e-3, at="")
    serve(story, 13.5, 40.0)
    story.tell(LinkMeasured(link), 40.0)
    told = serve(story, 40.0, 73.0)
    assert not any(isinstance(command, MakePlan) for command in told)
    assert any(isinstance(command, MakePlan) for command in serve(story, 73.0, 74.0))


def test_the_least_recently_used_deployment_makes_room_and_comes_back_when_it_is_asked_for() -> None:
    story = Story(announcement("a", memory=2 * GIB), options=QUICK)
    story.lead("m", "n", "o")
    for name in ("m", "n"):
        story.go_live(blueprint(name, "a"), at=10.0)
    for half in range(1, 30):  # m is in use, n is not
        story.uses("m", story.machine.books.gateways["g"].tables["m"], idle=0.0)
        story.uses("n", story.machine.books.gateways["g"].tables["n"], idle=half / 2)
        story.beats(10.0 + half / 2)
    (asked,) = [c for c in story.tell(DeployAsked(spec("o")), at=24.6) if isinstance(c, MakePlan)]
    assert asked.nodes[0].free == 0
    told = story.tell(Planned(model="o", ticket=asked.ticket, fault=FULL, short=True), at=24.7)
    assert told[0] == Tell("parked", "n", "makes room for o")
    story.obey(told)
    for at in (24.8, 25.0, 25.2):
        story.obey(story.beats(at))
    assert story.running[NodeId("a")].keys() == {"m.1.0.0.0"}
    (asked,) = [c for c in story.beats(at=25.7) if isinstance(c, MakePlan)]
    assert asked.spec.model == "o" and asked.nodes[0].free == GIB
    story.bring_up(blueprint("o", "a"), at=25.8)
    assert number(story, "o") == 1

    story.uses("n", story.machine.books.gateways["g"].tables["n"], queued=2)
    told = story.gateway(at=26.0)
    assert told[0] == Tell("unparked", "n", "2 requests wait for it")
    assert any(isinstance(c, MakePlan) and c.spec.model == "n" for c in told)


def test_memory_that_two_plans_count_on_is_given_to_the_first() -> None:
    story = Story(announcement("a", memory=GIB), options=QUICK)
    story.lead("m", "n")
    tickets = {}
    for name in ("m", "n"):
        (asked,) = [c for c in story.tell(DeployAsked(spec(name)), at=10.0) if isinstance(c, MakePlan)]
        assert asked.nodes[0].free == GIB
        tickets[name] = asked.ticket
    story.bring_up(blueprint("m", "a"), at=10.1)
    told = story.tell(Planned(model="n", ticket=tickets["n"], blueprint=blueprint("n", "a")), at=10.2)
    assert told == [Tell("unplanned", "n", "memory is short")]
    live = story.machine.books.deployments["m"].live
    assert live is not None and live.phase is EpochPhase.LIVE


def test_a_plan_over_a_node_that_was_not_offered_counts_as_none() -> None:
    story = Story(announcement("a"), options=QUICK)
    story.lead("m")
    (asked,) = [c for c in story.tell(DeployAsked(spec("m")), at=10.0) if isinstance(c, MakePlan)]
    told = story.tell(Planned(model="m", ticket=asked.ticket, blueprint=blueprint("m", "x")), at=10.0)
    assert told == [Tell("unplanned", "m", "the plan uses x, which was not offered")]
