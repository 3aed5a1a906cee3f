"""What nodes say of themselves, and what they are told."""

from enum import StrEnum
from typing import Annotated

import msgspec

from cutwater.engine.fault import Fault
from cutwater.engine.stage.batching import Batching
from cutwater.graph.graph import Tensor
from cutwater.units import NodeId, Seconds, StageId, WorkerId
from cutwater.wire.message import Address

BEAT: Seconds = 0.5
"""How often a node and a gateway say that they live."""
LULL: Seconds = 1.0
"""How often a node says it while nothing else of it changes; all such nodes at about the same moment."""
LEASE: Seconds = 3.0
"""Who is silent for so long counts as gone."""
# What nodes say of themselves is divided by: the decoder refuses what would break whoever computes with it.
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0, lt=1e18)]


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine is."""

    machine: str
    """Processor, as the system calls it."""
    cores: AtLeastOne
    memory: int
    """Bytes its workers may use together."""
    speed: Positive
    """Measured speed index: runs per second of the reference network (`cutwater.frameworks.speed`), one thread, over a
    hundred."""
    accelerators: tuple[str, ...] = ()


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself when it joins, and again after every outage."""

    node: NodeId
    incarnation: str
    """Another one each time the agent starts; the node stays the same node."""
    host: str
    """Nodes with the same host share its cores and reach each other by Unix sockets."""
    hardware: Hardware
    address: Address
    """Where its peers measure the link to it."""
    version: str


class Phase(StrEnum):
    """Where a worker is in its life."""

    FETCHING = "fetching"
    """Its stage file is on its way."""
    LOADING = "loading"
    READY = "ready"
    BACKING_OFF = "backing-off"
    """It ended by itself and will be started again."""
    DRAINING = "draining"
    GONE = "gone"


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One worker as it is wanted."""

    worker: WorkerId
    """Unique in the cluster: "MODEL.EPOCH.CHAIN.STAGE.REPLICA"."""
    model: str
    epoch: int
    stage: StageId
    blob: str
    """Hash of the stage's ONNX file."""
    nbytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    token: str
    """What whoever opens a link must show; another one for each epoch."""
    threads: int = 1
    batching: Batching = Batching()
    credits: int = 16
    max_frame: int = 256 * 2**20
    memory: int = 0
    """Bytes it is expected to take."""
    seconds: Seconds = 0.0
    """What one request is expected to compute here."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """All workers a node shall run; whatever else it runs, it drains and ends."""

    node: NodeId
    term: int
    """The coordinator's lease; an assignment of an earlier term than one seen before is ignored."""
    workers: tuple[WorkerSpec, ...] = ()
    coming: tuple[str, ...] = ()
    """Blobs of workers that it will be assigned next, to be fetched in advance."""


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """One worker as it is."""

    worker: WorkerId
    phase: Phase
    addresses: tuple[Address, ...] = ()
    """Where it listens: on one host by "unix:", from elsewhere by "tcp:"; empty unless READY or DRAINING."""
    pid: int | None = None
    memory: int = 0
    """Bytes resident."""
    restarts: int = 0
    served: int = 0
    """Requests computed since it started."""
    failed: int = 0
    refused: dict[str, int] = {}
    """Reason -> links turned away since it started, such as "certificate", "token", "frame"."""
    queued: int = 0
    busy: float = 0.0
    """Share of the last beats' time spent computing, 0 to 1."""
    seconds: Seconds = 0.0
    """Median seconds of computing one request of late; 0: none was computed."""
    spent: Seconds = 0.0
    """Computing, since it started."""
    waited: Seconds = 0.0
    """Of those, how long it could have computed but others of its host had the cores; 0 where the system does not say.
    Time during which the worker was stopped, or had used up its own share of the processor, is not among it."""
    fault: Fault | None = None
    """Why it is not READY, if something went wrong."""


class NodeBeat(msgspec.Struct, frozen=True, kw_only=True):
    """A node lives, and this is how."""

    node: NodeId
    incarnation: str
    cpu: float
    """Share of all its cores in use, 0 to 1."""
    memory: int
    """Bytes its workers use."""
    temperature: float | None = None
    """Degrees Celsius, where known."""
    workers: tuple[WorkerState, ...] = ()
    leaving: bool = False
    """It drains and will go."""
    refused: dict[str, int] = {}
    """Reason -> what the node itself refused since it started, such as "blob": one without the hash it is stored
    under."""


class MeasuredLink(msgspec.Struct, frozen=True, kw_only=True):
    """The way from one node to another."""

    source: NodeId
    target: NodeId
    bandwidth: Positive
    """Bytes per second."""
    latency: NotNegative
    """Seconds, one way."""
    at: str
    """ISO 8601, UTC."""
