"""Roll-out: the life of an epoch as a table, and which of its workers are wanted in each phase."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256

import msgspec

from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import Chain, EpochPhase, EpochRecord, Post
from cutwater.engine.facts.nodes import Phase, WorkerSpec, WorkerState
from cutwater.engine.lives import step
from cutwater.engine.stage.batching import Batching
from cutwater.units import NodeId, Seconds, WorkerId


class EpochStep(StrEnum):
    """What can happen to an epoch."""

    READY = "ready"
    """All its workers serve."""
    PROVE = "prove"
    """Every gateway has had an answer through every chain."""
    GIVE_UP = "give-up"
    """It cannot be brought up, or is not wanted any more; nobody has used it yet."""
    RETIRE = "retire"
    """The gateways are told to use another, or none."""
    REVIVE = "revive"
    """The switch away from it is undone."""
    EMPTY = "empty"
    """No gateway has anything under way on it, or the time for that is over."""


EPOCH_LIFE: Mapping[EpochPhase, Mapping[EpochStep, EpochPhase]] = {
    EpochPhase.STARTING: {EpochStep.READY: EpochPhase.PROBING, EpochStep.GIVE_UP: EpochPhase.GONE},
    EpochPhase.PROBING: {EpochStep.PROVE: EpochPhase.LIVE, EpochStep.GIVE_UP: EpochPhase.GONE},
    EpochPhase.LIVE: {EpochStep.RETIRE: EpochPhase.DRAINING},
    EpochPhase.DRAINING: {EpochStep.REVIVE: EpochPhase.LIVE, EpochStep.EMPTY: EpochPhase.GONE},
    EpochPhase.GONE: {},
}


class Leave:
    """A chain being given back."""

    __slots__ = ("since", "unused")

    def __init__(self, since: Seconds) -> None:
        self.since = since
        self.unused: Seconds | None = None
        """Since when every gateway has shown a table without it."""


class Worker:
    """One worker of an epoch: as it is wanted, and as its node last said it is."""

    __slots__ = ("chain", "crashes", "epoch", "node", "spare", "spec", "stage", "state")

    def __init__(self, epoch: "Epoch", spec: WorkerSpec, node: NodeId, chain: int, stage: int, spare: bool) -> None:
        self.epoch = epoch
        self.spec = spec
        self.node = node
        self.chain = chain
        self.stage = stage
        self.spare = spare
        self.state: WorkerState | None = None
        self.crashes: deque[Seconds] = deque()
        """When it was seen to have ended by itself."""

    @property
    def ready(self) -> bool:
        """Whether it serves, as far as known."""
        return self.state is not None and self.state.phase is Phase.READY

    @property
    def over(self) -> bool:
        """Whether nobody needs it any more: its epoch is GONE, or its chain has left it."""
        return self.epoch.phase is EpochPhase.GONE or self.chain not in self.epoch.frontier

    @property
    def wanted(self) -> bool:
        """Whether its node shall run it now."""
        if self.epoch.phase is EpochPhase.STARTING:
            return self.stage >= self.epoch.frontier[self.chain]
        return not self.over

    @property
    def coming(self) -> bool:
        """Whether its node shall run it later."""
        return self.epoch.phase is EpochPhase.STARTING and not self.wanted


class Epoch:
    """One blueprint being brought up, in use, or on its way out; changed only by the `Coordinator`.

    While it is LIVE chains may join and leave it; each keeps its number, and no number is given twice.
    """

    __slots__ = (
        "blueprint", "ended", "frontier", "held", "lame", "leaving", "model", "next_chain", "nodes", "number", "phase",
        "reason", "since", "token", "voluntary", "why", "workers",
    )  # fmt: skip

    def __init__(self, model: str, record: EpochRecord, now: Seconds, options: CoordinatorOptions) -> None:
        self.model = model
        self.number = record.epoch
        self.token = record.token
        self.phase = record.phase
        self.blueprint = record.blueprint
        self.why = record.why
        self.reason = record.why
        """The same without what it lacks of what was wished."""
        self.since = now
        """When it came to its phase, or this coordinator to it."""
        self.voluntary = False
        """Made for the gain alone."""
        self.held = False
        """On trial's account kept warm, though it is DRAINING."""
        numbers = record.numbers or range(len(self.blueprint.chains))
        self.next_chain = record.next_chain or len(self.blueprint.chains)
        self.frontier = {c: len(chain.parts) - 1 for c, chain in zip(numbers, self.blueprint.chains, strict=True)}
        """Number of each chain, in the order of the blueprint's -> its earliest stage that is wanted, while STARTING:
        the last one comes first."""
        self.leaving: dict[int, Leave] = {}
        """Chains that are given back."""
        self.lame: dict[int, Seconds] = {}
        """Chains that do not serve as a whole, and since when."""
        self.workers: dict[WorkerId, Worker] = {}
        self.ended: dict[WorkerId, Worker] = {}
        """Of chains that have left, as far as nodes may still run them."""
        for c, chain in self.chains.items():
            self._enlist(c, chain, options)
        self.nodes: frozenset[NodeId] = self._used()
        """All that run something of what stays."""

    def take(self, taken: EpochStep, now: Seconds) -> None:
        """Go to the phase that follows ``taken``."""
        self.phase = step(EPOCH_LIFE, self.phase, taken)
        self.since = now

    def record(self) -> EpochRecord:
        """What a successor needs to know."""
        numbers = tuple(self.frontier)
        as_planned = numbers == tuple(range(self.next_chain))
        return EpochRecord(
            epoch=self.number,
            token=self.token,
            phase=self.phase,
            blueprint=self.blueprint,
            why=self.why,
            numbers=() if as_planned else numbers,
            next_chain=0 if as_planned else self.next_chain,
        )

    @property
    def chains(self) -> dict[int, Chain]:
        """All chains by number, those that are leaving included."""
        return dict(zip(self.frontier, self.blueprint.chains, strict=True))

    @property
    def staying(self) -> dict[int, Chain]:
        """The chains that are not leaving."""
        return {c: chain for c, chain in self.chains.items() if c not in self.leaving}

    @property
    def parting(self) -> int:
        """Chains that have been given back, and whose room is not free yet."""
        return len(self.leaving) + len({worker.chain for worker in self.ended.values()})

    def of(self, number: int) -> list[Worker]:
        """The workers of a chain."""
        return [worker for worker in self.workers.values() if worker.chain == number]

    def whole(self, number: int) -> bool:
        """Whether all workers of a chain serve."""
        return all(worker.ready for worker in self.of(number))

    def join(self, chains: Sequence[Chain], options: CoordinatorOptions) -> list[Worker]:
        """Further chains for a live epoch; returns their workers."""
        joined: list[Worker] = []
        for chain in chains:
            c, self.next_chain = self.next_chain, self.next_chain + 1
            self.frontier[c] = 0
            self._enlist(c, chain, options)
            joined += self.of(c)
        self._have((*self.blueprint.chains, *chains))
        self.nodes = self._used()
        return joined

    def give_back(self, numbers: Collection[int], now: Seconds) -> None:
        """These chains shall leave."""
        self.leaving.update({number: Leave(now) for number in numbers})
        self.nodes = self._used()

    def keep(self, number: int) -> None:
        """A chain that was to leave stays."""
        del self.leaving[number]
        self.nodes = self._used()

    def leave(self, number: int) -> list[Worker]:
        """A chain has left the epoch; returns its workers."""
        left = tuple(chain for c, chain in self.chains.items() if c != number)
        gone = self.of(number)
        del self.frontier[number]
        self.leaving.pop(number, None)
        self.lame.pop(number, None)
        for worker in gone:
            self.ended[worker.spec.worker] = self.workers.pop(worker.spec.worker)
        self._have(left)
        self.nodes = self._used()
        return gone

    def _used(self) -> frozenset[NodeId]:
        return frozenset(worker.node for worker in self.workers.values() if worker.chain not in self.leaving)

    def _have(self, chains: tuple[Chain, ...]) -> None:
        """These are its chains now; of what they could do alone they do the same share as before."""
        alone = sum(chain.plan.score.throughput for chain in self.blueprint.chains)
        share = self.blueprint.throughput / alone if alone else 1.0
        self.blueprint = msgspec.structs.replace(
            self.blueprint,
            chains=chains,
            throughput=share * sum(chain.plan.score.throughput for chain in chains),
            latency=min(chain.plan.score.latency for chain in chains),
        )

    def adopt(self, worker: Worker) -> bool:
        """``worker`` runs, so its stage must have been wanted before this coordinator came. Whether that was news."""
        if self.phase is not EpochPhase.STARTING or worker.wanted:
            return False
        self.frontier[worker.chain] = worker.stage
        return True

    def advance(self) -> bool:
        """While STARTING: want the stage before, wherever all after it are ready. Whether one more is wanted."""
        moved = False
        for chain in self.frontier:
            while self.frontier[chain] > 0 and self._ready(chain):
                self.frontier[chain] -= 1
                moved = True
        return moved

    @property
    def ready(self) -> bool:
        """Whether all workers serve."""
        return all(worker.ready for worker in self.workers.values())

    @property
    def serves(self) -> bool:
        """Whether at least one chain has a worker that serves at each of its stages."""
        ready: set[tuple[int, int]] = {(w.chain, w.stage) for w in self.workers.values() if w.ready}
        return any(all((c, stage) in ready for stage in range(len(chain.parts))) for c, chain in self.staying.items())

    def _ready(self, chain: int) -> bool:
        frontier = self.frontier[chain]
        return all(w.ready for w in self.workers.values() if w.chain == chain and w.stage >= frontier)

    def _enlist(self, number: int, chain: Chain, options: CoordinatorOptions) -> None:
        """Make the workers of a chain."""
        replicas = [0] * len(chain.parts)
        for post in chain.posts:
            replica = replicas[post.stage]
            replicas[post.stage] += 1
            name = WorkerId(f"{self.model}.{self.number}.{number}.{post.stage}.{replica}")
            spec = self._spec(name, chain, post, options)
            self.workers[name] = Worker(self, spec, post.node, number, post.stage, post.spare)

    def _spec(self, name: WorkerId, chain: Chain, post: Post, options: CoordinatorOptions) -> WorkerSpec:
        part = chain.parts[post.stage]
        return WorkerSpec(
            worker=name,
            model=self.model,
            epoch=self.number,
            stage=part.stage,
            blob=part.blob,
            nbytes=part.nbytes,
            inputs=part.inputs,
            outputs=part.outputs,
            token=self.token,
            batching=Batching(limit=chain.batch if part.batchable else 1),
            credits=max(options.credits, 2 * chain.batch),
            max_frame=options.max_frame,
            memory=post.memory,
            seconds=post.seconds,
        )


def token_of(secret: str, model: str, epoch: int) -> str:
    """What opens the links of this epoch: nobody who does not know ``secret`` can guess it from another one."""
    return sha256(f"{secret}/{model}/{epoch}".encode()).hexdigest()
