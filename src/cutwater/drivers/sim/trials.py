"""Trials: small clusters under random faults, everything drawn from one seed, with what must hold whatever happens."""

from collections.abc import Sequence
from itertools import cycle, takewhile
from random import Random

import msgspec
from msgspec.structs import replace

from cutwater.drivers.faults import Fault, Hang, Kill, LossyLink, Partition, Slow, SlowLink, What, ends_at
from cutwater.drivers.sim.cluster import ClusterOptions, NodeOptions, SimCluster
from cutwater.drivers.sim.models import SimModel
from cutwater.drivers.sim.outcomes import Asking, Figures, figures
from cutwater.drivers.sim.workload import bursty, poisson
from cutwater.drivers.sim.world import WorldOptions
from cutwater.engine.control import DeployAsked, DrainAsked
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.units import NodeId, Seconds

LOAD: Seconds = 6.0
"""How long requests come."""
HEALING: Seconds = 150.0
"""How long a cluster may take to be well again once the last fault is over."""
LAST = 5
"""Requests at the end, all of which must have results."""
LATE: Seconds = 1e-3
"""An error may come so long after the deadline: its alarm waits for the loop's turn."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed stands for."""

    seed: int
    nodes: tuple[NodeOptions, ...]
    gateways: tuple[NodeId, ...]
    spec: DeploySpec
    rate: float
    timeout: Seconds
    faults: tuple[Fault, ...]
    early: bool
    """Load and faults begin when the deployment is asked for, not when it serves."""
    drained: tuple[Seconds, NodeId] | None
    """When people drain a node; it is used again at the end of the load."""
    changed: tuple[Seconds, DeploySpec] | None
    """When people want something else."""
    models: tuple[str, ...]
    """Whom requests ask in turn; all of them are deployed as ``spec`` says, on the same nodes."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a trial."""

    setting: Setting
    figures: Figures
    befell: tuple[str, ...]
    """Which faults found a victim, and whom."""
    healed: Seconds
    """From the end of the last fault until everything was well again."""


def setting(seed: int) -> Setting:
    """3 to 6 nodes, one or two models of 2 or 3 stages, a few dozen requests, one to four faults."""
    rng = Random(seed)
    nodes = [
        NodeOptions(node=NodeId(f"n{k}"), speed=rng.choice((0.5, 1.0, 1.0, 2.0)), cores=rng.choice((1, 2, 4)))
        for k in range(rng.randint(3, 6))
    ]
    names = [node.node for node in nodes]
    spec = DeploySpec(
        model="net",
        stages=rng.choice((2, 3, None)),
        replicas=rng.choice((1, 1, 2)),
        spares=rng.choice((0, 0, 1)),
        chains=rng.choice((1, 1, 1, 2)),
        fallback=rng.random() < 0.7,
        batch=Random(f"{seed} batch").choice((1, 1, 4)),
    )
    return Setting(
        seed=seed,
        nodes=tuple(nodes),
        gateways=tuple(rng.sample(names, rng.choice((1, 1, 2)))),
        spec=spec,
        rate=rng.uniform(4.0, 12.0),
        timeout=rng.choice((1.0, 3.0, 8.0)),
        faults=tuple(random_fault(rng, names) for _ in range(rng.randint(1, 4))),
        early=rng.random() < 0.25,
        drained=(rng.uniform(0.0, LOAD / 2), rng.choice(names)) if rng.random() < 0.2 else None,
        changed=(rng.uniform(0.0, LOAD), replace(spec, stages=2, replicas=1)) if rng.random() < 0.2 else None,
        models=("net",) if rng.random() < 0.8 else ("net", "other"),
    )


def random_fault(rng: Random, nodes: Sequence[NodeId]) -> Fault:
    """Any fault, at any time while requests come."""
    at, seconds = rng.uniform(0.0, LOAD), rng.uniform(0.2, 8.0)
    one, other = rng.sample(list(nodes), 2)
    kind = rng.randrange(10)
    if kind <= 2:
        return Kill(at=at, what=What.WORKER)
    if kind == 3:
        return Kill(at=at, what=What.NODE, name=one, back=seconds)
    if kind == 4:
        return Kill(at=at, what=rng.choice((What.COORDINATOR, What.FABRIC)), back=seconds)
    if kind == 5:
        return Hang(at=at, what=rng.choice((What.WORKER, What.NODE, What.COORDINATOR)), seconds=seconds)
    if kind == 6:
        return Slow(at=at, node=one, factor=rng.uniform(2.0, 8.0), seconds=seconds)
    if kind == 7:
        return Partition(at=at, nodes=tuple(rng.sample(list(nodes), rng.randint(1, 2))), seconds=seconds)
    if kind == 8:
        return LossyLink(at=at, source=one, target=other, loss=rng.uniform(0.01, 0.4), seconds=seconds)
    bandwidth, latency = rng.uniform(1e5, 1e7), rng.uniform(1e-3, 0.2)
    return SlowLink(at=at, source=one, target=other, bandwidth=bandwidth, latency=latency, seconds=seconds)


def run_trial(seed: int, *, validate_every: Seconds = 0.1) -> Verdict:
    """Run what ``seed`` stands for.

    Raises:
        AssertionError: A request was lost, answered twice or too late, a machine's books contradict each other, or
            the cluster was not well again in time after the faults. Names the seed and the faults.
    """
    drawn = setting(seed)
    try:
        return _Trial(drawn, validate_every).run()
    except (AssertionError, LookupError) as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}; {drawn}") from error


class _Trial:
    def __init__(self, drawn: Setting, validate_every: Seconds) -> None:
        self.drawn = drawn
        models = [SimModel(name=name, blocks=(4e-3,) * 6, memory=2 * 2**20) for name in drawn.models]
        options = ClusterOptions(
            world=WorldOptions(seed=drawn.seed, validate_every=validate_every), planning=0.05, spawning=0.2
        )
        self.cluster = SimCluster(drawn.nodes, models, gateways=drawn.gateways, options=options)
        self.world = self.cluster.world

    def run(self) -> Verdict:
        cluster, drawn = self.cluster, self.drawn
        assert cluster.run_until(lambda: cluster.leader is not None, 5.0), "nobody leads"
        for model in drawn.models:
            cluster.deploy(replace(drawn.spec, model=model))
        assert drawn.early or cluster.run_until(self._well, HEALING), "it was never deployed"
        began = self.world.clock.now
        rng = Random(drawn.seed)
        arrivals = (bursty(4.0) if drawn.seed % 2 else poisson)(drawn.rate, rng)
        times = takewhile(lambda when: when < LOAD, arrivals)
        cluster.offer(zip(times, cycle(drawn.models), strict=False), drawn.timeout)
        cluster.suffer(drawn.faults)
        if drawn.drained is not None:
            at, node = drawn.drained
            cluster.ask(at, DrainAsked(node, True))
            cluster.ask(LOAD, DrainAsked(node, False))
        if drawn.changed is not None:
            cluster.ask(drawn.changed[0], DeployAsked(drawn.changed[1]))
        over = began + max(LOAD, *map(ends_at, drawn.faults))
        self.world.run(over)
        self.world.settle(over + drawn.timeout + 1.0)
        asked = list(self.world.askings)
        self._check(asked)
        assert cluster.run_until(self._well, HEALING), "it did not get well again"
        healed = self.world.clock.now - over
        self._serve()
        self.world.validate()
        befell = tuple(f"{type(fault).__name__} {victim}" for _, fault, victim in cluster.mischief.done if victim)
        return Verdict(setting=drawn, figures=figures(asked), befell=befell, healed=healed)

    def _well(self) -> bool:
        leader = self.cluster.leader
        if leader is None or leader.stepper is None:
            return False
        said = leader.stepper.machine.snapshot()
        return not said.rolling and not said.planning and all(map(self.cluster.live, self.drawn.models))

    def _check(self, askings: Sequence[Asking]) -> None:
        for asking in askings:
            assert asking.ended is not None, f"request {asking.request} has no answer"
            limit = asking.deadline + (LATE if asking.kind else 0.0)
            assert asking.ended <= limit, f"request {asking.request} was answered {asking.ended - asking.deadline} late"

    def _serve(self) -> None:
        """After everything: requests have results."""
        before = len(self.world.askings)
        self.cluster.offer(((0.1 * k, model) for k in range(LAST) for model in self.drawn.models), 10.0)
        self.world.settle(self.world.clock.now + 20.0)
        for asking in self.world.askings[before:]:
            assert asking.ended is not None, f"request {asking.request} has no answer, after all faults were over"
            assert not asking.kind, f"request {asking.request} ended as {asking.kind}, after all faults were over"
