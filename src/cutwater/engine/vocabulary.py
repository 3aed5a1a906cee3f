"""What the data plane's machines are told (events) and what they ask for (commands): ids and sizes, never tensors."""

from typing import NamedTuple, NewType

import msgspec

from cutwater.engine.fault import Fault
from cutwater.units import NodeId, RequestId, Seconds
from cutwater.wire.message import Address, Answer, Cancel, Credit, Failure, Hop, Infer, TensorSpec

LinkId = NewType("LinkId", int)
"""One connection of this process; a new connection to the same peer is a new id."""


class Key(NamedTuple):
    """One attempt at one request. Request ids are unique in a deployment."""

    request: RequestId
    attempt: int


class Route(msgspec.Struct, frozen=True):
    """One way through the stages."""

    hops: tuple[Hop, ...]
    """Where each stage runs, first stage first, and how tensors are packed on the way there."""
    reply_packing: str = "plain"
    """How the last stage packs the answer."""
    epoch: int = 0
    """The deployment's epoch it belongs to."""
    chain: int = 0
    """Which of the epoch's chains it is a way through: says how tensors enter and leave."""
    seconds: tuple[Seconds, ...] = ()
    """Predicted computing of one request at each hop; empty: nothing was predicted."""
    latency: Seconds = 0.0
    """Predicted time of a request that is alone on it."""
    spare: bool = False
    """Taken only where no other route of the epoch is usable."""
    degraded: bool = False
    """The gateway's own copy of the whole model: taken only where nothing else is left, and said in the answer."""
    nodes: tuple[NodeId, ...] = ()
    """Where each hop computes; empty: nobody said, and nobody shares it."""
    batch: int = 1
    """Most requests that a hop computes together."""


# Events


class Opened(msgspec.Struct, frozen=True, tag=True):
    """A link is up and greeted."""

    link: LinkId
    credits: int
    """How many requests this end may have under way on it."""
    address: Address | None = None
    """Where it leads, if this end dialled it; None if the peer did."""


class Received(msgspec.Struct, frozen=True, tag=True):
    """A frame has come, whole."""

    link: LinkId
    message: Infer | Answer | Failure | Cancel | Credit
    nbytes: int = 0
    """Bytes of the tensors behind it."""


class Lost(msgspec.Struct, frozen=True, tag=True):
    """A link is gone, and with it everything that was under way on it."""

    link: LinkId
    reason: str


class DialFailed(msgspec.Struct, frozen=True, tag=True):
    """No link to this address can be had now."""

    address: Address
    reason: str


class Paused(msgspec.Struct, frozen=True, tag=True):
    """More bytes wait to leave on this link than it takes at once."""

    link: LinkId


class Resumed(msgspec.Struct, frozen=True, tag=True):
    """The link takes bytes again."""

    link: LinkId


class Result(msgspec.Struct, frozen=True):
    """How one request of a batch came out."""

    key: Key
    tensors: tuple[TensorSpec, ...] = ()
    """Packed for the request's next hop."""
    decode: Seconds = 0.0
    encode: Seconds = 0.0
    fault: Fault | None = None


class Computed(msgspec.Struct, frozen=True, tag=True):
    """A batch has been through the stage."""

    batch: int
    started: Seconds
    finished: Seconds
    results: tuple[Result, ...]
    cpu: Seconds = 0.0
    """Processor time of the computing thread."""
    waited: Seconds = 0.0
    """How long that thread could have computed, and others had the cores."""


class Asked(msgspec.Struct, frozen=True, tag=True):
    """A client wants an answer within ``timeout``."""

    request: RequestId
    timeout: Seconds
    priority: int = 0
    """Higher is sooner; the ordinary one is 0."""
    client: str = ""
    """Who asks: the requests of one client stand in line behind each other, not before others'."""


class Withdrawn(msgspec.Struct, frozen=True, tag=True):
    """The client no longer waits."""

    request: RequestId


class Rerouted(msgspec.Struct, frozen=True, tag=True):
    """These are the ways from now on; what is under way goes on as it went."""

    routes: tuple[Route, ...]
    window: int | None = None
    """Most requests under way at once from now on; None: as before."""


class WorkerGone(msgspec.Struct, frozen=True, tag=True):
    """Nobody will ever answer at this address again. If no way is left, ``fault`` is everyone's answer."""

    address: Address
    fault: Fault


class Load(NamedTuple):
    """What the other models of a gateway have at one node, in seconds of computing."""

    waiting: Seconds
    """For requests that have not been launched."""
    flying: Seconds
    """For those that have."""
    done: Seconds
    """For all that were answered so far."""


class Beside(msgspec.Struct, frozen=True, tag=True):
    """What the other models of this gateway have at the nodes that this one's ways lead over, where they have any."""

    loads: dict[NodeId, Load]


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Finish what is under way, accept nothing new."""


class Go(msgspec.Struct, frozen=True, tag=True):
    """It is this worker's turn: it has a place to compute at; see `cutwater.engine.turns`."""

    until: Seconds | None = None
    """Only for what came no later than this: somebody waits whose work came then. None: nobody waits."""
    keep: bool = False
    """The place may be kept while there is nothing to compute: nobody else has wanted one of late."""


class Recall(msgspec.Struct, frozen=True, tag=True):
    """Somebody waits for this worker's place; it goes on only with what came no later than ``until``."""

    until: Seconds


class Wait(msgspec.Struct, frozen=True, tag=True):
    """It was heard that this worker wants a place, and it is not its turn yet."""


class Tick(msgspec.Struct, frozen=True, tag=True):
    """Time has passed."""


# Commands


class Compute(msgspec.Struct, frozen=True, tag=True):
    """Run these requests through the stage, together; answer with `Computed`."""

    batch: int
    keys: tuple[Key, ...]


class Send(msgspec.Struct, frozen=True, tag=True):
    """Send this message; an Infer or an Answer takes the tensors held for its key with it."""

    link: LinkId
    message: Infer | Answer | Failure | Cancel | Credit


class Launch(msgspec.Struct, frozen=True, tag=True):
    """Pack the client's arrays as its way's chain takes them, and send them on as an Infer of this attempt."""

    link: LinkId
    key: Key
    route: Route
    budget: Seconds
    """What is left until the deadline."""


class Relay(msgspec.Struct, frozen=True, tag=True):
    """Send on the frame that has just come, as it is."""

    link: LinkId
    message: Answer | Failure


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Let go of the tensors held for this key."""

    key: Key


class Want(msgspec.Struct, frozen=True, tag=True):
    """Ask for a place to compute at, and give back the one this worker has, if it has one."""

    since: Seconds
    """When the oldest of what waits here came."""
    usual: Seconds = 0.0
    """What a batch usually takes here; 0: nobody knows."""
    again: bool = False
    """Nobody has answered; nothing is given back with this, as the answer may be on its way."""


class GiveBack(msgspec.Struct, frozen=True, tag=True):
    """This worker does not need its place now."""


class Dial(msgspec.Struct, frozen=True, tag=True):
    """Open a link; answer with `Opened` or `DialFailed`."""

    address: Address


class Hangup(msgspec.Struct, frozen=True, tag=True):
    """Nothing needs this link any more."""

    link: LinkId


class StandIn(msgspec.Struct, frozen=True, tag=True):
    """See that a worker of the whole model serves at this gateway (``on``), or that none does.

    Said again whenever the link to it is lost. A `Dial` that follows waits until it serves.
    """

    address: Address
    """The only hop of the degraded route."""
    on: bool


class Die(msgspec.Struct, frozen=True, tag=True):
    """This worker hangs: end the process once what was said has left; whoever started it starts another."""

    reason: str


class Complete(msgspec.Struct, frozen=True, tag=True):
    """The frame that has just come is this request's answer; give it to the client."""

    request: RequestId
    degraded: bool = False
    """It came from the gateway's own copy of the whole model."""


class Fail(msgspec.Struct, frozen=True, tag=True):
    """This request's answer is an error; give it to the client."""

    request: RequestId
    fault: Fault


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Drained: nothing is under way any more."""


LinkEvent = Opened | Received | Lost | DialFailed | Paused | Resumed
StageEvent = LinkEvent | Computed | Drain | Go | Recall | Wait | Tick
StageCommand = Compute | Send | Relay | Forget | Want | GiveBack | Dial | Die | Stop
GatewayEvent = LinkEvent | Asked | Withdrawn | Rerouted | WorkerGone | Beside | Drain | Tick
GatewayCommand = Dial | Hangup | Launch | Send | StandIn | Complete | Fail | Stop
