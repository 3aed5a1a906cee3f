"""Bench: a cluster of its own for one study, each node on its own part of the processor; gone afterwards."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import NamedTuple

from msgspec.structs import replace

from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.nodes import NodeBeat, Phase, WorkerState
from cutwater.errors import BadSetting, DeadlineExceeded, InputError, NoPlan, Unprivileged
from cutwater.fabric.base import Fabric
from cutwater.lab.drills.pids import family
from cutwater.lab.drills.watch import Watch
from cutwater.lab.quota import Quota
from cutwater.lab.timing import usable_cores
from cutwater.services.asking import Done, EpochStatus, Undeploy, ask_coordinator
from cutwater.services.background import kill_leftovers
from cutwater.services.cluster.cluster import GATEWAY, LocalCluster, Venue
from cutwater.services.cluster.deploying import deploy, live_epoch, until_live
from cutwater.services.cluster.overview import reached
from cutwater.services.home import Home, Wishes
from cutwater.settings.settings import Settings
from cutwater.units import NodeId, Seconds

LIVE: Seconds = 120.0
"""For a model to be deployed."""
HEARD: Seconds = 10.0
"""For every node to say how it is."""
NEVER: Seconds = 30 * 86400.0
"""A plan is not to be changed during a study because another one seems better."""

Say = Callable[[str], None]


class Wanted(NamedTuple):
    """A deployment."""

    spec: DeploySpec
    ways: frozenset[tuple[NodeId, ...]]
    """The nodes of its stages, for each way through."""


@dataclass
class Bench:
    """A cluster that runs placements."""

    home: Home
    fabric: Fabric
    watch: Watch
    url: str
    """Where its gateway takes requests by HTTP."""
    deployed: dict[str, DeploySpec] = field(default_factory=dict)
    """Model -> how it is deployed."""

    async def become(self, wanted: Mapping[str, "Wanted"]) -> None:
        """Have exactly these deployments, and wait until they are live.

        Raises:
            NoPlan: One is not possible, or the coordinator has put it elsewhere.
            DeadlineExceeded: One is not live in time.
        """
        for model in [model for model in self.deployed if model not in wanted]:
            await ask_coordinator(self.fabric, Undeploy(model), Done)
            del self.deployed[model]
        new = {model: each for model, each in wanted.items() if self.deployed.get(model) != each.spec}
        before = {model: await deploy(self.fabric, each.spec) for model, each in new.items()}  # they come up together
        for model, (spec, ways) in new.items():
            status = await until_live(self.fabric, spec, before[model], LIVE)
            found = _ways(live_epoch(status))
            if found != ways:
                raise NoPlan(f"{model} was to run on {_words(ways)}, and runs on {_words(found)}")
            self.deployed[model] = spec

    async def beats(self) -> dict[NodeId, NodeBeat]:
        """What every node says of itself from now on. Raises DeadlineExceeded."""
        now = clock()
        heard = self.watch.heard

        def all_said() -> str:
            return "said" if all(heard.get(node, 0.0) > now for node in self.watch.nodes) else ""

        # One beat may have been on its way, so it is the one after it that counts.
        for _ in range(2):
            if await self.watch.until(all_said, HEARD) is None:
                raise DeadlineExceeded(f"a node has said nothing for {HEARD:g} s; `cutwater logs` may tell why")
            now = clock()
        return dict(self.watch.nodes)

    async def workers(self) -> dict[str, WorkerState]:
        """All workers that serve, by name."""
        beats = await self.beats()
        return {each.worker: each for beat in beats.values() for each in beat.workers if each.phase is Phase.READY}


@asynccontextmanager
async def bench(home: Home, settings: Settings, count: int, share: float, say: Say) -> AsyncIterator[Bench]:
    """Bring up ``count`` nodes that have ``share`` of a core each.

    A whole core is a node's own; a part is a quota, which needs root.

    Raises:
        BadSetting: There are not enough cores.
        InputError: A cluster runs in this home already.
        Unprivileged: Quotas cannot be set here, or nodes cannot be pinned.
        ProcessLost: Something was left running; it is killed.
        CutwaterError: Why the cluster does not come up.
    """
    _clear(home)
    settings = replace(
        settings,
        cluster=replace(settings.cluster, nodes=count),
        coordinator=replace(settings.coordinator, interval=NEVER),
    )
    cluster = LocalCluster(home, say, _pinned(count, share))
    with ExitStack() as quotas:
        try:
            await cluster.bring_up(settings, Wishes())
            if share < 1.0:
                for node in range(1, count + 1):
                    quotas.enter_context(_bounded(home, f"node-{node}", share))
            facts = home.alive()[GATEWAY].facts
            url = facts["http"] if "://" in facts["http"] else f"http://{facts['http']}"
            async with reached(home, settings.fabric, "study") as fabric, Watch(fabric, "") as watch:
                made = Bench(home, fabric, watch, url)
                await watch.until(lambda: "all" if len(watch.nodes) == count else "", HEARD)
                yield made
        finally:
            await cluster.take_down(settings)
            kill_leftovers(home.run)


def _ways(epoch: EpochStatus | None) -> frozenset[tuple[NodeId, ...]]:
    """The nodes of each way through, spares left out; a stage with several workers is one way each."""
    chains: dict[int, dict[int, list[NodeId]]] = {}
    for worker in epoch.workers if epoch is not None else ():
        if not worker.spare:
            chains.setdefault(worker.chain, {}).setdefault(worker.stage, []).append(worker.node)
    return frozenset(way for stages in chains.values() for way in product(*(stages[k] for k in sorted(stages))))


def _words(ways: frozenset[tuple[NodeId, ...]]) -> str:
    return "; ".join(", ".join(way) for way in sorted(ways)) or "nothing"


def _clear(home: Home) -> None:
    """Forget an earlier study's cluster, its logs included. Raises InputError if it runs."""
    if home.alive():
        raise InputError(f"a cluster runs in {home.folder}; take it down with `cutwater down --home {home.folder}`")
    for name in ("run", "logs", "data", "authority"):
        shutil.rmtree(home.folder / name, ignore_errors=True)


def _pinned(count: int, share: float) -> dict[str, Venue]:
    """Each node on a core, which its workers inherit; as many on one as their shares allow, to leave others free.

    What one hardware thread of a core does slows down what the other does. Nodes that take turns on one of them, each
    bounded by its share, are as fast as they are whether the others work or not, as devices of their own would be.

    Raises:
        BadSetting: There are not enough cores for that.
        Unprivileged: There is no `taskset`.
    """
    cores = usable_cores()
    together = int(1.0 / share)
    if count > together * len(cores):
        most = 1.0 / -(-count // len(cores))
        raise BadSetting(
            f"nodes.share: {count} nodes do not have {share:g} of a core each where there are {len(cores)} cores; "
            f"give them {most:.2g} at most, less than that where the gateway is to have something, too"
        )
    if shutil.which("taskset") is None:
        raise Unprivileged("nodes are pinned to cores by the program `taskset`, which is not here; install util-linux")
    return {
        f"node-{k + 1}": Venue(partial(_on_core, cores[k // together]), lambda settings: settings) for k in range(count)
    }


def _on_core(core: int, command: tuple[str, ...]) -> tuple[str, ...]:
    return ("taskset", "--cpu-list", str(core), *command)


@contextmanager
def _bounded(home: Home, name: str, share: float) -> Iterator[None]:
    """A node's processes have a part of a core, whatever else runs."""
    quota = Quota.make(f"cutwater-study-{name}", share)
    try:
        for pid in family(home.records()[name].pid):
            with contextlib.suppress(OSError):
                quota.door.write_text(str(pid), encoding="ascii")
        yield
    finally:
        for pid in quota.pids():
            with contextlib.suppress(OSError):
                (quota.folder.parent / quota.door.name).write_text(str(pid), encoding="ascii")
        quota.remove()
