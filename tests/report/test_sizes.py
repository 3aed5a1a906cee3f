"""Deployments that follow their demand: what people may ask for, and what they are told of it."""

import msgspec
import pytest
from typer.testing import CliRunner

from cutwater.cli.app import app
from cutwater.engine.facts.deployments import (
    Blueprint,
    Chain,
    DeploymentRecord,
    DeploySpec,
    Door,
    EpochPhase,
    EpochRecord,
    Post,
    Scaling,
    StagePart,
)
from cutwater.engine.facts.nodes import NodeBeat, Phase, WorkerState
from cutwater.errors import InputError
from cutwater.plan.plan import CutRef, Plan, PlanStage, Score
from cutwater.report.cluster import overview_parts
from cutwater.services.asking import ClusterStatus
from cutwater.services.cluster.overview import Overview
from cutwater.services.coordinator.desk import check_scaling
from cutwater.services.coordinator.status import Sightings
from cutwater.units import NodeId, StageId, WorkerId


def chain(node: str) -> Chain:
    """One stage there."""
    begin, end = CutRef("0", "input"), CutRef("1", "output")
    score = Score(latency=0.01, throughput=100.0, bottleneck="", stages=(), hops=(), memory={}, traffic={})
    plan = Plan(
        model="m", model_hash="h", objective="throughput", source=NodeId("a"), sink=NodeId("a"),
        stages=(PlanStage(begin=begin, end=end, nodes=(NodeId(node),)),), codecs=("raw", "raw"), score=score,
        bound=100.0, gap=0.0, solver="none",
    )  # fmt: skip
    door = Door(border=("x",), travelling=(), codec="raw")
    part = StagePart(stage=StageId("stage-1"), blob="b", nbytes=1, inputs=(), outputs=(), batchable=False)
    placed = Post(stage=0, node=NodeId(node), seconds=0.01, memory=1)
    return Chain(plan=plan, parts=(part,), posts=(placed,), entry=door, exit=door)


def deployed() -> ClusterStatus:
    """Three chains are wanted; two have joined, and one of these serves."""
    made = Blueprint(model="m", chains=(chain("a"), chain("b")), throughput=200.0, latency=0.01)
    epoch = EpochRecord(epoch=1, token="t", phase=EpochPhase.LIVE, blueprint=made, numbers=(0, 4), next_chain=5)
    spec = DeploySpec(model="m", scaling=Scaling(least=1, most=4))
    record = DeploymentRecord(spec=spec, epochs=(epoch,), next_epoch=2, chains=3, scaled="61 requests/s asked")
    seen = Sightings()
    for node, worker, phase in (("a", "m.1.0.0.0", Phase.READY), ("b", "m.1.4.0.0", Phase.LOADING)):
        state = WorkerState(worker=WorkerId(worker), phase=phase)
        seen.node(NodeBeat(node=NodeId(node), incarnation="1", cpu=0.0, memory=0, workers=(state,)), 1.0)
    return ClusterStatus(
        leader="c", term=1, since="", nodes=(), gateways=(), models=(), deployments=seen.deployments([record], {}, 1.0),
        links=(),
    )  # fmt: skip


def test_the_status_tells_how_many_chains_serve_and_how_many_are_wanted() -> None:
    (status,) = deployed().deployments
    assert (status.chains, status.wanted, status.scaled) == (1, 3, "61 requests/s asked")
    # Chains keep their numbers, by which their workers are called.
    found = [(each.worker, each.state.phase if each.state else None) for each in status.epochs[0].workers]
    assert found == [("m.1.0.0.0", Phase.READY), ("m.1.4.0.0", Phase.LOADING)]


def test_people_read_how_many_and_why() -> None:
    seen = Overview(home="/h", processes={}, cluster=deployed(), trouble="")
    said = [str(part) for part in overview_parts(seen)]
    assert "m: 1 of 3 chains that are wanted, 1 to 4 allowed: 61 requests/s asked" in said


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({"least": 0}, "0..4 chains cannot be"),
        ({"least": 5}, "5..4 chains cannot be"),
        ({"target": 1.0}, "the target is a share between 0 % and 100 %"),
        ({"idle": -1.0}, "idle is no less than 0 s"),
    ],
)
def test_bounds_that_cannot_be_are_refused(scaling: dict[str, float], said: str) -> None:
    wanted = msgspec.convert({"least": 1, "most": 4, **scaling}, Scaling)
    with pytest.raises(InputError, match=said):
        check_scaling(DeploySpec(model="m", scaling=wanted), wanted)


def test_a_place_for_each_stage_is_for_one_chain() -> None:
    wanted = Scaling(least=1, most=2)
    with pytest.raises(InputError, match="places are those of one chain"):
        check_scaling(DeploySpec(model="m", places=(NodeId("a"),), scaling=wanted), wanted)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--scale", "some"], "write the fewest and the most chains, such as 1..4"),
        (["--scale", "1..3", "--chains", "2"], "leave --chains out"),
        (["--scale", "3", "--target", "never"], "--target never: give a share between 0 and 100 %"),
        (["--scale", "3", "--idle", "a while"], "a while"),
    ],
)
def test_flags_that_make_no_sense_are_named(flags: list[str], said: str) -> None:
    found = CliRunner().invoke(app, ["deploy", "m", *flags])
    assert found.exit_code != 0
    assert said in " ".join(f"{found.output} {found.exception}".split())
