"""What a worker process is told when it starts, and what it says when it is ready; one line of JSON each."""

import msgspec

from cutwater.drivers.compute import HANDOFF
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.batching import Batching
from cutwater.frameworks.base import EngineOptions
from cutwater.graph.graph import Tensor
from cutwater.units import Seconds, StageId
from cutwater.wire.message import Address


class WorkerSetup(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a stage worker needs; it reads nothing else."""

    stage: StageId
    model: str
    """Path of the stage's ONNX file, read once."""
    inputs: tuple[Tensor, ...]
    """As they travel, in order."""
    outputs: tuple[Tensor, ...]
    listen: Address
    """"unix:/path", or "tcp:host:0" for a port the system chooses."""
    deployment: str
    """The token that whoever opens a link must show."""
    engine: EngineOptions = EngineOptions()
    batching: Batching = Batching()
    credits: int = 16
    max_frame: int = 256 * 2**20
    """Largest frame accepted, in bytes."""
    tls: TlsFiles | None = None
    shared_memory: int = MEMORY
    """Bytes that may be shared with each neighbour on the same machine; 0: none."""
    cpus: tuple[int, ...] = ()
    """Cores this worker may use; empty: all."""
    handoff: Seconds = HANDOFF
    """Batches that usually take less are computed on the event loop."""
    scratch: str | None = None
    """A folder to remove when it is empty, at the end."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker serves."""

    address: Address
    pid: int
    load: Seconds
    """Seconds it took to load the stage and run it once."""
    memory: int
    """Bytes resident, idle, with the stage loaded."""


class Unable(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot serve, and ends."""

    kind: str
    """Name of the class in `cutwater.errors`."""
    message: str
