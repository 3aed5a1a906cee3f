"""What the machines of the control plane are told (events) and what they ask for (commands).

`Coordinator` decides for the cluster, `Keeper` for one node.
"""

import msgspec

from cutwater.engine.facts.deployments import Blueprint, DeploymentRecord, DeploySpec
from cutwater.engine.facts.gateways import GatewayBeat, RouteTable
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Announcement, Assignment, MeasuredLink, NodeBeat, WorkerSpec
from cutwater.engine.fault import Fault
from cutwater.engine.vocabulary import Tick
from cutwater.units import GatewayId, NodeId, Seconds, WorkerId
from cutwater.wire.message import Address

# What the coordinator is told


class Leading(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """This coordinator leads from now on; this is what its predecessor knew."""

    term: int
    secret: str
    """Another one for each term, and known to nobody else: the tokens of new epochs are made of it."""
    models: tuple[ModelRecord, ...] = ()
    deployments: tuple[DeploymentRecord, ...] = ()
    nodes: tuple[Announcement, ...] = ()
    """Without the revoked ones."""
    links: tuple[MeasuredLink, ...] = ()
    draining: tuple[NodeId, ...] = ()
    """Nodes on which nothing shall run."""
    revoked: tuple[NodeId, ...] = ()


class Announced(msgspec.Struct, frozen=True, tag=True):
    """A node is here, again or for the first time."""

    announcement: Announcement


class Beaten(msgspec.Struct, frozen=True, tag=True):
    """A node lives."""

    beat: NodeBeat


class GatewayBeaten(msgspec.Struct, frozen=True, tag=True):
    """A gateway lives."""

    beat: GatewayBeat


class LinkMeasured(msgspec.Struct, frozen=True, tag=True):
    """A node knows a link."""

    link: MeasuredLink


class LinkFailed(msgspec.Struct, frozen=True, tag=True):
    """A node cannot measure a link it was asked to."""

    source: NodeId
    target: NodeId


class ModelAdded(msgspec.Struct, frozen=True, tag=True):
    """A model is known from now on, or known better."""

    record: ModelRecord


class ModelRemoved(msgspec.Struct, frozen=True, tag=True):
    """A model is forgotten; it is not deployed."""

    model: str


class DeployAsked(msgspec.Struct, frozen=True, tag=True):
    """Somebody wants this; an existing deployment of the model is changed to it."""

    spec: DeploySpec


class UndeployAsked(msgspec.Struct, frozen=True, tag=True):
    """Nobody needs this any more."""

    model: str


class DrainAsked(msgspec.Struct, frozen=True, tag=True):
    """Run nothing on this node any more (``on``), or again."""

    node: NodeId
    on: bool = True


class NodeRevoked(msgspec.Struct, frozen=True, tag=True):
    """This node no longer belongs to the cluster; every token it knows must end."""

    node: NodeId


class Planned(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The answer to `MakePlan`."""

    model: str
    ticket: int
    blueprint: Blueprint | None = None
    current: float | None = None
    """What the plan that is live would score now on its objective; None: it cannot run any more, or there is none."""
    best: float | None = None
    """What ``blueprint`` scores (seconds for latency, requests per second for throughput)."""
    fault: Fault | None = None
    short: bool = False
    """There is no plan because memory is short: with more of it free there would be one."""


CoordinatorEvent = (
    Leading
    | Announced
    | Beaten
    | GatewayBeaten
    | LinkMeasured
    | LinkFailed
    | ModelAdded
    | ModelRemoved
    | DeployAsked
    | UndeployAsked
    | DrainAsked
    | NodeRevoked
    | Planned
    | Tick
)

# What the coordinator asks for


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the planner shall see it."""

    announcement: Announcement
    free: int
    """Bytes for new workers."""
    slowdown: float = 1.0
    """How many times longer than predicted its workers take; measured."""
    load: float = 0.0
    """Share of its cores that other models' workers use."""


class MakePlan(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Plan and cut; answer with `Planned` and the same ticket."""

    ticket: int
    spec: DeploySpec
    record: ModelRecord
    nodes: tuple[NodeView, ...]
    links: tuple[MeasuredLink, ...]
    source: NodeId
    """The node where the requests are born: the gateway's."""
    source_host: str
    taken: dict[str, float] = {}
    """Host of some of ``nodes`` -> cores that workers use there which are on none of them."""
    live: Blueprint | None = None
    span: int | None = None
    """Most nodes that one chain may take, replicas and spares aside; None: as many as are best."""


class Assign(msgspec.Struct, frozen=True, tag=True):
    """Write a node's assignment."""

    assignment: Assignment


class Direct(msgspec.Struct, frozen=True, tag=True):
    """Write a gateway's route table."""

    gateway: GatewayId
    table: RouteTable


class Save(msgspec.Struct, frozen=True, tag=True):
    """Keep this for the next coordinator."""

    record: DeploymentRecord


class Erase(msgspec.Struct, frozen=True, tag=True):
    """Nobody needs to know of this deployment any more."""

    model: str


class Measure(msgspec.Struct, frozen=True, tag=True):
    """Have a node measure the links to its peers; answer with `LinkMeasured` or `LinkFailed` for each."""

    node: NodeId
    peers: tuple[tuple[NodeId, Address], ...]


class Tell(msgspec.Struct, frozen=True, tag=True):
    """Publish a note."""

    kind: str
    about: str
    text: str


CoordinatorCommand = MakePlan | Assign | Direct | Save | Erase | Measure | Tell

# What a node's keeper is told


class Assigned(msgspec.Struct, frozen=True, tag=True):
    """What the coordinator wants here."""

    assignment: Assignment


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """A blob is here, whole; or it cannot be had."""

    blob: str
    fault: Fault | None = None


class Started(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A worker serves."""

    worker: WorkerId
    addresses: tuple[Address, ...]
    pid: int
    memory: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A worker has ended, or could not begin."""

    worker: WorkerId
    fault: Fault


KeeperEvent = Assigned | Fetched | Started | Ended | Tick

# What a node's keeper asks for


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """Bring a blob here; answer with `Fetched`."""

    blob: str


class Start(msgspec.Struct, frozen=True, tag=True):
    """Start a worker; answer with `Started` or `Ended`."""

    spec: WorkerSpec


class End(msgspec.Struct, frozen=True, tag=True):
    """End a worker; answer with `Ended`. Give it ``grace`` seconds to finish what it has."""

    worker: WorkerId
    grace: Seconds


class Report(msgspec.Struct, frozen=True, tag=True):
    """Something has changed: send a beat now."""


KeeperCommand = Fetch | Start | End | Report
