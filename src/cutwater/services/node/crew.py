"""Crew: the worker processes of one node: obeys its keeper and gives turns, and knows how each worker is doing."""

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec

from cutwater.drivers.live import Live
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.control import End, Ended, Fetch, Fetched, KeeperEvent, Start, Started
from cutwater.engine.facts.nodes import WorkerSpec, WorkerState
from cutwater.engine.fault import Fault
from cutwater.engine.turns import Left, Said, Say, Turns, TurnsOptions
from cutwater.errors import BadBlob, CutwaterError, WorkerLost
from cutwater.frameworks.base import EngineOptions
from cutwater.services.cache import BlobCache
from cutwater.services.errands import Errands
from cutwater.services.node.reserve import Reserve
from cutwater.services.workers.process import WorkerProcess
from cutwater.services.workers.setup import WorkerSetup
from cutwater.units import NodeId, Seconds, WorkerId

_log = logging.getLogger(__name__)


class _Charge:
    """One process, from before its start until after its end."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.settled = asyncio.Event()
        """It serves, or it never will."""
        self.late = False
        """Its time to finish is over; should its process only begin now, it ends at once."""


class Crew:
    """Tells the keeper what becomes of what it asked for."""

    def __init__(
        self,
        node: NodeId,
        cache: BlobCache,
        sockets: Path,
        tell: Callable[[KeeperEvent], None],
        *,
        listen: str = "",
        tls: TlsFiles | None = None,
        threads: int = 1,
        places: int = 1,
        reserve: int = 0,
    ) -> None:
        """``listen``: the address workers also listen at with TCP; ``sockets``: a folder with a short path;
        ``places``: how many batches are computed at once; ``reserve``: idle processes that are kept while there are
        workers."""
        self._node = node
        self._cache = cache
        self._sockets = sockets
        self._tell = tell
        self._listen = listen
        self._tls = tls
        self._threads = threads
        turns = Turns(node, TurnsOptions(places=places))
        # If it should break, workers that are not answered go on without.
        self._turns = Live(turns, {Say: self._say}, f"turns of {node}", on_broken=lambda error: None)
        self._reserve = Reserve(reserve)
        # Short, because the path of a socket is; the node's own, so that what a killed agent left can be cleared away.
        self.mark = hashlib.sha256(node.encode()).hexdigest()[:8]
        """What the names of this node's sockets begin with."""
        self._numbers = count(1)
        self._charges: dict[WorkerId, _Charge] = {}
        self.refused: Counter[str] = Counter()
        """Reason -> how often, since the start."""
        self._errands = Errands(f"the crew of {node}")
        for stale in sockets.glob(f"{self.mark}.*"):
            stale.unlink(missing_ok=True)

    # Hands of the keeper

    def fetch(self, command: Fetch) -> None:
        """See `Fetch`."""
        self._errands.begin(self._fetch(command.blob))

    def start(self, command: Start) -> None:
        """See `Start`."""
        spec = command.spec
        charge = _Charge(WorkerProcess(self._setup(spec), self._node))
        self._charges[spec.worker] = charge
        self._errands.begin(self._run(spec, charge))

    def end(self, command: End) -> None:
        """See `End`."""
        charge = self._charges.get(command.worker)
        if charge is not None:
            self._errands.begin(self._finish(charge, command.grace))

    # How they are

    def figures(self, state: WorkerState) -> WorkerState:
        """A worker's state as the keeper knows it, with what the worker itself said last."""
        charge = self._charges.get(state.worker)
        if charge is None or charge.process.ready is None:
            return state
        pulse = charge.process.pulse
        return msgspec.structs.replace(
            state,
            memory=pulse.memory or state.memory,
            served=pulse.served,
            failed=pulse.failed,
            refused=pulse.refused,
            queued=pulse.queued,
            busy=pulse.busy,
            seconds=pulse.seconds,
            spent=pulse.spent,
            waited=pulse.waited,
        )

    async def close(self) -> None:
        """End all at once."""
        await self._errands.end()
        self._turns.close()
        for charge in self._charges.values():
            charge.process.kill()
        await self._reserve.close()
        await asyncio.gather(*(charge.process.stop() for charge in self._charges.values()))

    # At work

    async def _fetch(self, blob: str) -> None:
        try:
            await self._cache.fetch(blob)
        except CutwaterError as error:
            _log.warning("cannot fetch %s: %s", blob, error)
            if isinstance(error, BadBlob):
                self.refused["blob"] += 1
            self._tell(Fetched(blob, Fault.of(error, self._node)))
        else:
            self._tell(Fetched(blob))

    async def _run(self, spec: WorkerSpec, charge: _Charge) -> None:
        process = charge.process
        process.on_word = lambda word: self._turns.tell(Said(spec.worker, word))
        try:
            with self._cache.hold(spec.blob):
                await self._cache.fetch(spec.blob)
                if charge.late:
                    raise WorkerLost(f"{spec.worker} was given up while its file was fetched")
                ready = await process.start(self._reserve.take())
            if charge.late:
                process.kill()
            _log.info("%s serves, pid %d, after %.2f s", spec.worker, ready.pid, ready.load)
            charge.settled.set()
            self._tell(Started(worker=spec.worker, addresses=ready.addresses, pid=ready.pid, memory=ready.memory))
            if all(each.settled.is_set() for each in self._charges.values()):
                self._errands.begin(self._reserve.fill())
            fault = await process.ended()
        except CutwaterError as error:
            fault = Fault.of(error, self._node)
        charge.settled.set()
        self._turns.tell(Left(spec.worker))
        await process.stop()
        _log.info("%s has ended: %s", spec.worker, fault.message)
        if self._charges.get(spec.worker) is charge:
            del self._charges[spec.worker]
        self._tell(Ended(spec.worker, fault))

    async def _finish(self, charge: _Charge, grace: Seconds) -> None:
        """`_run` sees the end, and tells of it."""
        try:
            async with asyncio.timeout(grace):
                await charge.settled.wait()
                if charge.process.ready is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(charge.process.pid, signal.SIGTERM)
                    await charge.process.ended()
        except TimeoutError:
            charge.late = True
            charge.process.kill()

    def _say(self, command: Say) -> None:
        charge = self._charges.get(command.worker)
        if charge is not None:
            charge.process.tell(command.word)

    def _setup(self, spec: WorkerSpec) -> WorkerSetup:
        path = self._sockets / f"{self.mark}.{os.getpid()}.{next(self._numbers)}"
        listen = (f"unix:{path}", *([f"tcp:{self._listen}:0"] if self._listen else []))
        return WorkerSetup(
            stage=spec.stage,
            model=str(self._cache.path(spec.blob)),
            inputs=spec.inputs,
            outputs=spec.outputs,
            listen=listen,
            deployment=spec.token,
            engine=EngineOptions(threads=max(spec.threads, self._threads)),
            batching=spec.batching,
            credits=spec.credits,
            max_frame=spec.max_frame,
            tls=self._tls,
            turns=True,
        )
