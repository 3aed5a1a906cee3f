"""A cluster that follows its demand, in virtual time: in time through steps, quiet under clumps, and nothing lost."""

from collections.abc import Mapping, Sequence
from statistics import mean

import numpy as np
import pytest

from cutwater.drivers.faults import Kill, What
from cutwater.drivers.sim.cluster import ClusterOptions, NodeOptions, SimCluster
from cutwater.drivers.sim.models import SimModel
from cutwater.drivers.sim.outcomes import Asking
from cutwater.drivers.sim.world import WorldOptions
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploySpec, Scaling
from cutwater.units import NodeId
from cutwater.workload.arrivals import Arrivals, Gamma, Step, Steps
from cutwater.workload.draw import draw

EACH = 10.0
"""Requests per second that a chain does."""
CHECKED = WorldOptions(validate_every=1.0)


def cluster(
    *names: str, chains: int, stages: int = 1, timeout: float = 1.0, hold: float = 60.0, idle: float = 0.0
) -> SimCluster:
    """Nodes that hold one stage each, models that may have all of them, and two gateways."""
    nodes = [NodeOptions(node=NodeId(f"n{k}"), cores=1, memory=60 * 2**20) for k in range(chains * stages)]
    models = [SimModel(name=name, blocks=(0.1,) * stages, memory=50 * 2**20) for name in names]
    steering = CoordinatorOptions(scale_hold=hold)
    options = ClusterOptions(world=CHECKED, steering=steering)
    made = SimCluster(nodes, models, gateways=[NodeId("n0"), NodeId("n1")], options=options)
    for name in names:
        scaling = Scaling(least=1, most=chains, idle=idle)
        spec = DeploySpec(model=name, timeout=timeout, fallback=False, stages=stages, scaling=scaling)
        made.deploy(spec)
    assert made.run_until(lambda: all(made.live(name) for name in names), 60.0)
    return made


def ask(to: SimCluster, arrivals: Mapping[str, Arrivals], seconds: float, timeout: float = 1.0) -> None:
    """Have requests come, and wait for the answers: one for each, in time."""
    rng = np.random.default_rng(1)
    times = sorted((float(at), name) for name, kind in arrivals.items() for at in draw(kind, seconds, rng))
    to.offer(times, timeout)
    to.world.settle(to.world.clock.now + seconds + 60.0)
    found = to.world.figures()
    assert (found.asked, found.lost) == (len(times), 0)
    assert found.errors.keys() <= {"Refused", "DeadlineExceeded"}


def notes(of: SimCluster, *kinds: str) -> list[tuple[float, str]]:
    """What was told, and when."""
    return [(at, f"{n.about}: {n.text}") for c in of.coordinators for at, n in c.notes if n.kind in kinds]


def attainment(askings: Sequence[Asking]) -> float:
    """The share that was answered in time."""
    return mean(not asking.kind for asking in askings)


@pytest.mark.slow
@pytest.mark.parametrize("stages", [1, 2])
def test_a_step_up_and_down_again_is_followed_and_answered_in_time(stages: int) -> None:
    made = cluster("m", chains=4, stages=stages)
    began = made.world.clock.now
    course = Steps(steps=(Step(0.0, 8.0), Step(120.0, 34.0), Step(300.0, 8.0)))
    ask(made, {"m": course}, 420.0)
    counted = [asking for asking in made.world.askings if asking.asked >= began + 60.0]
    assert attainment(counted) >= 0.99
    (down,) = [at - began for at, text in notes(made, "scaled-down") if at > began + 300.0]
    assert 360.0 < down < 380.0
    # What is not needed is not paid for.
    assert len([c for agent in made.agents.values() for c in agent.children]) == 2 * stages


@pytest.mark.slow
def test_clumps_that_come_all_the_time_move_nothing_once_they_are_known() -> None:
    made = cluster("m", chains=6, timeout=8.0)
    began = made.world.clock.now
    ask(made, {"m": Gamma(rate=0.3 * 6 * EACH, cv=8.0)}, 600.0, timeout=8.0)
    assert attainment(made.world.askings) >= 0.99
    late = [at for at, _ in notes(made, "scaled-up", "scaled-down") if at >= began + 300.0]
    assert len(late) <= 5  # in as many minutes


@pytest.mark.slow
def test_two_models_that_change_places_change_nodes() -> None:
    made = cluster("a", "b", chains=6)
    began = made.world.clock.now
    many, few = 0.6 * 6 * EACH, 0.1 * 6 * EACH
    shift = {
        "a": Steps(steps=(Step(0.0, many), Step(120.0, few))),
        "b": Steps(steps=(Step(0.0, few), Step(120.0, many))),
    }
    ask(made, shift, 240.0)
    settled = [each for each in made.world.askings if not 0.0 <= each.asked - began - 120.0 < 15.0]
    assert attainment([each for each in settled if each.asked >= began + 60.0]) >= 0.99
    assert any(text.startswith("a: gives") for _, text in notes(made, "shared"))
    # The nodes changed hands well before they would have been given back for want of demand.
    moved = [at for at, _ in notes(made, "shared") if at > began + 120.0]
    assert moved and moved[0] < began + 130.0


@pytest.mark.slow
def test_coordinators_and_workers_may_die_while_chains_come_and_go() -> None:
    made = cluster("m", chains=5, hold=15.0)
    course = [Step(30.0 * k, (10.0, 40.0)[k % 2]) for k in range(6)]
    made.suffer([Kill(at=31.5, what=What.COORDINATOR, back=1.0), Kill(at=32.5, what=What.WORKER)])
    made.suffer([Kill(at=77.0, what=What.WORKER), Kill(at=78.0, what=What.COORDINATOR, back=1.0)])
    ask(made, {"m": Steps(steps=tuple(course))}, 180.0)
    assert made.run_until(lambda: len(notes(made, "scaled-down")) > 0, 60.0)
    made.world.run(made.world.clock.now + 60.0)
    assert len([c for agent in made.agents.values() for c in agent.children]) == 1


def test_a_model_that_nobody_uses_ends_and_whoever_asks_for_it_waits_until_it_is_back() -> None:
    made = cluster("m", chains=2, timeout=8.0, idle=10.0)
    made.world.run(made.world.clock.now + 20.0)
    assert [text for _, text in notes(made, "parked")] == ["m: unused for 10 s"]
    assert not any(agent.children for agent in made.agents.values())
    ask(made, {"m": Steps(steps=(Step(0.0, 2.0),))}, 5.0, timeout=8.0)
    assert made.world.figures().errors == {}
