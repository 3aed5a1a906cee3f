"""What the processes of a cluster tell each other over the fabric: facts and wishes, each replacing the last.

Everything here is level-triggered: a beat says all that is the case, an assignment all that is wanted. So whatever was
lost on the way, or restarted, is put right by the next one.

    state bucket       model.MODEL            ModelRecord       the coordinator, for good
                       deployment.MODEL       DeploymentRecord  the coordinator, for its successor
                       node.NODE              Announcement      each node
                       assign.NODE            Assignment        coordinator -> node
                       routes.GATEWAY.MODEL   RouteTable        coordinator -> gateway
                       link.A.B               MeasuredLink      node A, about the way from A to B
                       drain.NODE             Note              the coordinator: nothing shall run there
                       revoked.NODE           Note              the coordinator: it belongs to the cluster no more
                       stored                 stage files       the coordinator, for its successor
                       revocations            signed list       whoever runs the authority
    leases bucket      coordinator, node.NODE, gateway.GATEWAY  who is who, while alive
    subjects           beat.node.NODE         NodeBeat          twice a second, and at every change; once while idle
                       beat.gateway.GATEWAY   GatewayBeat       twice a second, and at every change
                       ask.coordinator        requests of people and gateways, answered by the active coordinator
                       ask.node.NODE          requests to one node
                       notes                  Note              what happened, for people
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from cutwater.engine.fault import Fault
from cutwater.engine.stage.batching import Batching
from cutwater.engine.vocabulary import Route
from cutwater.graph.graph import Tensor
from cutwater.plan.plan import Plan
from cutwater.units import GatewayId, NodeId, Seconds, StageId, WorkerId
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

# Nodes


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


# Models and deployments


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """How a model wants its pictures, where it takes pixels: (rgb - mean) / std, rgb in 0..255."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    fit: str = "crop"
    """"crop", "letterbox" or "stretch"."""
    share: float = 0.875
    """The part of the picture that "crop" keeps."""
    height: int = 0
    """Of the frame it is fitted into, where the model takes encoded pictures and its inputs do not show it."""
    width: int = 0


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A model the cluster knows."""

    name: str
    hash: str
    """The graph's."""
    blob: str
    """Hash of the ONNX file, weights inside."""
    nbytes: int
    profile: str
    """Hash of the profile's blob."""
    speed: float
    """Speed index of the node the profile was measured on."""
    sizes: dict[str, tuple[int, ...]] = {}
    """Input -> shape, where dimensions were given."""
    dynamic: dict[str, tuple[int, ...]] = {}
    """Input -> which of its dimensions the file leaves open, so that any request may choose them."""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    """In the shape of one request."""
    pictures: Pictures = Pictures()
    labels: tuple[str, ...] = ()
    """Class names by index."""
    task: str = ""
    """"classify", "detect" or nothing known."""


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """Within which bounds a deployment follows its demand."""

    least: int = 1
    """Chains that it always has."""
    most: int = 1
    """Chains that it never has more of; its nodes are shared out so that there can be so many."""
    target: float = 0.99
    """Share of the requests that shall be answered within the deployment's timeout."""
    idle: Seconds = 0.0
    """Unused for so long it is parked, until somebody asks; 0: never."""


class DeploySpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants of a deployment."""

    model: str
    objective: str = "throughput"
    budget: float = 0.0
    """Largest relative error of the outputs that the codec of one hop may cause; 0: lossless codecs only."""
    stages: int | None = None
    """How many; None: as many as are best."""
    nodes: tuple[NodeId, ...] = ()
    """Where it may run; empty: anywhere."""
    cuts: tuple[str, ...] = ()
    """Where to cut, in order, as `cutwater.cut.lattice.find_cut` reads it; empty: wherever is best. Kept as long as
    there are nodes for so many stages."""
    places: tuple[NodeId, ...] = ()
    """Node of the first, second, ... stage; an empty name, or a node that is not there, is left to the planner."""
    chains: int = 1
    """Independent ways through, each a plan of its own on nodes of its own."""
    replicas: int = 1
    """Workers of the busiest stage; more where nodes are left."""
    spares: int = 0
    """Warm workers of each stage on further nodes, used when no other is left."""
    fallback: bool = True
    """Whether a gateway with room for the whole model answers by itself when nothing else is left."""
    window: int = 64
    """Most requests under way at once, per gateway."""
    timeout: Seconds = 30.0
    """A request's time, where its client does not say."""
    scaling: Scaling | None = None
    """Has as many chains as the demand needs, whatever ``chains`` says; None: ``chains``."""


class StagePart(msgspec.Struct, frozen=True, kw_only=True):
    """One stage, cut out and stored."""

    stage: StageId
    blob: str
    nbytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batchable: bool


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of a chain."""

    stage: int
    """Index into the chain's parts."""
    node: NodeId
    seconds: Seconds
    """Predicted computing of one request."""
    memory: int
    """Predicted bytes."""
    spare: bool = False


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """What enters a chain, or leaves it: the model's own tensors, and as what they travel."""

    border: tuple[str, ...]
    travelling: tuple[Tensor, ...]
    codec: str


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """One way through a model, with everything that is needed to bring it up."""

    plan: Plan
    parts: tuple[StagePart, ...]
    placements: tuple[Placement, ...]
    entry: Door
    exit: Door


class WholeModel(msgspec.Struct, frozen=True, kw_only=True):
    """The uncut model, for a gateway that has to answer by itself."""

    part: StagePart
    entry: Door
    exit: Door
    memory: int


class Blueprint(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner made of a DeploySpec: ready to be brought up."""

    model: str
    chains: tuple[Chain, ...]
    throughput: float
    """Predicted requests per second of all chains together."""
    latency: Seconds
    """Predicted for one request alone, by the fastest chain."""
    whole: WholeModel | None = None
    """For the gateways' fallback; None where it is not wanted, or the model cannot be carried in one piece."""
    missed: int = 0
    """Of the cuts and places that were decided, how many are not as they were."""


class EpochPhase(StrEnum):
    """Where a deployment's epoch is in its life."""

    STARTING = "starting"
    """Workers are brought up, the last stage first."""
    PROBING = "probing"
    """All are READY; the gateways send one request through every chain."""
    LIVE = "live"
    DRAINING = "draining"
    """The gateways have switched to another epoch; what is under way here is finished."""
    GONE = "gone"


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One blueprint brought up."""

    epoch: int
    token: str
    phase: EpochPhase
    blueprint: Blueprint
    why: str = ""
    """What it was made for: "deployed", "node pi-b is gone", ..."""
    numbers: tuple[int, ...] = ()
    """Of the blueprint's chains; empty: from 0 up."""
    next_chain: int = 0
    """The number of the next chain that joins; 0: the first that is free."""


class DeploymentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment, as the next coordinator needs to know it."""

    spec: DeploySpec
    epochs: tuple[EpochRecord, ...] = ()
    """Those that are not GONE, oldest first."""
    next_epoch: int = 1
    parked: bool = False
    """Taken down to make room; comes back when somebody asks for it."""
    removed: bool = False
    """Undeployed; kept until nothing of it is left."""
    renew: bool = False
    """The live epoch is not what is wanted (another spec, or a token that a revoked node knows): it is replaced by the
    next blueprint, whatever that gains."""
    chains: int = 0
    """How many are wanted now, where the deployment follows its demand; 0: as many as its spec says."""
    scaled: str = ""
    """Why so many."""


# Gateways


class EpochTable(msgspec.Struct, frozen=True, kw_only=True):
    """All ways through one epoch, for one gateway."""

    epoch: int
    token: str
    routes: tuple[Route, ...]
    doors: tuple[tuple[Door, Door], ...]
    """Entry and exit of each chain."""
    chains: tuple[int, ...] = ()
    """The number of each, which `Route.chain` is; empty: from 0 up."""

    @property
    def numbered(self) -> dict[int, tuple[Door, Door]]:
        """The doors by the number of their chain."""
        return dict(zip(self.chains or range(len(self.doors)), self.doors, strict=True))


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """All a gateway needs to know of one model."""

    model: str
    term: int
    live: EpochTable | None = None
    candidate: EpochTable | None = None
    """To be probed; it becomes live in a later table."""
    whole: WholeModel | None = None
    window: int = 64
    timeout: Seconds = 30.0
    removed: bool = False
    """Undeployed: finish, and refuse what comes."""
    mark: str = ""
    """Another one for each table; the gateway repeats it in its tally, and so shows which one it has."""


class ModelTally(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one gateway, since it started."""

    model: str
    epoch: int = 0
    """In use; 0: none."""
    mark: str = ""
    """Of the table it has."""
    probed: dict[int, str] = {}
    """Epoch -> "" if the probe came back, else why not."""
    flying: dict[int, int] = {}
    """Epoch -> requests under way on its routes."""
    queued: int = 0
    accepted: int = 0
    answered: int = 0
    degraded: int = 0
    """Of those answered, how many by the gateway itself."""
    failed: int = 0
    refused: int = 0
    retried: int = 0
    late: int = 0
    quarantined: int = 0
    rate: float = 0.0
    """Answers per second of late."""
    p50: Seconds = 0.0
    p99: Seconds = 0.0
    idle: Seconds = 0.0
    """Since the last request."""


class GatewayBeat(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway lives, and this is how."""

    gateway: GatewayId
    incarnation: str
    node: NodeId
    """The node on whose machine it runs: where requests are born."""
    host: str
    clients: Address
    """Where clients come in by native link."""
    models: tuple[ModelTally, ...] = ()
    suspects: tuple[Address, ...] = ()
    """Workers it can get no answer from."""
    turned_away: dict[str, int] = {}
    """Reason -> links of clients turned away since it started, such as "certificate", "greeting", "frame"."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something people may want to know."""

    at: str
    """ISO 8601, UTC."""
    kind: str
    """"joined", "lost", "rolled-out", "replanned", "rolled-back", "parked", "refused", ..."""
    about: str
    """A node, a model, a worker."""
    text: str
