"""WholeWorker: the uncut model beside the gateway, which answers when nobody else is left."""

import logging
from pathlib import Path

from cutwater.drivers.shared import MEMORY
from cutwater.engine.cluster import WholeModel
from cutwater.engine.vocabulary import Route
from cutwater.fabric.base import Blobs
from cutwater.frameworks.base import EngineOptions
from cutwater.services.doors import Doors, Entry, Exit
from cutwater.services.process import WorkerProcess
from cutwater.services.setup import WorkerSetup
from cutwater.units import NodeId
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.message import Address, Hop

EPOCH = 0
"""The epoch of its route: it belongs to none, and those of a deployment are counted from 1."""

_log = logging.getLogger(__name__)


class WholeWorker:
    """One model's; its process runs only while the gateway's machine wants it to."""

    def __init__(self, whole: WholeModel, folder: Path, address: Address, token: str, node: NodeId) -> None:
        """Nothing is fetched and nothing runs yet.

        Args:
            whole: the model.
            folder: where its file is kept.
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
        self._file = folder / whole.part.blob
        self._address = address
        self._node = node
        self.process: WorkerProcess | None = None
        """While it stands in."""

    async def fetch(self, blobs: Blobs) -> None:
        """Have the model's file here. Raises BadBlob, FabricLost."""
        if not self._file.exists():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            await blobs.fetch(self.whole.part.blob, self._file)

    async def stand_in(self, on: bool) -> None:
        """Run it and return when it serves (``on``), or end it. Raises CutwaterError where it cannot run."""
        await self.stop()
        if not on:
            _log.info("the whole model of %s is not needed any more", self._file.name[:12])
            return
        _log.warning("no way is left: answering with the whole model %s", self._file.name[:12])
        part = self.whole.part
        setup = WorkerSetup(
            stage=part.stage,
            model=str(self._file),
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

    def remove(self) -> None:
        """Remove the model's file."""
        self._file.unlink(missing_ok=True)
