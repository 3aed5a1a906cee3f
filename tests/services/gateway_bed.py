"""A gateway on a real fabric with real workers; the coordinator's part, the route tables, is played by the test."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count, product
from pathlib import Path

import msgspec
import numpy as np

from cutwater.cut.lattice import Lattice, chain_cuts
from cutwater.cut.split import split
from cutwater.cut.stage import Stage
from cutwater.drivers.loop import run
from cutwater.engine.facts.deployments import Door, StagePart, WholeModel
from cutwater.engine.facts.gateways import EpochTable, GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.nodes import LEASE
from cutwater.engine.stage.batching import Batching
from cutwater.engine.vocabulary import Route
from cutwater.fabric.base import Entry, KeyValue, Message
from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.frameworks.base import Array
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.services.background import python
from cutwater.services.facts import LEASES, STATE, decode, encode, gateway_beat, gateway_lease, routes_key
from cutwater.services.gateway.client import NativeClient
from cutwater.services.gateway.gateway import GatewayProcess
from cutwater.services.home import Home
from cutwater.services.words import Serving, Unable
from cutwater.services.workers.process import WorkerProcess
from cutwater.services.workers.setup import WorkerSetup
from cutwater.settings.handover import write_handover
from cutwater.settings.settings import FabricSettings, GatewaySettings, Settings
from cutwater.units import GatewayId, NodeId, StageId
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.message import Address, Hop

GATEWAY = GatewayId("gateway-1")
MODEL = "vit"


class Deployed:
    """One epoch's workers, ``replicas[k]`` of the ``k``-th stage, and its table."""

    def __init__(self, epoch: int, stages: Sequence[Stage], codecs: Sequence[str]) -> None:
        self.epoch = epoch
        self.token = secrets.token_hex(8)
        self.stages = stages
        self.codecs = codecs
        self.batch = 1
        self.workers: list[list[WorkerProcess]] = []
        self.spares: set[Address] = set()

    def table(self) -> EpochTable:
        packings = [get_codec(name).packing.name for name in self.codecs]
        routes = []
        for way in product(*self.workers):
            addresses = [worker.ready.addresses[0] for worker in way if worker.ready is not None]
            hops = tuple(map(Hop, addresses, packings))
            spare = any(address in self.spares for address in addresses)
            routes.append(Route(hops, packings[-1], epoch=self.epoch, spare=spare, batch=self.batch))
        entry = Door(border=self.stages[0].begin.border, travelling=self.stages[0].inputs, codec=self.codecs[0])
        exit_ = Door(border=self.stages[-1].end.border, travelling=self.stages[-1].outputs, codec=self.codecs[-1])
        return EpochTable(epoch=self.epoch, token=self.token, routes=tuple(routes), doors=((entry, exit_),))


class Bed:
    """What a test needs of a cluster."""

    def __init__(self, folder: Path, lattice: Lattice, fabric: NatsFabric, state: KeyValue, url: str) -> None:
        self.folder = folder
        self.lattice = lattice
        self.fabric = fabric
        self.settings = Settings(
            home=folder,
            fabric=FabricSettings(url=url),
            gateway=GatewaySettings(name=GATEWAY, node="node-1", patience=0.1, linger=0.2, max_request=2**20),
        )
        self.home = Home(folder)
        self.beats: list[GatewayBeat] = []
        self.gateway: GatewayProcess | None = None
        self._state = state
        self._heard = asyncio.Condition()
        self._numbers = count(1)
        self._terms = count(1)
        self._workers: list[WorkerProcess] = []
        self._uncut = OnnxRuntime().load(whole_stage(lattice).onnx)

    # The cluster

    async def deploy(
        self,
        epoch: int,
        cuts: Sequence[float],
        codecs: Sequence[str],
        replicas: Sequence[int],
        spares: int = 0,
        batch: int = 1,
    ) -> Deployed:
        """Workers of an epoch cut at some shares of the chain of cuts; ``spares`` more of the last stage."""
        chain = chain_cuts(self.lattice)
        chosen = [chain[0], *(chain[round(share * (len(chain) - 1))] for share in cuts), chain[-1]]
        stages = split(self.lattice.graph, chosen, [get_codec(name).form for name in codecs])
        made = Deployed(epoch, stages, codecs)
        made.batch = batch
        for stage, many in zip(stages, replicas, strict=True):
            last = stage is stages[-1]
            made.workers.append([self.worker(stage, made.token, batch) for _ in range(many + (spares if last else 0))])
        await asyncio.gather(*(worker.start() for stage in made.workers for worker in stage))
        for worker in made.workers[-1][replicas[-1] :]:
            assert worker.ready is not None
            made.spares.add(worker.ready.addresses[0])
        return made

    def worker(self, stage: Stage, token: str, batch: int = 1) -> WorkerProcess:
        number = next(self._numbers)
        file = self.folder / f"{number}.onnx"
        file.write_bytes(stage.onnx)
        setup = WorkerSetup(
            stage=StageId(f"worker-{number}"),
            model=str(file),
            inputs=stage.inputs,
            outputs=stage.outputs,
            listen=(f"unix:{self.home.sockets}/w{number}",),
            deployment=token,
            batching=Batching(limit=batch),
        )
        worker = WorkerProcess(setup, NodeId("node-1"))
        self._workers.append(worker)
        return worker

    async def whole(self) -> WholeModel:
        stage = whole_stage(self.lattice)
        ref = await self.fabric.blobs.put(stage.onnx)
        part = StagePart(
            stage=StageId("whole"),
            blob=ref.hash,
            nbytes=ref.nbytes,
            inputs=stage.inputs,
            outputs=stage.outputs,
            batchable=False,
        )
        entry = Door(border=stage.begin.border, travelling=stage.inputs, codec="raw")
        exit_ = Door(border=stage.end.border, travelling=stage.outputs, codec="raw")
        return WholeModel(part=part, entry=entry, exit=exit_, memory=2**20)

    async def direct(self, table: RouteTable) -> None:
        """Write a table as the coordinator that leads."""
        await self.write(msgspec.structs.replace(table, term=next(self._terms)))

    async def write(self, table: RouteTable) -> None:
        await self._state.put(routes_key(GATEWAY, table.model), encode(table))

    async def go_live(self, deployed: Deployed, whole: WholeModel | None = None) -> None:
        """Direct the gateway there, and wait until it says so."""
        await self.direct(RouteTable(model=MODEL, term=0, live=deployed.table(), whole=whole))
        await self.until(lambda tally: tally.epoch == deployed.epoch)

    async def start_gateway(self) -> asyncio.subprocess.Process:
        """A gateway in a process of its own, serving."""
        handover = self.home.handover(GATEWAY)
        write_handover(handover, self.settings)
        process = await asyncio.create_subprocess_exec(
            *python("cutwater.services.gateway.gateway", str(handover)), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = msgspec.json.decode(await process.stdout.readline(), type=Serving | Unable)
        assert isinstance(said, Serving), said
        return process

    async def lease(self, gateway: GatewayId) -> Entry | None:
        leases = await self.fabric.keys(LEASES, ttl=LEASE)
        return await leases.get(gateway_lease(gateway))

    # What the gateway says

    async def hear(self, message: Message) -> None:
        async with self._heard:
            self.beats.append(decode(message.data, GatewayBeat))
            self._heard.notify_all()

    async def until_beat(self, is_it: Callable[[GatewayBeat], bool]) -> GatewayBeat:
        async with self._heard:
            await self._heard.wait_for(lambda: bool(self.beats) and is_it(self.beats[-1]))
            return self.beats[-1]

    async def until(self, is_it: Callable[[ModelTally], bool]) -> ModelTally:
        def of_model(beat: GatewayBeat) -> bool:
            return any(tally.model == MODEL and is_it(tally) for tally in beat.models)

        beat = await self.until_beat(of_model)
        return next(tally for tally in beat.models if tally.model == MODEL)

    # The client

    def client(self, model: str = MODEL) -> NativeClient:
        return NativeClient(f"unix:{self.home.sockets / GATEWAY}", model)

    def feeds(self, number: int) -> dict[str, Array]:
        graph = self.lattice.graph
        rng = np.random.default_rng(number)
        return {name: rng.standard_normal(graph.tensors[name].shape).astype(np.float32) for name in graph.inputs}

    def uncut(self, number: int) -> Array:
        """What the uncut model says."""
        return self._uncut.run(self.feeds(number))[0]

    async def end(self) -> None:
        self._uncut.close()
        await asyncio.gather(*(worker.stop() for worker in self._workers))


def whole_stage(lattice: Lattice) -> Stage:
    return split(lattice.graph, [lattice.cuts[0], lattice.cuts[-1]])[0]


@asynccontextmanager
async def bed(folder: Path, lattice: Lattice, url: str) -> AsyncIterator[Bed]:
    """A fabric without facts, heard; no gateway yet."""
    async with NatsFabric(NatsOptions(servers=(url,))) as fabric:
        state = await fabric.keys(STATE)
        for key in await state.entries():
            await state.delete(key)
        made = Bed(folder, lattice, fabric, state, url)
        made.home.make()
        listening = await fabric.subscribe(gateway_beat(GATEWAY), made.hear)
        try:
            yield made
        finally:
            await listening.close()
            await made.end()
            made.home.remove_sockets()


@asynccontextmanager
async def with_gateway(folder: Path, lattice: Lattice, url: str) -> AsyncIterator[Bed]:
    """The same with a gateway in this process, which drains at the end."""
    async with bed(folder, lattice, url) as made, NatsFabric(NatsOptions(servers=(url,))) as fabric:
        made.gateway = GatewayProcess(made.settings, fabric)
        stop, serving = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(made.gateway.serve(lambda facts: serving.set(), stop))
        waiting = asyncio.create_task(serving.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield made
        finally:
            waiting.cancel()
            stop.set()
            await task


def in_loop(story: Callable[[], Awaitable[None]], limit: float = 60.0) -> None:
    async def limited() -> None:
        async with asyncio.timeout(limit):
            await story()

    run(limited())
