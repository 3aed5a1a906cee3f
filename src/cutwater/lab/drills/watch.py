"""Watch: what a cluster says of itself during a drill, as it says it, and waiting until it says something."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from cutwater.drivers.live import clock
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally, Note
from cutwater.engine.facts.nodes import LEASE, NodeBeat, Phase, WorkerState
from cutwater.errors import FabricError
from cutwater.fabric.base import Closing, Fabric, Message
from cutwater.services.facts import COORDINATOR, GATEWAY_BEATS, LEASES, NODE_BEATS, NOTES, decode
from cutwater.services.lease import Holder
from cutwater.units import NodeId, Seconds, WorkerId

WATCH_RETRY: Seconds = 0.5
"""After how long a watch that the fabric has ended is begun anew."""


class Member(NamedTuple):
    """A worker and its node."""

    node: NodeId
    state: WorkerState

    @property
    def epoch(self) -> int:
        """Of its deployment."""
        return epoch_of(self.state.worker)


class Watch:
    """A context; times are those of this machine's clock."""

    def __init__(self, fabric: Fabric, model: str) -> None:
        self.nodes: dict[NodeId, NodeBeat] = {}
        self.gateway: GatewayBeat | None = None
        self.heard: dict[str, Seconds] = {}
        """Node or gateway -> when it beat last."""
        self.leader: Holder | None = None
        self.notes: list[tuple[Seconds, Note]] = []
        self.switches: list[Seconds] = []
        """When the gateway was first heard to use another epoch."""
        self._fabric, self._model = fabric, model
        self._waiting: list[tuple[Callable[[], str], asyncio.Future[tuple[Seconds, str]]]] = []
        self._closing: list[Closing] = []
        self._leases: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Listen. Raises FabricLost."""
        for pattern, told in ((NODE_BEATS, self._node), (GATEWAY_BEATS, self._gateway), (NOTES, self._note)):
            self._closing.append(await self._fabric.subscribe(pattern, told))
        self._leases = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        assert self._leases is not None
        self._leases.cancel()
        for each in self._closing:
            await each.close()

    async def until(self, said: Callable[[], str], limit: Seconds) -> tuple[Seconds, str] | None:
        """When ``said()`` first was not empty, and what it was; None if that took longer than ``limit``."""
        if words := said():
            return clock(), words
        future: asyncio.Future[tuple[Seconds, str]] = asyncio.get_running_loop().create_future()
        self._waiting.append((said, future))
        try:
            async with asyncio.timeout(limit):
                return await future
        except TimeoutError:
            return None
        finally:
            self._waiting.remove((said, future))

    # What is known

    @property
    def tally(self) -> ModelTally | None:
        """The model, as its gateway said last."""
        models = self.gateway.models if self.gateway is not None else ()
        return next((each for each in models if each.model == self._model), None)

    @property
    def epoch(self) -> int:
        """The one the gateway uses; 0: none."""
        return self.tally.epoch if self.tally is not None else 0

    def members(self, *phases: Phase) -> list[Member]:
        """The model's workers in these phases (all, if none is given), by name."""
        found = [
            Member(node, state)
            for node, beat in self.nodes.items()
            for state in beat.workers
            if model_of(state.worker) == self._model and (not phases or state.phase in phases)
        ]
        return sorted(found, key=lambda member: member.state.worker)

    def serving(self) -> list[Member]:
        """The workers of the epoch in use that are ready, and that the gateway does not suspect."""
        suspects = self.gateway.suspects if self.gateway is not None else ()
        return [
            member
            for member in self.members(Phase.READY)
            if member.epoch == self.epoch and not set(member.state.addresses) & set(suspects)
        ]

    # What comes

    async def _node(self, message: Message) -> None:
        beat = decode(message.data, NodeBeat)
        self.nodes[beat.node] = beat
        self._tell(beat.node)

    async def _gateway(self, message: Message) -> None:
        before = self.epoch
        self.gateway = decode(message.data, GatewayBeat)
        if before and self.epoch and self.epoch != before:
            self.switches.append(clock())
        self._tell(self.gateway.gateway)

    async def _note(self, message: Message) -> None:
        self.notes.append((clock(), decode(message.data, Note)))
        self._tell("")

    async def _follow(self) -> None:
        while True:
            try:
                leases = await self._fabric.keys(LEASES, LEASE)
                async with leases.watch(COORDINATOR) as entries:
                    async for entry in entries:
                        self.leader = decode(entry.value, Holder) if entry.value is not None else None
                        self._tell("")
            except FabricError:
                await asyncio.sleep(WATCH_RETRY)

    def _tell(self, who: str) -> None:
        self.heard[who] = clock()
        for said, future in self._waiting:
            if not future.done() and (words := said()):
                future.set_result((clock(), words))


def model_of(worker: WorkerId) -> str:
    """``"cats.2.0.1.0"`` -> ``"cats"``; see `WorkerSpec.worker`."""
    return worker.rsplit(".", 4)[0]


def epoch_of(worker: WorkerId) -> int:
    """``"cats.2.0.1.0"`` -> 2."""
    return int(worker.rsplit(".", 4)[1])
