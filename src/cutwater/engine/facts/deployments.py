"""What is wanted of a model, the plans made for it, and how far they are brought up."""

from enum import StrEnum

import msgspec

from cutwater.graph.graph import Tensor
from cutwater.plan.plan import Plan
from cutwater.units import NodeId, Seconds, StageId


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
    batch: int = 1
    """Most requests that a stage computes together, of those that wait; 1 where a stage cannot take several."""
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


class Post(msgspec.Struct, frozen=True, kw_only=True):
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
    posts: tuple[Post, ...]
    entry: Door
    exit: Door
    batch: int = 1
    """Most requests that a worker computes together, where its part can take several."""


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
