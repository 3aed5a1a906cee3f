"""What gateways are told, and what they say of themselves."""

import msgspec

from cutwater.engine.facts.deployments import Door, WholeModel
from cutwater.engine.vocabulary import Route
from cutwater.units import GatewayId, NodeId, Seconds
from cutwater.wire.message import Address


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
