"""Conduct: a drill from the first process to the verdict: bring up, measure, load, break, and take down."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import msgspec

from cutwater.drivers.live import clock
from cutwater.drivers.sim.workload import parse_arrivals
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.nodes import BEAT
from cutwater.lab.adding import Added
from cutwater.lab.drill import Findings, Injected, Kind, Verdict, judge, schedule
from cutwater.lab.drills.apart import apart, nodes_apart, venues
from cutwater.lab.drills.hands import Hands
from cutwater.lab.drills.scene import Say, Scene, scene
from cutwater.lab.load.result import GOOD
from cutwater.services.cluster.cluster import LocalCluster
from cutwater.services.home import Home
from cutwater.settings.settings import Settings
from cutwater.units import Seconds

AT_ONCE = 16
"""Clients of the closed loop that measures what the cluster can do."""
MEASURED: Seconds = 6.0
"""How long it does, at most."""
MEASURED_SHARE = 0.25
"""Of the drill's own length, likewise."""
_TELL: Seconds = 1.0


@dataclass(frozen=True)
class DrillOptions:
    """What a drill is."""

    kind: Kind
    every: Seconds
    duration: Seconds
    seed: int
    rate: float
    """Share of the measured capacity that is offered."""
    arrivals: str = "poisson"
    """See `parse_arrivals`."""
    spec: DeploySpec = field(kw_only=True)


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Under what a verdict was found."""

    model: str
    nodes: int
    every: Seconds
    seed: int
    arrivals: str
    capacity: float
    """Answers per second of a closed loop, just before."""
    offered: float
    """Requests per second."""
    cores: int
    load_before: float
    """Load average of the last minute, before anything was started."""
    load_after: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of a drill."""

    conditions: Conditions
    verdict: Verdict
    findings: Findings
    """All that the verdict follows from."""


Progress = Callable[[Seconds, "Scene", list[Injected]], None]
"""Told about once a second: how far it is, where, and what has happened so far."""


async def conduct(
    options: DrillOptions,
    home: Home,
    settings: Settings,
    added: Added,
    say: Say,
    progress: Progress = lambda now, scene, faults: None,
) -> Report:
    """Run a drill. Raises CutwaterError where it cannot even begin, or leaves something running."""
    before = os.getloadavg()[0]
    async with _staged(options, home, settings, added, say) as (stage, hands):
        say("measuring what it can do")
        capacity = await stage.load.closed(AT_ONCE, min(MEASURED, MEASURED_SHARE * options.duration))
        offered = max(options.rate * capacity, 0.1)
        say(f"{capacity:.1f} answers/s at most; {offered:.1f} requests/s from now on")
        faults, alive = await _perform(options, stage, hands, offered, progress)
        findings = await _find(options, stage, hands, faults, alive)
    after = os.getloadavg()[0]
    conditions = Conditions(
        model=options.spec.model,
        nodes=settings.cluster.nodes,
        every=options.every,
        seed=options.seed,
        arrivals=options.arrivals,
        capacity=capacity,
        offered=offered,
        cores=len(os.sched_getaffinity(0)),
        load_before=before,
        load_after=after,
    )
    return Report(conditions=conditions, verdict=judge(findings), findings=findings)


@asynccontextmanager
async def _staged(
    options: DrillOptions, home: Home, settings: Settings, added: Added, say: Say
) -> AsyncIterator[tuple[Scene, Hands]]:
    with ExitStack() as stack:
        bed = None
        if options.kind is Kind.PARTITION:
            bed = stack.enter_context(nodes_apart(settings.cluster.nodes))
            settings = apart(settings, bed)
        cluster = LocalCluster(home, say, venues(bed) if bed is not None else {})
        async with scene(home, settings, cluster, added, options.spec, say) as stage:
            yield stage, Hands(stage, Random(options.seed), bed)


async def _perform(
    options: DrillOptions, stage: Scene, hands: Hands, offered: float, progress: Progress
) -> tuple[list[Injected], dict[str, str]]:
    """Load and faults together; what happened, and the processes that there were at the beginning."""
    rng = Random(options.seed)
    planned = schedule(options.kind, options.every, options.duration, rng)
    arrivals = parse_arrivals(options.arrivals)(offered, rng)
    stage.watch.switches.clear()
    faults: list[Injected] = []
    alive = {name: record.birth for name, record in stage.home.alive().items()}

    async def break_things() -> None:
        for each in planned:
            await asyncio.sleep(max(each.at - stage.load.now, 0.0))
            faults.append(await hands.obey(each))

    async def tell() -> None:
        while True:
            progress(stage.load.now, stage, faults)
            await asyncio.sleep(_TELL)

    telling = asyncio.create_task(tell())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.load.open(arrivals, options.duration))
            group.create_task(break_things())
    finally:
        telling.cancel()
    return faults, alive


async def _find(
    options: DrillOptions, stage: Scene, hands: Hands, faults: list[Injected], alive: dict[str, str]
) -> Findings:
    gateway = stage.watch.gateway
    now = clock()
    if gateway is not None:  # its next beat but one is after the last answer
        heard = stage.watch.heard
        await stage.watch.until(lambda: "beat" if heard.get(gateway.gateway, 0.0) > now + BEAT else "", 10 * BEAT)
    tally = stage.watch.tally
    held = sum(tally.flying.values()) + tally.queued if tally is not None else 0
    left = stage.home.alive()
    strangers = [
        f"{name} has ended"
        for name, birth in alive.items()
        if name not in hands.killed and (name not in left or left[name].birth != birth)
    ]
    began = stage.load.began
    return Findings(
        kind=options.kind,
        duration=options.duration,
        attempts=stage.load.attempts,
        sent=stage.load.sent,
        repeated=stage.client.repeated,
        unanswered=tally.accepted - tally.answered - tally.failed - held if tally is not None else 0,
        late=tally.late if tally is not None else 0,
        retried=tally.retried if tally is not None else 0,
        faults=faults,
        switches=[at - began for at in stage.watch.switches if at >= began],
        strangers=strangers,
    )


def said(now: Seconds, duration: Seconds, stage: Scene, faults: list[Injected]) -> str:
    """A line of progress."""
    load = stage.load
    good = sum(each.result in GOOD for each in load.attempts)
    rate = sum(each.result in GOOD and each.ended >= now - 5.0 for each in load.attempts[-4096:]) / min(max(now, 1), 5)
    return (
        f"{now:5.0f} of {duration:g} s: {load.sent} sent, {good} right, {len(load.attempts) - good} not, "
        f"{load.sent - len(load.attempts)} open, {rate:.1f}/s, {len(faults)} faults, epoch {stage.watch.epoch}"
    )
