"""WholeWorker: the uncut model beside the gateway, which answers when nobody else is left."""

import logging
from contextlib import ExitStack

from cutwater.drivers.shared import MEMORY
from cutwater.engine.facts.deployments import WholeModel
from cutwater.engine.vocabulary import Route
from cutwater.frameworks.base import EngineOptions
from cutwater.services.cache import BlobCache
from cutwater.services.workers.doors import Doors, Entry, Exit
from cutwater.services.workers.process import WorkerProcess
from cutwater.services.workers.setup import WorkerSetup
from cutwater.units import NodeId
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.message import Address, Hop

EPOCH = 0
"""The epoch of its route: it belongs to none, and those of a deployment are counted from 1."""

_log = logging.getLogger(__name__)


class WholeWorker:
    """One model's; its process runs only while the gateway's machine wants it to."""

    def __init__(self, whole: WholeModel, cache: BlobCache, address: Address, token: str, node: NodeId) -> None:
        """Nothing is fetched and nothing runs yet.

        Args:
            whole: the model.
            cache: where its file is kept.
            address: where the worker shall listen, a Unix socket.
            token: what it shall want to see.
            node: what its machine is called in errors.
        """
        self.whole = whole
        self.route = Route(
            hops=(Hop(address, get_codec(whole.entry.codec).packing.name),),
            reply_packing=get_codec(whole.exit.codec).packing.name,
            epoch=EPOCH,
            degraded=True,
        )
        self.token = token
        self.doors = Doors(Entry(whole.entry), Exit(whole.exit))
        self._cache = cache
        self._keeping = ExitStack()
        self._address = address
        self._node = node
        self.process: WorkerProcess | None = None
        """While it stands in."""

    async def fetch(self) -> None:
        """Have the model's file here, to stay until `retire`. Raises BadBlob, BadFile, FabricLost."""
        self._keeping.close()
        self._keeping.enter_context(self._cache.hold(self.whole.part.blob))
        await self._cache.fetch(self.whole.part.blob)

    async def stand_in(self, on: bool) -> None:
        """Run it and return when it serves (``on``), or end it. Raises CutwaterError where it cannot run."""
        await self.stop()
        if not on:
            _log.info("the whole model %s is not needed any more", self.whole.part.blob[:12])
            return
        part = self.whole.part
        _log.warning("no way is left: answering with the whole model %s", part.blob[:12])
        setup = WorkerSetup(
            stage=part.stage,
            model=str(self._cache.path(part.blob)),
            inputs=part.inputs,
            outputs=part.outputs,
            listen=(self._address,),
            deployment=self.token,
            engine=EngineOptions(),
            shared_memory=MEMORY,
        )
        self.process = WorkerProcess(setup, self._node)
        await self.process.start()

    async def stop(self) -> None:
        """End it; harmless if it does not run."""
        process, self.process = self.process, None
        if process is not None:
            await process.stop()

    async def retire(self) -> None:
        """End it for good; its file may make room for others."""
        self._keeping.close()
        await self.stop()
