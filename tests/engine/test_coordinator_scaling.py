"""Chains come and go with the demand: when, in which order, and what happens to those that break or find no room."""

import msgspec
import pytest
from cluster_world import GIB, Story, announcement, blueprint, chain, spec

from cutwater.engine.control import (
    Announced,
    Assign,
    CoordinatorCommand,
    DeployAsked,
    Direct,
    LinkMeasured,
    MakePlan,
    Planned,
    Save,
    Tell,
)
from cutwater.engine.coordinator.deployment import Deployment, needs_plan
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import Blueprint, DeploySpec, Scaling
from cutwater.engine.facts.nodes import MeasuredLink, Phase
from cutwater.engine.fault import Fault
from cutwater.units import NodeId

QUICK = CoordinatorOptions(survey_patience=0.0, scale_hold=20.0, scale_takes=2.0, drain_timeout=15.0)
FULL = Fault("NoPlan", "no node has room", "planner")


class Busy(Story):
    """Models that are asked so often a second; a planner that gives each chain the first node with room."""

    rates: dict[str, float]
    asked: dict[str, float]
    idle: dict[str, float]

    @classmethod
    def of(cls, wishes: dict[str, DeploySpec], nodes: str, memory: int = GIB) -> "Busy":
        story = cls(*(announcement(node, memory=memory) for node in nodes), options=QUICK)
        story.rates, story.asked, story.idle = {}, {}, {}
        story.lead(*wishes)
        for wish in wishes.values():
            story.answer(story.tell(DeployAsked(wish), 10.0), 10.0)
        story.serve(10.0, 12.0)
        return story

    def deployment(self, name: str) -> Deployment:
        return self.machine.books.deployments[name]

    def on(self, name: str) -> str:
        """The nodes of its chains that stay, in the order in which they joined."""
        live = self.deployment(name).live
        return "" if live is None else "".join(c.posts[0].node for c in live.staying.values())

    def answer(self, commands: list[CoordinatorCommand], at: float) -> list[CoordinatorCommand]:
        """Obey, and plan what is asked for."""
        told = list(commands)
        self.obey(commands)
        for asked in (command for command in commands if isinstance(command, MakePlan)):
            told += self.answer(self.tell(self.plan(asked), at), at)
        return told

    def plan(self, asked: MakePlan) -> Planned:
        free = [view.announcement.node for view in asked.nodes if view.free >= GIB][: asked.spec.chains]
        chains = tuple(chain(asked.spec.model, (node,), 1) for node in free)
        made = Blueprint(model=asked.spec.model, chains=chains, throughput=100.0 * len(chains), latency=0.01)
        if chains:
            return Planned(model=asked.spec.model, ticket=asked.ticket, blueprint=made)
        return Planned(model=asked.spec.model, ticket=asked.ticket, fault=FULL, short=True)

    def serve(self, begin: float, end: float) -> list[CoordinatorCommand]:
        """Beats, twice a second, while requests come; everything that was said meanwhile."""
        told: list[CoordinatorCommand] = []
        for half in range(1, round((end - begin) * 2) + 1):
            for name, table in self.machine.books.gateways["g"].tables.items():
                rate = self.rates.get(name, 0.0)
                self.asked[name] = self.asked.get(name, 0.0) + rate / 2
                self.idle[name] = 0.0 if rate else self.idle.get(name, 0.0) + 0.5
                figures = {"accepted": int(self.asked[name]), "idle": self.idle[name]}
                self.uses(name, table, **figures)
            told += self.answer(self.beats(begin + half / 2), begin + half / 2)
        return told


def scaled(name: str = "m", least: int = 1, most: int = 3, **wishes: object) -> DeploySpec:
    scaling = Scaling(least=least, most=most, idle=float(wishes.pop("idle", 0.0)))  # type: ignore[arg-type]
    return spec(name, scaling=scaling, timeout=1.0, stages=1, **wishes)


def notes(told: list[CoordinatorCommand]) -> list[tuple[str, str, str]]:
    return [(c.kind, c.about, c.text.split(":")[0]) for c in told if isinstance(c, Tell)]


def busy(rate: float, nodes: str = "abcd", **wishes: object) -> Busy:
    """One model, asked so often a second for a while."""
    story = Busy.of({"m": scaled(**wishes)}, nodes)  # type: ignore[arg-type]
    story.rates["m"] = rate
    story.serve(12.0, 30.0)
    return story


def test_a_demand_that_rises_brings_chains_up_beside_those_that_serve():
    story = busy(50.0)
    assert story.on("m") == "a"
    story.rates["m"] = 200.0
    told = story.serve(30.0, 33.0)
    assert ("scaled-up", "m", "1 -> 3 chains") in notes(told)
    assert story.on("m") == "abc"
    # One epoch all the time, and nobody was told to start or stop the worker that served before.
    assert [epoch.number for epoch in story.deployment("m").epochs] == [1]
    assert not any(isinstance(c, Assign) and c.assignment.node == "a" for c in told)
    assert list(story.running[NodeId("b")]) == ["m.1.1.0.0"]


def test_only_the_nodes_that_none_of_its_chains_is_on_are_offered_for_another():
    story = busy(50.0)
    story.rates["m"] = 150.0
    (asked,) = [c for c in story.serve(30.0, 32.0) if isinstance(c, MakePlan)]
    assert [view.announcement.node for view in asked.nodes] == ["b", "c", "d"]
    assert (asked.spec.chains, asked.span, asked.live) == (1, 1, None)


def test_ways_lead_through_a_chain_once_all_its_workers_serve():
    story = busy(50.0)
    story.rates["m"] = 150.0
    for half in range(1, 5):  # the worker on b is loading
        at = 30.0 + half / 2
        table = story.machine.books.gateways["g"].tables["m"]
        story.asked["m"] += 75.0
        story.uses("m", table, accepted=int(story.asked["m"]), idle=0.0)
        commands = [c for c in story.beats(at) if not isinstance(c, Assign)]
        for asked in [c for c in commands if isinstance(c, MakePlan)]:
            story.tell(story.plan(asked), at)
            story.runs("b", "m.1.1.0.0", phase=Phase.LOADING)
    assert story.on("m") == "ab"
    assert [route.chain for route in story.machine.books.gateways["g"].tables["m"].live.routes] == [0]
    story.runs("b", "m.1.1.0.0")
    (table,) = [c.table for c in story.beats(32.5) if isinstance(c, Direct)]
    assert [route.chain for route in table.live.routes] == [0, 1]


def test_chains_are_given_back_when_fewer_have_been_enough_for_a_while_and_no_sooner():
    story = busy(200.0)
    assert story.on("m") == "abc"
    story.rates["m"] = 30.0
    assert notes(story.serve(30.0, 48.0)) == []
    told = story.serve(48.0, 58.0)
    assert notes(told) == [("scaled-down", "m", "3 -> 1 chains")]
    assert story.on("m") == "a"
    assert story.running[NodeId("b")] == story.running[NodeId("c")] == {}


def test_a_worker_ends_only_when_every_gateway_has_shown_that_it_knows_and_nothing_is_in_it():
    story = busy(200.0)
    story.rates["m"] = 30.0
    story.runs("c", "m.1.2.0.0", queued=2)
    told = story.serve(30.0, 58.0)
    assert ("scaled-down", "m", "3 -> 1 chains") in notes(told)
    assert story.running[NodeId("b")] == {} and story.running[NodeId("c")].keys() == {"m.1.2.0.0"}
    story.runs("c", "m.1.2.0.0", queued=0)
    story.serve(58.0, 60.0)
    assert story.running[NodeId("c")] == {}


def test_a_chain_that_leaves_is_used_again_when_it_is_needed_after_all():
    story = busy(200.0)
    story.runs("c", "m.1.2.0.0", queued=1)
    story.rates["m"] = 30.0
    story.serve(30.0, 54.5)
    story.rates["m"] = 200.0
    told = story.serve(54.5, 57.0)
    assert notes(told)[0] == ("scaled-up", "m", "1 -> 2 chains")
    assert "c" in story.on("m")
    assert story.running[NodeId("c")].keys() == {"m.1.2.0.0"}


def test_numbers_of_chains_are_not_given_twice():
    story = busy(200.0)
    story.rates["m"] = 30.0
    story.serve(30.0, 70.0)
    story.rates["m"] = 200.0
    story.serve(70.0, 75.0)
    live = story.deployment("m").live
    assert live is not None and list(live.staying) == [0, 3, 4]
    record = live.record()
    assert (record.numbers, record.next_chain) == ((0, 3, 4), 5)


def test_it_stays_within_what_a_person_allows():
    story = busy(1000.0, most=2)
    assert story.on("m") == "ab"
    story.rates["m"] = 0.0
    story.serve(30.0, 80.0)
    assert story.on("m") == "a"
    story = busy(0.0, least=2)
    assert story.on("m") == "ab"


def test_who_goes_up_soon_after_going_down_is_held_longer_the_next_time():
    story = busy(200.0)
    at, holds = 30.0, []
    for _ in range(3):
        story.rates["m"] = 30.0
        while story.on("m") != "a":
            story.serve(at, at + 1.0)
            at += 1.0
        story.rates["m"] = 200.0
        story.serve(at, at + 10.0)
        at += 10.0
        holds.append(story.deployment("m").size.hold)
    assert holds == [40.0, 80.0, 160.0]


def test_a_chain_whose_node_is_lost_leaves_and_another_takes_its_place():
    story = busy(200.0)
    assert story.on("m") == "abc"
    del story.running[NodeId("b")]
    told = story.serve(30.0, 40.0)
    assert ("mended", "m", "goes on without what does not serve on b") in notes(told)
    assert story.on("m") == "acd"
    assert [epoch.number for epoch in story.deployment("m").epochs] == [1]


def test_a_worker_that_ends_at_every_start_costs_its_chain_and_its_node_is_left_out():
    story = busy(50.0)
    story.rates["m"] = 150.0
    told = story.serve(30.0, 31.5)
    assert story.on("m") == "ab"
    story.runs("b", "m.1.1.0.0", phase=Phase.BACKING_OFF, restarts=3)
    told = story.serve(31.5, 40.0)
    assert ("mended", "m", "goes on without what does not serve on b") in notes(told)
    assert story.on("m") == "ac"


def test_a_deployment_that_is_unused_is_parked_and_comes_back_when_somebody_asks():
    story = busy(50.0, idle=10.0)
    story.rates["m"] = 0.0
    told = story.serve(30.0, 45.0)
    assert notes(told) == [("parked", "m", "unused for 10 s")]
    assert all(not workers for workers in story.running.values())
    table = story.machine.books.gateways["g"].tables["m"]
    story.uses("m", table, accepted=int(story.asked["m"]) + 1, queued=1)
    assert notes(story.answer(story.gateway(45.5), 45.5))[0] == ("unparked", "m", "1 requests wait for it")
    story.idle["m"] = 0.0
    story.serve(45.5, 48.0)
    assert story.on("m") == "a"


def both(a: float, b: float, nodes: str) -> Busy:
    """Two models that fill the nodes between them."""
    story = Busy.of({"m": scaled("m", most=6), "n": scaled("n", most=6)}, nodes)
    story.rates.update(m=a, n=b)
    story.serve(12.0, 30.0)
    return story


def test_where_there_is_no_room_those_that_need_less_give_at_once():
    story = both(380.0, 50.0, "abcdef")
    assert (len(story.on("m")), len(story.on("n"))) == (5, 1)
    story.rates.update(m=50.0, n=380.0)
    told = notes(story.serve(30.0, 45.0))
    assert ("short", "n", "1 of 5 chains") in told
    assert (len(story.on("m")), len(story.on("n"))) == (1, 5)
    # Nothing was taken from who gave before it was due, and nobody gave back what it had got.
    assert [(kind, about) for kind, about, _ in told if kind == "shared"] == [("shared", "m")] * 2


def test_where_there_is_too_little_for_all_each_gets_its_share_and_then_it_is_quiet():
    story = both(500.0, 500.0, "abcdef")
    assert (len(story.on("m")), len(story.on("n"))) == (3, 3)
    assert notes(story.serve(30.0, 90.0)) == []


def test_a_successor_goes_on_with_as_many_chains():
    story = busy(200.0)
    saved = [c.record for c in story.tell(DeployAsked(scaled(fallback=False)), 30.0) if isinstance(c, Save)]
    (record,) = saved
    assert record.chains == 3 and record.scaled.endswith("100 each")
    heir = Busy(*story.nodes.values(), options=QUICK)
    heir.running = story.running
    heir.rates, heir.asked, heir.idle = {"m": 200.0}, {}, {}
    heir.lead("m", deployments=(record,), at=40.0)
    told = heir.serve(43.0, 60.0)
    assert heir.on("m") == "abc"
    assert not any(isinstance(c, MakePlan) for c in told)


def test_a_deployment_that_follows_no_demand_has_what_was_asked_for():
    story = Busy.of({"m": msgspec.structs.replace(scaled(), scaling=None, chains=2)}, "abc")
    story.rates["m"] = 500.0
    assert notes(story.serve(12.0, 60.0)) == []
    assert story.on("m") == "ab"


def test_a_plan_for_more_that_comes_too_late_is_not_used():
    story = busy(50.0)
    story.rates["m"] = 150.0
    (asked,) = [c for c in (c for half in range(4) for c in _half(story, 30.5 + half / 2)) if isinstance(c, MakePlan)]
    story.tell(DeployAsked(scaled(replicas=2)), 33.0)  # another plan is needed for that
    assert story.tell(Planned(model="m", ticket=asked.ticket, blueprint=blueprint("m", "b")), 33.1) == []
    assert story.on("m") == "a"


def _half(story: Busy, at: float) -> list[CoordinatorCommand]:
    """Half a second in which nobody plans."""
    story.asked["m"] += story.rates["m"] / 2
    story.uses("m", story.machine.books.gateways["g"].tables["m"], accepted=int(story.asked["m"]), idle=0.0)
    return story.beats(at)


@pytest.mark.parametrize(
    ("wishes", "needed"),
    [
        ({"scaling": Scaling(least=2, most=3, idle=60.0)}, False),
        ({"scaling": Scaling(least=1, most=4)}, True),  # the nodes are shared out anew
        ({"scaling": None}, True),
        ({"timeout": 2.0, "window": 8, "fallback": False}, False),
        ({"cuts": ("after b",)}, True),
        ({"budget": 0.1}, True),
        ({"batch": 4}, True),
    ],
)
def test_only_what_changes_the_stages_or_their_places_needs_another_plan(
    wishes: dict[str, object], needed: bool
) -> None:
    before = scaled()
    assert needs_plan(before, msgspec.structs.replace(before, **wishes)) is needed


def test_other_bounds_are_kept_at_once_without_another_epoch() -> None:
    story = busy(30.0)
    story.tell(DeployAsked(scaled(least=2)), 30.0)
    story.serve(30.0, 33.0)
    assert story.on("m") == "ab"
    assert [epoch.number for epoch in story.deployment("m").epochs] == [1]


def _alone(story: Busy, begin: float, end: float) -> list[CoordinatorCommand]:
    """Beats, twice a second, while requests come and nobody plans; everything else is obeyed."""
    told: list[CoordinatorCommand] = []
    for half in range(1, round((end - begin) * 2) + 1):
        for name, table in story.machine.books.gateways["g"].tables.items():
            story.asked[name] += story.rates[name] / 2
            story.uses(name, table, accepted=int(story.asked[name]), idle=0.0)
        commands = story.beats(begin + half / 2)
        story.obey([c for c in commands if isinstance(c, Assign)])
        told += commands
    return told


def _plans(told: list[CoordinatorCommand]) -> list[MakePlan]:
    return [command for command in told if isinstance(command, MakePlan)]


def _comes(story: Busy, node: str, at: float) -> None:
    story.nodes[NodeId(node)] = announcement(node, memory=GIB)
    story.running[NodeId(node)] = {}
    story.tell(Announced(story.nodes[NodeId(node)]), at)


def _link_changes(story: Busy, at: float) -> None:
    """A reason to look whether another plan pays."""
    story.tell(
        LinkMeasured(MeasuredLink(source=NodeId("a"), target=NodeId("b"), bandwidth=1e7, latency=1e-3, at="")), at
    )


@pytest.mark.parametrize(("seconds", "share", "each"), [(0.005, 0.2, 100.0), (0.005, 0.8, 200.0), (0.02, 0.2, 50.0)])
def test_a_worker_that_is_faster_than_planned_counts_for_more_only_under_load(seconds, share, each):
    story = busy(10.0)
    story.runs("a", "m.1.0.0.0", seconds=seconds, busy=share)
    story.serve(30.0, 32.0)
    assert story.deployment("m").size.each == pytest.approx(each)


def test_a_plan_that_might_pay_holds_up_no_chain_that_is_needed_and_is_looked_at_later():
    story = busy(50.0)
    _link_changes(story, 30.0)
    (idle,) = _plans(_alone(story, 30.0, 33.0))
    assert idle.live is not None
    story.rates["m"] = 200.0
    (more,) = _plans(_alone(story, 33.0, 36.0))
    assert (more.live, more.spec.chains) == (None, 2)
    assert story.tell(story.plan(idle), 36.0) == []
    story.answer(story.tell(story.plan(more), 36.1), 36.1)
    assert story.on("m") == "abc"
    assert any(asked.live is not None for asked in _plans(_alone(story, 36.5, 50.0)))


def test_an_epoch_that_might_pay_is_given_up_for_chains_that_are_needed_and_looked_at_later():
    story = busy(50.0)
    _link_changes(story, 30.0)
    (idle,) = _plans(_alone(story, 30.0, 33.0))
    other = msgspec.structs.replace(story.plan(idle).blueprint, chains=(chain("m", ("d",), 1),))
    story.tell(Planned(model="m", ticket=idle.ticket, blueprint=other), 33.0)
    assert [epoch.number for epoch in story.deployment("m").epochs] == [1, 2]
    story.rates["m"] = 200.0  # and the node of the new epoch has not brought it up
    told = _alone(story, 33.0, 36.0)
    assert ("postponed", "m", "epoch 2") in notes(told)
    (more,) = [asked for asked in _plans(told) if asked.live is None]
    story.answer(story.tell(story.plan(more), 36.1), 36.1)
    assert story.on("m") == "abc"
    assert any(asked.live is not None for asked in _plans(_alone(story, 36.5, 50.0)))


def test_an_epoch_that_might_pay_goes_on_where_there_is_no_room_for_the_chains_that_are_missing():
    story = Busy.of({"m": scaled()}, "ab", memory=4 * GIB)
    story.rates["m"] = 300.0
    story.serve(12.0, 30.0)
    assert (story.on("m"), story.deployment("m").size.chains) == ("ab", 3)
    _link_changes(story, 30.0)
    told = _alone(story, 30.0, 32.0)
    (asked,) = [asked for asked in _plans(told) if asked.live is not None]
    swapped = (chain("m", ("b",), 1), chain("m", ("a",), 1))
    other = msgspec.structs.replace(story.plan(asked).blueprint, chains=swapped)
    told = story.tell(Planned(model="m", ticket=asked.ticket, blueprint=other), 32.0)
    told += _alone(story, 32.0, 60.0)
    assert [kind for kind, _, _ in notes(told) if kind in ("rolling-out", "postponed")] == ["rolling-out"]


def test_a_node_that_joins_is_used_for_a_chain_that_is_missing_and_not_for_another_epoch():
    story = busy(200.0, nodes="ab")
    assert story.on("m") == "ab"
    story.serve(30.0, 33.0)
    _comes(story, "c", 33.0)
    told = story.serve(33.0, 35.0)
    assert story.on("m") == "abc"
    assert [asked.spec.chains for asked in _plans(told)] == [1]
    assert [epoch.number for epoch in story.deployment("m").epochs] == [1]


def test_where_there_is_no_room_for_more_a_plan_that_might_pay_is_made_for_the_chains_there_are():
    story = busy(200.0, nodes="ab")
    _link_changes(story, 30.0)
    (asked,) = [asked for asked in _plans(story.serve(30.0, 37.0)) if asked.live is not None]
    assert asked.spec.chains == 2


def test_what_a_chain_takes_to_come_is_not_learned_from_another_epoch():
    story = busy(50.0)
    story.rates["m"] = 200.0
    assert _plans(_alone(story, 30.0, 32.0))
    (asked,) = _plans(story.tell(DeployAsked(scaled(replicas=2)), 32.0))
    _alone(story, 32.0, 60.0)
    story.answer(story.tell(story.plan(asked), 60.0), 60.0)
    story.serve(60.0, 65.0)
    assert story.on("m") and story.deployment("m").live.number == 2
    assert story.deployment("m").size.takes == QUICK.scale_takes


def test_who_has_all_its_chains_keeps_no_room_from_others():
    story = both(150.0, 50.0, "abc")
    assert (len(story.on("m")), len(story.on("n"))) == (2, 1)
    story.deployment("n").size.awaits_room = True  # and its chains have come with another epoch
    story.rates["m"] = 250.0
    story.serve(30.0, 40.0)
    _comes(story, "d", 40.0)
    story.serve(40.0, 42.0)
    assert (len(story.on("m")), len(story.on("n"))) == (3, 1)


def test_what_is_given_back_already_is_asked_for_as_soon_as_it_is_free():
    story = both(150.0, 50.0, "abc")
    assert (len(story.on("m")), len(story.on("n"))) == (2, 1)
    (last,) = story.running[NodeId(story.on("m")[1])]
    story.runs(story.on("m")[1], last, queued=1)
    node, at = story.on("m")[1], 30.0
    story.rates["m"] = 30.0
    while len(story.on("m")) == 2:
        story.serve(at, at + 1.0)
        at += 1.0
    story.rates["n"] = 150.0
    told = story.serve(at, at + 3.0)
    assert ("short", "n", "1 of 2 chains") in notes(told)
    story.runs(node, last, queued=0)
    story.serve(at + 3.0, at + 7.0)
    assert len(story.on("n")) == 2


def test_an_epoch_that_was_kept_warm_gives_its_room_as_soon_as_it_has_ended():
    story = busy(50.0, nodes="ab")
    _link_changes(story, 30.0)
    story.serve(30.0, 36.0)
    assert story.on("m") == "b" and story.deployment("m").trial is not None
    story.rates["m"] = 150.0
    story.serve(36.0, 42.0)
    assert story.on("m") == "ba"


def test_chains_that_are_not_wanted_any_more_are_not_missed():
    story = busy(50.0)
    story.rates["m"] = 200.0
    (asked,) = _plans(_alone(story, 30.0, 33.0))
    story.rates["m"] = 10.0
    _alone(story, 33.0, 80.0)
    size = story.deployment("m").size
    assert size.chains == 1
    told = story.tell(Planned(model="m", ticket=asked.ticket, fault=FULL, short=True), 80.0)
    assert notes(told) == [] and size.short_since is None and size.growing is None
