"""What a worker process is told, and what it says of itself; one line of JSON each."""

import msgspec

from cutwater.drivers.compute import HANDOFF
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.stage.batching import Batching
from cutwater.engine.vocabulary import GiveBack, Go, Recall, Wait, Want
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
    listen: tuple[Address, ...]
    """"unix:/path", or "tcp:host:0" for a port the system chooses; all of them lead to the same worker."""
    deployment: str
    """The token that whoever opens a link must show."""
    engine: EngineOptions = EngineOptions()
    batching: Batching = Batching()
    credits: int = 16
    max_frame: int = 256 * 2**20
    """Largest frame accepted, in bytes."""
    tls: TlsFiles | None = None
    """On TCP, not on Unix sockets."""
    shared_memory: int = MEMORY
    """Bytes that may be shared with each neighbour on the same machine; 0: none."""
    cpus: tuple[int, ...] = ()
    """Cores this worker may use; empty: all."""
    handoff: Seconds = HANDOFF
    """Batches that usually take less are computed on the event loop."""
    turns: bool = False
    """Whether others share its cores, so that it computes only in turn, when whoever started it says so."""
    scratch: str | None = None
    """A folder to remove when it is empty, at the end."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker serves."""

    addresses: tuple[Address, ...]
    """Where, with the ports the system chose; in the order of `WorkerSetup.listen`."""
    pid: int
    load: Seconds
    """Seconds it took to load the stage and run it once."""
    memory: int
    """Bytes resident, idle, with the stage loaded."""


class Pulse(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """How a worker that serves is doing; said after `Ready`, whenever something has changed, each `PULSE` seconds."""

    served: int = 0
    """Requests computed since it started."""
    failed: int = 0
    queued: int = 0
    busy: float = 0.0
    """Share of the time since the last pulse spent computing, 0 to 1."""
    seconds: Seconds = 0.0
    """Median of computing one request, of late; 0: none was computed."""
    spent: Seconds = 0.0
    """Computing, since it started."""
    waited: Seconds = 0.0
    """See `cutwater.engine.facts.nodes.WorkerState.waited`."""
    memory: int = 0
    """Bytes resident."""
    refused: dict[str, int] = {}
    """Reason -> how many links were turned away for it since the start; see `cutwater.drivers.refusals`."""


Saying = Pulse | Want | GiveBack
"""What a worker that serves says."""
Hearing = Go | Recall | Wait
"""What it is told."""
PULSE: Seconds = 0.5
HUNG = 75
"""Exit code of a worker that gave itself up because a batch hung; the reason is its last word on stderr."""
