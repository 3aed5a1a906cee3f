"""Books: what the coordinator knows of the cluster, and what it has still to look at, to save and to write."""

from cutwater.engine.control import CoordinatorCommand, Tell
from cutwater.engine.coordinator.deployment import Deployment
from cutwater.engine.coordinator.health import Leases, Paces
from cutwater.engine.coordinator.members import Entrance, Members, Standing
from cutwater.engine.coordinator.replanning import Measured, lost
from cutwater.engine.coordinator.rollout import Epoch
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.coordinator.survey import Survey
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.units import GatewayId, NodeId, Seconds


class Books:
    """Kept by the rooms of the `Coordinator`, nobody else; nothing here is ever searched because of one beat."""

    def __init__(self, options: CoordinatorOptions) -> None:
        self.options = options
        self.term = 0
        self.secret = ""
        self.nodes: Members = {}
        self.revoked: set[NodeId] = set()
        self.gateways: dict[GatewayId, Entrance] = {}
        self.models: dict[str, ModelRecord] = {}
        self.deployments: dict[str, Deployment] = {}
        self.links: dict[tuple[NodeId, NodeId], MeasuredLink] = {}
        self.node_leases: Leases[NodeId] = Leases(self.options.lease)
        self.gateway_leases: Leases[GatewayId] = Leases(self.options.lease)
        self.paces = Paces(self.options)
        self.survey = Survey(self.options)
        self.next_epochs: dict[str, int] = {}
        """Of models that were undeployed: an epoch's number is not given twice."""
        self.tickets = 0
        self.marks = 0
        self.settle_at: Seconds | None = None
        """Until then nodes that were not heard of are unknown, not gone."""
        self.stirred = ""
        """What has changed in the cluster, so that other plans may pay."""
        self.stir_at: Seconds | None = None
        self.alarms: list[tuple[Seconds, str]] = []
        self.notes: list[Tell] = []
        self.asks: list[CoordinatorCommand] = []
        """Commands that need no order among the writes."""
        self.dirty: dict[str, None] = {}
        """Deployments to look at."""
        self.touched: dict[str, None] = {}
        """Deployments that may have to be saved."""
        self.stale_nodes: dict[NodeId, None] = {}
        self.stale_tables: dict[str, None] = {}
        self.wishing: dict[str, None] = {}
        """Deployments for which another plan might pay, in the order of asking."""

    def touch(self, deployment: Deployment) -> None:
        """Look at it, and at the tables that lead through it."""
        self.dirty[deployment.spec.model] = None
        self.stale_tables[deployment.spec.model] = None

    def tell(self, kind: str, about: str, text: str) -> None:
        """Say what has happened, for people."""
        self.notes.append(Tell(kind, about, text))

    def stir(self, why: str, now: Seconds) -> None:
        """Other plans may pay now; acted on when nothing more changes."""
        self.stirred = why
        self.stir_at = now + self.options.calm

    @property
    def settling(self) -> bool:
        """Whether this coordinator is so new that nodes it has not heard may live."""
        return self.settle_at is not None

    def usable(self, node: NodeId) -> bool:
        """Whether workers may be put on ``node``, and those there may stay."""
        member = self.nodes.get(node)
        return member.usable if member is not None else self.settling and node not in self.revoked

    def allowed(self, spec: DeploySpec) -> frozenset[NodeId]:
        """The nodes that may run a deployment, and can be used."""
        return frozenset(node for node in self.nodes if self.usable(node) and (not spec.nodes or node in spec.nodes))

    def unfit(self, deployment: Deployment) -> frozenset[NodeId]:
        """Those of them that its plans leave out, because its workers fail there."""
        return deployment.unfit.among(self.allowed(deployment.spec)) if deployment.unfit else frozenset()

    def fails(self, deployment: Deployment, epoch: Epoch) -> str:
        """Why an epoch cannot go on: a node of it is lost, or left out; "" if it can."""
        failing = sorted(epoch.nodes & self.unfit(deployment))
        return lost(epoch, self.usable) or (f"workers fail on {', '.join(failing)}" if failing else "")

    def host_of(self, node: NodeId) -> str | None:
        """The host of a node that lives; None: it does not."""
        member = self.nodes.get(node)
        return member.announcement.host if member is not None and member.standing is not Standing.GONE else None

    def measured(self, model: str) -> Measured:
        """How the deployment does now, by all gateways."""
        return Measured.of([e.tallies[model] for e in self.gateways.values() if model in e.tallies])
