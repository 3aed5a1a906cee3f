"""The planner: blueprints that use the nodes there are, and say what they and the live one are worth."""

from collections.abc import Callable
from hashlib import sha256
from itertools import permutations
from pathlib import Path

import msgspec
import pytest

from cutwater.cut.lattice import Lattice
from cutwater.engine.control import MakePlan, NodeView, Planned
from cutwater.engine.facts.deployments import Blueprint, DeploySpec
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Announcement, Hardware, MeasuredLink
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.profile.profile import Conditions, FrameCost, Profile, Sample
from cutwater.services.coordinator.fleet import fleet_of
from cutwater.services.coordinator.library import Library
from cutwater.services.coordinator.planner import answer
from cutwater.units import NodeId

GIB = 2**30
Ask = Callable[..., Planned]


def node(
    name: str, *, speed: float = 1.0, host: str = "", free: int = GIB, cores: int = 4, load: float = 0.0
) -> NodeView:
    told = Announcement(
        node=NodeId(name),
        incarnation="1",
        host=host or name,
        hardware=Hardware(machine="test", cores=cores, memory=GIB, speed=speed),
        address="tcp:10.0.0.1:1",
        version="0",
    )
    return NodeView(announcement=told, free=free, load=load)


THREE = (node("a"), node("b"), node("c"))


@pytest.fixture
def ask(plain_record: ModelRecord, blob_folder: Path) -> Ask:
    """Plans for the small transformer: its profile says that computing is slow and links are not."""
    library = Library(blob_folder)

    def asked(
        views: tuple[NodeView, ...],
        live: Blueprint | None = None,
        links: tuple = (),
        span: int | None = None,
        **spec: object,
    ) -> Planned:
        command = MakePlan(
            ticket=7,
            spec=DeploySpec(model=plain_record.name, **spec),  # type: ignore[arg-type]
            record=plain_record,
            nodes=views,
            links=links,
            source=NodeId("a"),
            source_host="a",
            live=live,
            span=span,
        )
        return answer(command, library)

    return asked


def made(planned: Planned) -> Blueprint:
    assert planned.fault is None, planned.fault
    assert planned.blueprint is not None
    return planned.blueprint


def test_three_alike_nodes_share_the_work(ask: Ask) -> None:
    planned = ask(THREE)
    [chain] = made(planned).chains
    assert [post.node for post in chain.posts] == [stage.nodes[0] for stage in chain.plan.stages]
    assert {post.node for post in chain.posts} == {"a", "b", "c"}
    assert planned.ticket == 7
    assert planned.best == pytest.approx(made(planned).throughput)
    assert planned.current is None


def test_every_stage_is_stored_under_its_hash_and_runs(ask: Ask, blob_folder: Path) -> None:
    blueprint = made(ask(THREE, stages=2))
    [chain] = blueprint.chains
    assert blueprint.whole is not None
    for part in (*chain.parts, blueprint.whole.part):
        data = (blob_folder / part.blob).read_bytes()
        assert (sha256(data).hexdigest(), len(data)) == (part.blob, part.nbytes)
        session = OnnxRuntime().load(data)
        assert list(session.inputs) == [tensor.name for tensor in part.inputs]
    assert chain.entry.travelling == chain.parts[0].inputs
    assert chain.exit.border == ("logits",)


def test_a_plan_is_never_worse_than_the_best_single_node(ask: Ask) -> None:
    slow_links = tuple(
        MeasuredLink(source=NodeId(a), target=NodeId(b), bandwidth=1e3, latency=0.5, at="")
        for a in "abc"
        for b in "abc"
        if a != b
    )
    planned = ask(THREE, links=slow_links)
    [chain] = made(planned).chains
    assert [post.node for post in chain.posts] == ["a"]


def test_measured_links_decide_which_node_helps(ask: Ask) -> None:
    def way(a: str, b: str, bandwidth: float) -> MeasuredLink:
        return MeasuredLink(source=NodeId(a), target=NodeId(b), bandwidth=bandwidth, latency=1e-3, at="")

    links = (way("a", "b", 2e3), way("a", "c", 1e8), way("b", "c", 2e3))
    [chain] = made(ask(THREE, links=links, stages=2)).chains
    assert {post.node for post in chain.posts} == {"a", "c"}


@pytest.mark.parametrize(("budget", "codec"), [(0.0, "raw"), (0.01, "raw"), (0.03, "int8")])
def test_a_codec_that_loses_something_is_chosen_within_the_budget_only(ask: Ask, budget: float, codec: str) -> None:
    links = tuple(
        MeasuredLink(source=NodeId(a), target=NodeId(b), bandwidth=2e6, latency=1e-3, at="")
        for a, b in (("a", "b"), ("b", "a"))
    )
    [chain] = made(ask((node("a"), node("b", speed=4.0)), links=links, budget=budget, objective="latency")).chains
    assert [post.node for post in chain.posts][-1] == "b"
    between = next(hop for hop in chain.plan.score.hops if hop.target == "b")
    assert between.codec == codec


def test_the_gateway_is_as_fast_as_the_machine_it_runs_on(plain_record: ModelRecord) -> None:
    command = MakePlan(
        ticket=1,
        spec=DeploySpec(model=plain_record.name),
        record=plain_record,
        nodes=(),
        links=(),
        source=NodeId("a"),
        source_host="a",
    )
    profile = Profile(
        model="any",
        model_hash="",
        conditions=Conditions(device="", cores=1, threads=1, batch=1, busy_cores=0, versions={}, measured_at=""),
        ops={},
        whole=Sample(1.0, 0.0, 1),
        stage_overhead=0.0,
        contention=1.0,
        base_memory=0,
    )
    slow = fleet_of(command, (node("a", speed=0.25), node("b", speed=4.0)), profile)
    assert [each.speed for each in slow.nodes] == [0.25, 0.25, 4.0]
    assert fleet_of(command, (node("b", speed=4.0),), profile).nodes[0].speed == 1.0


def test_cores_of_a_host_that_others_use_are_counted_whichever_nodes_are_planned_over(
    plain_record: ModelRecord,
) -> None:
    views = (node("a", host="h"), node("b", host="h", load=0.25), node("c"))
    command = MakePlan(
        ticket=1,
        spec=DeploySpec(model=plain_record.name),
        record=plain_record,
        nodes=views,
        links=(),
        source=NodeId("c"),
        source_host="c",
        taken={"h": 2.0},
    )
    profile = Profile(
        model="any",
        model_hash="",
        conditions=Conditions(device="", cores=1, threads=1, batch=1, busy_cores=0, versions={}, measured_at=""),
        ops={},
        whole=Sample(1.0, 0.0, 1),
        stage_overhead=0.0,
        contention=1.0,
        base_memory=0,
    )
    assert fleet_of(command, (views[0], views[2]), profile).hosts == {"of a": 1, "of c": 4}


def test_frames_cost_the_gateway_what_was_measured_at_its_end(plain_record: ModelRecord) -> None:
    command = MakePlan(
        ticket=1,
        spec=DeploySpec(model=plain_record.name),
        record=plain_record,
        nodes=(),
        links=(),
        source=NodeId("a"),
        source_host="a",
    )
    dear = FrameCost(fixed=1e-3, per_byte=1e-9)
    profile = Profile(
        model="any",
        model_hash="",
        conditions=Conditions(device="", cores=1, threads=1, batch=1, busy_cores=0, versions={}, measured_at=""),
        ops={},
        whole=Sample(1.0, 0.0, 1),
        stage_overhead=0.0,
        contention=1.0,
        entrance=dear,
        base_memory=0,
    )
    fleet = fleet_of(command, (node("a"), node("b")), profile)
    charged = {
        (source, target): (link.send, link.receive)
        for source, target in permutations((fleet.source, NodeId("a"), NodeId("b")), 2)
        if (link := fleet.link(source, target)) is not None
    }
    assert charged == {
        (fleet.source, "a"): (dear, None),
        (fleet.source, "b"): (dear, None),
        ("a", fleet.source): (None, dear),
        ("b", fleet.source): (None, dear),
        ("a", "b"): (None, None),
        ("b", "a"): (None, None),
    }


def test_what_is_live_is_scored_on_the_nodes_that_are_left(ask: Ask) -> None:
    first = made(ask(THREE, stages=2))
    used = {post.node for post in first.chains[0].posts}
    again = ask(THREE, live=first, stages=2)
    assert again.current == pytest.approx(again.best)
    slower = tuple(msgspec.structs.replace(view, slowdown=4.0) for view in THREE)
    assert ask(slower, live=first).current == pytest.approx(again.current / 4, rel=0.1)  # type: ignore[operator]
    left = tuple(view for view in THREE if view.announcement.node not in used)
    assert ask(left, live=first).current is None


def test_more_stages_than_nodes_are_as_many_as_there_are_nodes(ask: Ask) -> None:
    first = made(ask(THREE, stages=3))
    for live in (None, first):
        for count in (3, 2, 1):
            assert len(made(ask(THREE[:count], live=live, stages=3)).chains[0].parts) == count


def test_of_the_nodes_that_it_may_run_on_it_keeps_to_those_that_are_there(ask: Ask) -> None:
    [chain] = made(ask(THREE[:2], nodes=(NodeId("b"), NodeId("c")), stages=2)).chains
    assert [post.node for post in chain.posts] == ["b"]


def test_a_spare_keeps_what_is_live_alive(ask: Ask) -> None:
    first = made(ask(THREE, stages=2, spares=1))
    [chain] = first.chains
    assert sorted(post.stage for post in chain.posts if post.spare) == [0, 1]
    [lost] = [post.node for post in chain.posts if post.stage == 1 and not post.spare]
    left = tuple(view for view in THREE if view.announcement.node != lost)
    assert ask(left, live=first).current is not None


def test_replicas_widen_the_busiest_stage(ask: Ask) -> None:
    four = (*THREE, node("d"))
    narrow, wide = made(ask(four, stages=2)), made(ask(four, stages=2, replicas=2))
    assert len(narrow.chains[0].posts) == 2
    workers = [post.stage for post in wide.chains[0].posts]
    assert 3 <= len(workers) <= 4
    assert max(workers.count(0), workers.count(1)) == 2
    assert wide.throughput > narrow.throughput


def test_chains_are_ways_of_their_own_as_far_as_there_are_nodes(ask: Ask) -> None:
    blueprint = made(ask(THREE, stages=1, chains=5))
    assert sorted(p.node for chain in blueprint.chains for p in chain.posts) == ["a", "b", "c"]
    one = made(ask(THREE, stages=1))
    assert blueprint.throughput > 2.5 * one.throughput


def test_a_chain_takes_no_more_nodes_than_it_may_unless_it_needs_them(ask: Ask) -> None:
    four = (*THREE, node("d"))
    for span, chains in ((1, 4), (2, 2)):
        blueprint = made(ask(four, span=span, chains=4))
        assert [len(chain.parts) for chain in blueprint.chains] == [span] * chains
    whole = ask(THREE, span=1)
    room = made(whole).chains[0].posts[0].memory
    tight = tuple(node(name, free=room - 1) for name in "abc")
    [chain] = made(ask(tight, span=1)).chains
    assert len(chain.parts) > 1


def test_nodes_of_one_host_share_its_cores(ask: Ask) -> None:
    together = tuple(node(name, host="box", cores=2) for name in "abcd")
    crowd = made(ask(together, stages=1, chains=4))
    apart = made(ask(tuple(node(name, cores=2) for name in "abcd"), stages=1, chains=4))
    assert crowd.throughput < 0.75 * apart.throughput


def test_a_node_only_takes_what_fits_its_memory(ask: Ask) -> None:
    planned = ask((node("a", free=1000), node("b")))
    assert {post.node for post in made(planned).chains[0].posts} == {"b"}
    none = ask((node("a", free=1000),))
    assert none.blueprint is None
    assert none.fault is not None
    assert none.fault.kind == "NoPlan"
    assert "memory" in none.fault.message
    assert none.short  # the node is large enough, were it empty


def test_batches_need_memory_where_they_are_made(ask: Ask) -> None:
    def memory(batch: int) -> tuple[int, int]:
        blueprint = made(ask((node("a"),), batch=batch))
        [chain] = blueprint.chains
        assert blueprint.whole is not None
        wholes.add(blueprint.whole.memory)
        return chain.batch, chain.posts[0].memory

    wholes: set[int] = set()

    (one, alone), (two, both), (four, all_) = memory(1), memory(2), memory(4)
    assert (one, two, four) == (1, 2, 4)
    assert all_ - both == pytest.approx(2 * (both - alone), abs=2) and both > alone
    assert len(wholes) == 1, "the gateway's own copy makes none"


def test_only_the_nodes_named_are_used(ask: Ask) -> None:
    planned = ask(THREE, nodes=(NodeId("b"),))
    assert [post.node for post in made(planned).chains[0].posts] == ["b"]
    wrong = ask(THREE, nodes=(NodeId("bb"),))
    assert wrong.fault is not None
    assert "did you mean 'b'?" in wrong.fault.message


def test_a_fast_node_does_more(ask: Ask) -> None:
    [chain] = made(ask((node("a"), node("b", speed=4.0)), stages=2)).chains
    shares = {
        post.node: int(chain.plan.stages[post.stage].end.before, 16).bit_count()
        - int(chain.plan.stages[post.stage].begin.before, 16).bit_count()
        for post in chain.posts
    }
    assert shares[NodeId("b")] > 2 * shares[NodeId("a")]


def test_a_large_fleet_is_planned_over_its_fastest_nodes(ask: Ask) -> None:
    crowd = tuple(node(f"n{k}", speed=1.0 + 0.01 * k) for k in range(60))
    used = {post.node for post in made(ask(crowd)).chains[0].posts}
    assert used <= {f"n{k}" for k in range(48, 60)}


def test_another_model_than_was_added_is_refused(ask: Ask, plain_record: ModelRecord, blob_folder: Path) -> None:
    command = MakePlan(
        ticket=1,
        spec=DeploySpec(model="vit"),
        record=msgspec.structs.replace(plain_record, hash="0" * 64),
        nodes=THREE,
        links=(),
        source=NodeId("a"),
        source_host="a",
    )
    planned = answer(command, Library(blob_folder))
    assert planned.fault is not None
    assert planned.fault.kind == "BadModel"
    assert "add it again" in planned.fault.message


def test_the_lattice_is_the_one_of_the_model(
    plain_record: ModelRecord, blob_folder: Path, vit_lattice: Lattice
) -> None:
    library = Library(blob_folder)
    subject = library.subject(plain_record)
    assert subject.lattice.graph.name == "vit"
    assert [cut.before for cut in subject.lattice.cuts] == [cut.before for cut in vit_lattice.cuts]
    assert library.subject(plain_record) is subject
