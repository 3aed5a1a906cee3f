"""What people and processes may ask a coordinator and a node for, and what they are answered."""

from typing import TypeVar

import msgspec

from cutwater.engine.facts.deployments import DeploySpec, EpochPhase
from cutwater.engine.facts.gateways import GatewayBeat
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Announcement, MeasuredLink, NodeBeat, WorkerState
from cutwater.fabric.base import TIMEOUT, Fabric
from cutwater.plan.plan import Score
from cutwater.services.facts import ASK_COORDINATOR, ASK_OPERATOR, ask_node, decode, encode
from cutwater.units import NodeId, Seconds, WorkerId
from cutwater.wire.message import Address

# To the coordinator


class AddModel(msgspec.Struct, frozen=True, tag=True):
    """Know this model from now on; its blobs are stored already. Answered with `Done`."""

    record: ModelRecord


class RemoveModel(msgspec.Struct, frozen=True, tag=True):
    """Forget a model that is not deployed. Answered with `Done`."""

    model: str


class Deploy(msgspec.Struct, frozen=True, tag=True):
    """Bring a model up, or change how it is deployed. Answered with `Done` at once; `GetStatus` tells the rest."""

    spec: DeploySpec


class Undeploy(msgspec.Struct, frozen=True, tag=True):
    """Take a model down. Answered with `Done` at once."""

    model: str


class DrainNode(msgspec.Struct, frozen=True, tag=True):
    """Run nothing on a node any more (``on``), or again. Answered with `Done`."""

    node: NodeId
    on: bool = True


class RevokeNode(msgspec.Struct, frozen=True, tag=True):
    """Exclude a node for good. Answered with `Done`."""

    node: NodeId


class GetStatus(msgspec.Struct, frozen=True, tag=True):
    """Answered with `ClusterStatus`."""


CoordinatorRequest = AddModel | RemoveModel | Deploy | Undeploy | GetStatus
OperatorRequest = DrainNode | RevokeNode
"""What clients and gateways may not ask for."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """It is as was asked, or will be."""


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node."""

    announcement: Announcement
    beat: NodeBeat | None
    """The last one; None: this coordinator has not heard it."""
    age: Seconds | None
    """Since then."""
    alive: bool
    draining: bool


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway."""

    beat: GatewayBeat
    age: Seconds
    alive: bool


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A worker of an epoch: as planned, and as it is."""

    worker: WorkerId
    chain: int
    stage: int
    """From 0."""
    begin: str
    """Label of the cut before it."""
    end: str
    node: NodeId
    spare: bool
    predicted: Seconds
    """Computing one request; what is measured stands in ``state.seconds``."""
    state: WorkerState | None
    """None: its node has not said anything of it."""


class EpochStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch of a deployment."""

    epoch: int
    phase: EpochPhase
    why: str
    throughput: float
    """Predicted requests per second."""
    latency: Seconds
    """Predicted for one request alone."""
    workers: tuple[WorkerStatus, ...]
    scores: tuple[Score, ...] = ()
    """Predicted, per chain: what each stage and hop takes, and which resource holds it back."""


class DeploymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment, predicted beside measured."""

    spec: DeploySpec
    parked: bool
    removed: bool
    epochs: tuple[EpochStatus, ...]
    """Oldest first."""
    rate: float
    """Measured answers per second of late, all gateways together."""
    p50: Seconds
    """Measured, of the slowest gateway."""
    p99: Seconds
    problem: str
    """Why the last plan or roll-out came to nothing; empty if it did not."""
    chains: int = 0
    """Of the live epoch, those that serve as a whole."""
    wanted: int = 0
    """Chains there should be."""
    scaled: str = ""
    """Why so many, where the deployment follows its demand."""


class ClusterStatus(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """All of a cluster, as its coordinator sees it."""

    leader: str
    term: int
    since: str
    """ISO 8601, UTC: when it began to lead."""
    nodes: tuple[NodeStatus, ...]
    gateways: tuple[GatewayStatus, ...]
    models: tuple[ModelRecord, ...]
    deployments: tuple[DeploymentStatus, ...]
    links: tuple[MeasuredLink, ...]


# To a node


class MeasureLinks(msgspec.Struct, frozen=True, tag=True):
    """Measure the links to these peers and write them to the state. Answered with `LinksMeasured`."""

    peers: tuple[tuple[NodeId, Address], ...]


class LinksMeasured(msgspec.Struct, frozen=True, tag=True):
    """The links that could be measured."""

    links: tuple[MeasuredLink, ...]
    failed: dict[NodeId, str] = {}
    """Peer -> why its link could not be."""


Reply = TypeVar("Reply", bound=msgspec.Struct)


async def ask_coordinator(
    fabric: Fabric,
    request: CoordinatorRequest | OperatorRequest,
    kind: type[Reply],
    timeout: Seconds = TIMEOUT,  # noqa: ASYNC109
) -> Reply:
    """The answer of the coordinator that leads.

    Raises:
        NoReply: none leads right now.
        CutwaterError: why it is not done.
    """
    subject = ASK_OPERATOR if isinstance(request, OperatorRequest) else ASK_COORDINATOR
    return decode(await fabric.request(subject, encode(request), timeout), kind)


async def ask_a_node(
    fabric: Fabric,
    node: NodeId,
    request: MeasureLinks,
    kind: type[Reply],
    timeout: Seconds = TIMEOUT,  # noqa: ASYNC109
) -> Reply:
    """The answer of a node. Raises NoReply if it is not there; CutwaterError for why it is not done."""
    return decode(await fabric.request(ask_node(node), encode(request), timeout), kind)
