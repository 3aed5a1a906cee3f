"""Deployments that share a node take turns in virtual time, whatever befalls the one whose turn it is."""

from functools import partial

from cutwater.drivers.sim.cluster import ClusterOptions, NodeOptions, SimCluster
from cutwater.drivers.sim.models import SimModel
from cutwater.drivers.sim.nodes import SimNode
from cutwater.drivers.sim.process import Process
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.turns import GRACE, RENEWAL, Turns
from cutwater.units import NodeId, Seconds

NODE = NodeId("n")
WORK: Seconds = 0.05
NAMES = [f"m{k}" for k in range(6)]


def shared() -> SimCluster:
    """Six models, each in one piece on the only node, which has one core; their gateway is elsewhere."""
    nodes = [NodeOptions(node=NODE, cores=1), NodeOptions(node=NodeId("entrance"), speed=0.01, memory=0)]
    models = [SimModel(name=name, blocks=(WORK,), memory=2**20) for name in NAMES]
    options = ClusterOptions(coordinators=1)
    cluster = SimCluster(nodes, models, gateways=[NodeId("entrance")], options=options)
    assert cluster.run_until(lambda: cluster.leader is not None, 5.0)
    for name in NAMES:
        cluster.deploy(DeploySpec(model=name, stages=1))
        assert cluster.run_until(partial(cluster.live, name), 20.0), name
    return cluster


def latencies(cluster: SimCluster, at: list[tuple[Seconds, str]], limit: Seconds = 20.0) -> dict[str, Seconds]:
    """Have these ask; how long each was for its first answer."""
    before = len(cluster.world.askings)
    cluster.offer(at, limit)
    cluster.world.settle(cluster.world.clock.now + limit + 1.0)
    asked = [asking for asking in cluster.world.askings[before:] if asking.model in {name for _, name in at}]
    assert not [asking.kind for asking in asked if asking.kind]
    return {asking.model: asking.latency for asking in reversed(asked)}


def turns(node: SimNode) -> Turns:
    machine = node._turns.machine
    assert isinstance(machine, Turns)
    return machine


def holder(cluster: SimCluster) -> Process:
    """Whose turn it is."""
    (worker,) = turns(cluster.agents[NODE]).snapshot().holders
    return cluster.agents[NODE].children[worker].worker.process


def test_one_after_the_other_in_the_order_in_which_they_came() -> None:
    cluster = shared()
    latencies(cluster, [(0.0, name) for name in NAMES])
    found = latencies(cluster, [(1.0 + k * 1e-3, name) for k, name in enumerate(NAMES)])
    # By time slices all six would be done at the end, after 0.3 s.
    for k, name in enumerate(NAMES):
        assert (k + 1) * (WORK - 1e-3) < found[name] < (k + 1) * WORK + 5e-3, name


def test_one_that_is_stopped_while_it_has_the_turn_holds_the_others_up_for_a_moment_only() -> None:
    cluster = shared()
    latencies(cluster, [(0.0, name) for name in NAMES])
    cluster.world.clock.after(0.5 + WORK / 2, lambda _: holder(cluster).stop())
    cluster.offer([(0.5, NAMES[0])], 20.0)
    found = latencies(cluster, [(0.5 + 1e-3, name) for name in NAMES[1:]])
    assert max(found.values()) < 5 * WORK + RENEWAL + GRACE + 0.02
    assert turns(cluster.agents[NODE]).snapshot().lost == 1


def test_one_that_dies_while_it_has_the_turn_holds_nobody_up() -> None:
    cluster = shared()
    latencies(cluster, [(0.0, name) for name in NAMES])
    cluster.world.clock.after(0.5 + WORK / 2, lambda _: holder(cluster).die())
    cluster.offer([(0.5, NAMES[0])], 20.0)
    found = latencies(cluster, [(0.5 + 1e-3, name) for name in NAMES[1:]])
    # Its successor loads meanwhile, which nobody takes turns for.
    assert max(found.values()) < 7 * WORK


def test_while_the_agent_is_stopped_workers_go_on_without_turns() -> None:
    cluster = shared()
    latencies(cluster, [(0.0, name) for name in NAMES])
    agent = cluster.agents[NODE].process
    cluster.world.clock.after(0.4, lambda _: agent.stop())
    cluster.world.clock.after(3.0, lambda _: agent.resume())
    found = latencies(cluster, [(0.5, name) for name in NAMES])
    assert max(found.values()) < 2.4 + 6 * WORK
    again = latencies(cluster, [(1.0 + k * 1e-3, name) for k, name in enumerate(NAMES)])
    assert again[NAMES[0]] < 1.5 * WORK
