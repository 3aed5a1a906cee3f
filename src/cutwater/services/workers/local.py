"""LocalPipeline: stages as worker processes on this machine, and the gateway that streams requests through them."""

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from copy import copy
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from cutwater.cut.stage import Stage
from cutwater.drivers.compute import HANDOFF
from cutwater.drivers.gateway import LiveGateway
from cutwater.drivers.live import clock
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.stage.batching import Batching
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import Route
from cutwater.errors import CutwaterError, InputError, StageFailed
from cutwater.frameworks.base import EngineOptions
from cutwater.services.workers.doors import Doors, Entry, Exit
from cutwater.services.workers.outcome import Feeds, Outcome, in_order
from cutwater.services.workers.process import WorkerProcess
from cutwater.services.workers.setup import WorkerSetup
from cutwater.services.workers.tally import PipelineSnapshot, StageTally
from cutwater.units import NodeId, Seconds, StageId
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.message import PROTOCOL, Address, Hello, Hop

LOCAL = NodeId("local")


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a LocalPipeline runs."""

    engine: EngineOptions = EngineOptions()
    batching: Batching = Batching()
    """Used by the stages that can be batched; the others compute one request at a time."""
    admission: Admission = Admission()
    credits: int = 16
    """How many requests each link may have waiting at its end."""
    timeout: Seconds = 60.0
    """A request's time, where the caller does not say."""
    start_timeout: Seconds = 120.0
    """Time for all workers to load and for the first request to pass."""
    max_frame: int = 256 * 2**20
    """Largest frame, in bytes."""
    tcp: bool = False
    """Loopback TCP instead of Unix sockets."""
    tls: TlsFiles | None = None
    """Mutual TLS on TCP links."""
    shared_memory: int = MEMORY
    """Bytes of shared memory each end of a Unix socket may lay payloads in, instead of writing them to it; 0: none."""
    cpus: tuple[tuple[int, ...], ...] = ()
    """The cores of each worker, in order of stage and replica; empty: any."""
    handoff: Seconds = HANDOFF
    """Batches that usually take less are computed on the worker's event loop, without its computing thread."""
    trace_limit: int | None = 100_000
    """How many of the newest steps the trace keeps; None: all."""


class LocalPipeline:
    """An asynchronous context: inside it the workers run, after it nothing of them is left.

    ``async with LocalPipeline(stages, codecs) as pipeline: outcome = await pipeline.infer({"input": array})``
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        codecs: Sequence[str] | None = None,
        *,
        replicas: Sequence[int] | None = None,
        options: LocalOptions = LocalOptions(),  # noqa: B008
    ) -> None:
        """Nothing starts yet.

        Args:
            stages: in order; each leaves in the form in which the next enters.
            codecs: one name per hop, ``len(stages) + 1`` of them, the last for the answer; default all "raw".
                Their forms must be those of the stages.
            replicas: how many workers each stage has; default one each.

        Raises:
            InputError: the numbers of stages, codecs and replicas, or the forms, do not fit each other.
            CodecError: an unknown codec.
        """
        self.stages = tuple(stages)
        self.codecs = tuple(codecs) if codecs is not None else ("raw",) * (len(stages) + 1)
        self.replicas = tuple(replicas) if replicas is not None else (1,) * len(stages)
        self.options = options
        self.trace = Trace(options.trace_limit)
        """What the gateway was told and asked for."""
        _check_fit(self.stages, self.codecs, self.replicas)
        self.workers: list[WorkerProcess] = []
        """In order of stage and replica."""
        self._doors = Doors(Entry.of(self.stages[0], self.codecs[0]), Exit.of(self.stages[-1], self.codecs[-1]))
        self._tallies = {stage_id(k): StageTally(stage=stage_id(k)) for k in range(len(self.stages))}
        self._gateway: LiveGateway | None = None
        self._scratch: Path | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._began = 0.0

    async def __aenter__(self) -> Self:
        """Start the workers, wait until they serve, connect, and see one request through.

        Raises:
            CutwaterError: what a worker is unable to do; WorkerLost if one ends; LinkLost if one cannot be reached.
        """
        try:
            async with asyncio.timeout(self.options.start_timeout):
                await self._start()
        except TimeoutError as error:
            await self._end()
            limit = f"{self.options.start_timeout:g} s"
            raise StageFailed(f"the workers were not ready within {limit}; raise start_timeout") from error
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers and remove every file."""
        await self._end()

    async def infer(self, feeds: Feeds, timeout: Seconds | None = None) -> Outcome:  # noqa: ASYNC109
        """The model's outputs for one request.

        Args:
            feeds: input name -> array, as the whole model takes it.
            timeout: seconds until the caller no longer wants the answer.

        Raises:
            BadTensor: the feeds do not fit the model.
            DeadlineExceeded, WorkerLost, LinkLost, StageFailed, Refused: what the request's answer is instead.
        """
        assert self._gateway is not None, "use `async with`"
        began = clock()
        reply = await self._gateway.ask(feeds, self.options.timeout if timeout is None else timeout)
        for mark in reply.trail:
            self._tallies[mark.stage].add(mark)
        return Outcome(reply.outputs, clock() - began, reply.trail)

    def stream(
        self,
        feeds: Iterable[Feeds | CutwaterError] | AsyncIterable[Feeds | CutwaterError],
        *,
        in_flight: int | None = None,
        timeout: Seconds | None = None,
    ) -> AsyncIterator[Outcome | CutwaterError]:
        """The outcomes of many requests, in their order; an error is one request's outcome, and the others go on.

        An error among the feeds (an input that could not be read) is its own outcome.
        At most ``in_flight`` requests are open or waiting to be taken by the caller (default: two per worker and two).
        """
        limit = in_flight or 2 * len(self.workers) + 2
        return in_order(lambda feed: self.infer(feed, timeout), feeds, limit)

    def snapshot(self) -> PipelineSnapshot:
        """What is going on right now, and what each stage has done so far."""
        assert self._gateway is not None, "use `async with`"
        tallies = tuple(copy(tally) for tally in self._tallies.values())
        return PipelineSnapshot(elapsed=clock() - self._began, gateway=self._gateway.snapshot(), stages=tallies)

    # Starting and ending

    async def _start(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="cutwater-"))
        deployment = secrets.token_hex(16)
        files = [self._scratch / f"{stage_id(k)}.onnx" for k in range(len(self.stages))]
        for file, stage in zip(files, self.stages, strict=True):
            file.write_bytes(stage.onnx)
        for k, count in enumerate(self.replicas):
            for replica in range(count):
                self.workers.append(WorkerProcess(self._setup(k, replica, files[k], deployment), LOCAL))
        await asyncio.gather(*(worker.start() for worker in self.workers))
        for file in files:
            file.unlink()
        addresses = self._addresses()
        machine = Gateway(GatewayOptions(admission=self.options.admission))
        hello = Hello(PROTOCOL, deployment, "gateway", 0, self.options.max_frame)
        tls, memory = self.options.tls, self.options.shared_memory
        self._gateway = LiveGateway(machine, hello, tls=tls, trace=self.trace, memory=memory)
        self._watches = [asyncio.create_task(self._watch(worker)) for worker in self.workers]
        self._gateway.reroute(self._routes(addresses), {(0, 0): self._doors})
        # A stage whose values steer it may not take zeros; that it answers is what counts here.
        with contextlib.suppress(StageFailed, InputError):
            await self.infer(self._doors.zeros(), self.options.start_timeout)
        for name in self._tallies:
            self._tallies[name] = StageTally(stage=name)
        self._began = clock()

    def _setup(self, k: int, replica: int, file: Path, deployment: str) -> WorkerSetup:
        options, stage = self.options, self.stages[k]
        index = len(self.workers)
        return WorkerSetup(
            stage=stage_id(k),
            model=str(file),
            inputs=stage.inputs,
            outputs=stage.outputs,
            listen=("tcp:127.0.0.1:0" if options.tcp else f"unix:{self._scratch}/{k}.{replica}.sock",),
            deployment=deployment,
            engine=options.engine,
            batching=options.batching if stage.batchable else Batching(),
            credits=options.credits,
            max_frame=options.max_frame,
            tls=options.tls,
            shared_memory=options.shared_memory,
            cpus=options.cpus[index] if options.cpus else (),
            handoff=options.handoff,
            scratch=str(self._scratch),
        )

    def _addresses(self) -> list[list[Address]]:
        """Where the replicas of each stage listen."""
        ready = iter(self.workers)
        found: list[list[Address]] = []
        for count in self.replicas:
            stage = [next(ready).ready for _ in range(count)]
            found.append([words.addresses[0] for words in stage if words is not None])
        return found

    def _routes(self, addresses: Sequence[Sequence[Address]]) -> list[Route]:
        """Every way through the replicas."""
        packings = [get_codec(name).packing.name for name in self.codecs]
        return [
            Route(tuple(map(Hop, way, packings)), packings[-1])  # map ends with the way, before the answer's packing
            for way in product(*addresses)
        ]

    async def _watch(self, worker: WorkerProcess) -> None:
        fault = await worker.ended()
        assert self._gateway is not None and worker.ready is not None
        self._gateway.worker_gone(worker.ready.addresses[0], fault)

    async def _end(self) -> None:
        for watch in self._watches:
            watch.cancel()
        if self._gateway is not None:
            self._gateway.close()
        try:
            await asyncio.gather(*(worker.stop() for worker in self.workers))
        finally:
            for worker in self.workers:
                worker.kill()
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)


def stage_id(k: int) -> StageId:
    """The id of the ``k``-th stage of a pipeline, counted from 0: "stage-1" is the first."""
    return StageId(f"stage-{k + 1}")


def _check_fit(stages: Sequence[Stage], codecs: Sequence[str], replicas: Sequence[int]) -> None:
    if not stages:
        raise InputError("a pipeline needs at least one stage")
    if len(codecs) != len(stages) + 1:
        raise InputError(f"{len(stages)} stages have {len(stages) + 1} hops, the answer's included; not {len(codecs)}")
    if len(replicas) != len(stages) or min(replicas) < 1:
        raise InputError(f"replicas must be one number from 1 up for each of {len(stages)} stages, not {[*replicas]}")
    forms = [stages[0].enter, *(stage.leave for stage in stages)]
    for k, (name, form) in enumerate(zip(codecs, forms, strict=True)):
        if get_codec(name).form is not form:
            raise InputError(f"hop {k} has the codec {name!r}, but its stages were cut for the form {form.value!r}")
