"""Desk: what people ask a leading coordinator for, checked, written down, told to its machine, and answered."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from cutwater.drivers.live import clock
from cutwater.engine.control import (
    CoordinatorEvent,
    DeployAsked,
    DrainAsked,
    ModelAdded,
    ModelRemoved,
    NodeRevoked,
    UndeployAsked,
)
from cutwater.engine.facts.deployments import DeploySpec, Scaling
from cutwater.engine.facts.gateways import Note
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import BadBlob, InputError, NotFound, did_you_mean
from cutwater.fabric.base import Blobs, Message
from cutwater.plan.objective import parse_objective
from cutwater.services.asking import (
    AddModel,
    ClusterStatus,
    CoordinatorRequest,
    Deploy,
    Done,
    DrainNode,
    GetStatus,
    OperatorRequest,
    RemoveModel,
    RevokeNode,
    Undeploy,
)
from cutwater.services.coordinator.state import Known, Outbox
from cutwater.services.coordinator.status import Sightings
from cutwater.services.facts import decode, drain_key, encode, model_key, node_key, revoked_key
from cutwater.units import NodeId, check_name

_log = logging.getLogger(__name__)


class Desk:
    """The cluster as its coordinator knows it, in the words in which people ask about it."""

    def __init__(
        self, name: str, term: int, known: Known, blobs: Blobs, outbox: Outbox, tell: Callable[[CoordinatorEvent], None]
    ) -> None:
        self.models = {record.name: record for record in known.models}
        self.deployments = {record.spec.model: record for record in known.deployments}
        self.nodes = {told.node: told for told in known.nodes}
        self.links = {(link.source, link.target): link for link in known.links}
        self.draining = set(known.draining)
        self.revoked = set(known.revoked)
        self.problems: dict[str, str] = {}
        """Model -> why its last plan or roll-out came to nothing."""
        self.sightings = Sightings()
        self._name = name
        self._term = term
        self._since = now_text()
        self._blobs = blobs
        self._outbox = outbox
        self._tell = tell

    async def answer(self, message: Message) -> bytes:
        """See `cutwater.services.asking`. Raises CutwaterError, which is the answer then."""
        request: CoordinatorRequest = decode(message.data, CoordinatorRequest)  # type: ignore[arg-type]
        if isinstance(request, GetStatus):
            return encode(self.status())
        match request:
            case AddModel(record):
                await self._add_model(record)
            case RemoveModel(model):
                await self._remove_model(model)
            case Deploy(spec):
                self._deploy(spec)
            case Undeploy(model):
                self._undeploy(model)
        await self._outbox.written()
        return encode(Done())

    async def answer_operator(self, message: Message) -> bytes:
        """As `answer`, for what only the operator may ask."""
        request: OperatorRequest = decode(message.data, OperatorRequest)  # type: ignore[arg-type]
        match request:
            case DrainNode(node, on):
                self._drain(node, on)
            case RevokeNode(node):
                self._revoke(node)
        await self._outbox.written()
        return encode(Done())

    def status(self) -> ClusterStatus:
        """Everything, as it is now."""
        now = clock()
        return ClusterStatus(
            leader=self._name,
            term=self._term,
            since=self._since,
            nodes=self.sightings.nodes(self.nodes.values(), self.draining, now),
            gateways=self.sightings.gateways(now),
            models=tuple(self.models[name] for name in sorted(self.models)),
            deployments=self.sightings.deployments(self.deployments.values(), self.problems, now),
            links=tuple(self.links[ends] for ends in sorted(self.links)),
        )

    async def _add_model(self, record: ModelRecord) -> None:
        check_name("model", record.name)
        for blob in (record.blob, record.profile):
            if await self._blobs.find(blob) is None:
                raise BadBlob(f"the blob {blob} of {record.name!r} is not stored; store the model's files first")
        _log.info("the model %s is added", record.name)
        self.models[record.name] = record
        self._outbox.put(model_key(record.name), record)
        self._tell(ModelAdded(record))

    async def _remove_model(self, model: str) -> None:
        self._check_model(model)
        if model in self.deployments:
            raise InputError(f"{model!r} is deployed; undeploy it first")
        _log.info("the model %s is removed", model)
        record = self.models.pop(model)
        self._outbox.put(model_key(model), None)
        self._tell(ModelRemoved(model))
        used = {blob for other in self.models.values() for blob in (other.blob, other.profile)}
        for blob in {record.blob, record.profile} - used:
            await self._blobs.delete(blob)

    def _deploy(self, spec: DeploySpec) -> None:
        self._check_model(spec.model)
        parse_objective(spec.objective)
        for node in (*spec.nodes, *filter(None, spec.places)):
            self._check_node(node)
        check_decided(spec)
        if min(spec.chains, spec.replicas, spec.window, spec.batch, spec.stages or 1) < 1 or spec.spares < 0:
            raise InputError("stages, chains, replicas, the window and the batch are counted from 1, spares from 0")
        check_batch(spec, self.models[spec.model])
        if spec.scaling is not None:
            check_scaling(spec, spec.scaling)
        _log.info("%s is to be deployed", spec.model)
        self.problems.pop(spec.model, None)
        self._tell(DeployAsked(spec))

    def _undeploy(self, model: str) -> None:
        if model not in self.deployments:
            raise NotFound(f"{model!r} is not deployed{did_you_mean(model, self.deployments)}")
        _log.info("%s is to be taken down", model)
        self._tell(UndeployAsked(model))

    def _drain(self, node: NodeId, on: bool) -> None:
        self._check_node(node)
        _log.info("%s is %s", node, "to be drained" if on else "to be used again")
        (self.draining.add if on else self.draining.discard)(node)
        self._outbox.put(drain_key(node), Note(at=now_text(), kind="drain", about=node, text="") if on else None)
        self._tell(DrainAsked(node, on))

    def _revoke(self, node: NodeId) -> None:
        """Also one that was never here: its invitation may be out."""
        check_name("node", node)
        _log.info("%s is revoked", node)
        self.revoked.add(node)
        self.nodes.pop(node, None)
        self._outbox.put(revoked_key(node), Note(at=now_text(), kind="revoked", about=node, text=""))
        self._outbox.put(node_key(node), None)
        self._tell(NodeRevoked(node))

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            raise NotFound(f"there is no model {model!r}{did_you_mean(model, self.models)}")

    def _check_node(self, node: NodeId) -> None:
        if node not in self.nodes:
            raise NotFound(f"there is no node {node!r}{did_you_mean(node, self.nodes)}")


def check_decided(spec: DeploySpec) -> None:
    """Whether the cuts and places of a deployment fit each other and the rest. Raises InputError."""
    stages = len(spec.cuts) + 1 if spec.cuts else spec.stages or max(len(spec.places), 1)
    named = [node for node in spec.places if node]
    if spec.stages not in (None, stages):
        raise InputError(
            f"{len(spec.cuts)} cuts make {stages} stages, not {spec.stages}; leave out the one or the other"
        )
    if len(spec.places) > stages:
        raise InputError(f"{len(spec.places)} places are named for {stages} stages; name fewer, or cut more often")
    if len(set(named)) < len(named):
        raise InputError("a node runs at most one stage of a chain; name another node for each stage")
    if named and spec.chains > 1:
        raise InputError("places are those of one chain; leave them out, or ask for one chain")
    if spec.nodes and (strangers := set(named) - set(spec.nodes)):
        raise InputError(f"{min(strangers)!r} shall run a stage, but is not among the nodes the model may run on")


def check_batch(spec: DeploySpec, record: ModelRecord) -> None:
    """Whether a model can be computed for so many requests at once. Raises InputError."""
    if spec.batch > 1 and any(tensor.batch_axis is None for tensor in (*record.inputs, *record.outputs)):
        raise InputError(
            f"{spec.model} has a fixed batch, so each request is computed alone; leave the batch out, or add the "
            "model with an open first size of its inputs and outputs"
        )


def check_scaling(spec: DeploySpec, scaling: Scaling) -> None:
    """Whether a deployment can follow its demand like this. Raises InputError."""
    if not 1 <= scaling.least <= scaling.most:
        raise InputError(f"{scaling.least}..{scaling.most} chains cannot be; write it like 1..4")
    if not 0.0 < scaling.target < 1.0 or scaling.idle < 0.0:
        raise InputError("the target is a share between 0 % and 100 %, and idle is no less than 0 s")
    if any(spec.places):
        raise InputError("places are those of one chain; leave them out, or let the deployment have one chain")


def now_text() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
