"""Backend: what the public interface needs of whoever answers; the gateway is one.

Everything that comes in by HTTP or gRPC ends up as calls of these few methods, so that both doors cannot differ.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

from cutwater.engine.facts.models import Pictures
from cutwater.errors import CutwaterError
from cutwater.frameworks.base import Array
from cutwater.graph.graph import Tensor
from cutwater.units import Seconds
from cutwater.wire.message import Mark

VERSION = "1"
"""The one version of each model: a name stands for one file, and replacing it is a change of the deployment."""

Feeds = Mapping[str, Array]
"""Input name -> array; text travels as uint8 only where a model's op reads it so, see `ModelCard`."""


class Standing(StrEnum):
    """Whether a model can be asked."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """All that clients may know of a model."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    """In the shape of one request."""
    dynamic: Mapping[str, tuple[int, ...]] = {}
    """Input -> which of its dimensions any request may choose."""
    pictures: Pictures = Pictures()
    """How it wants its pictures, where it takes pixels."""
    labels: tuple[str, ...] = ()
    """Class names by index."""
    task: str = ""
    """"classify", "detect" or nothing known."""
    standing: Standing = Standing.UNAVAILABLE
    why: str = ""
    """Why it is not READY."""
    timeout: Seconds = 30.0
    """A request's time, where its client does not say."""
    hash: str = ""
    """The graph's."""
    stages: tuple[str, ...] = ()
    """Where it runs now: "node-1: input .. after conv4", one per stage."""


class Ask(NamedTuple):
    """One request, whichever way it came."""

    model: str
    feeds: Feeds
    timeout: Seconds | None = None
    """None: as the model's card says."""
    priority: int = 0
    """Higher is sooner; the ordinary one is 0."""
    client: str = ""
    """Who asks, as far as is known: requests of one client stand in line behind each other, not before others'."""
    id: str = ""
    """What the client calls it. The same id with the same content is the same request: it is computed once."""
    door: str = ""
    """"http", "grpc" or "native"."""
    trace: str = ""
    """W3C ``traceparent`` of whoever asks."""
    span: str = ""
    """``traceparent`` under which it is recorded here; empty: it is not."""
    came: int = 0
    """Bytes of the request as it arrived."""
    since: Seconds = 0.0
    """When it began to arrive, on the gateway's clock: its time counts from then; 0: when it is asked."""


class Answered(NamedTuple):
    """A request's result."""

    request: str
    """What the gateway calls it; `cutwater story` tells more of it."""
    outputs: Mapping[str, Array]
    trail: tuple[Mark, ...]
    """What each stage did with it."""
    degraded: bool
    """The gateway answered by itself, because nobody else was left."""
    span: str = ""
    """W3C ``traceparent`` under which it is recorded; empty where it is not."""
    waited: Seconds = 0.0
    """At the gateway, until it was sent to its first stage."""


class Spell(msgspec.Struct, frozen=True):
    """How often, and how long together."""

    count: int = 0
    seconds: Seconds = 0.0


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """One model at this gateway, since it started."""

    success: Spell = Spell()
    fail: Spell = Spell()
    queue: Spell = Spell()
    """Waiting, at the gateway and at the stages."""
    entry: Spell = Spell()
    """Decoding and encoding of tensors, and the way between the stages."""
    compute: Spell = Spell()
    exit: Spell = Spell()
    """From the last stage's last byte to the answer."""
    batches: Mapping[int, Spell] = {}
    """Requests computed together, at the first stage -> how often, and computing."""
    last: float = 0.0
    """Unix time of the last request; 0: none yet."""


class Backend(Protocol):
    """Whoever answers. Every method raises CutwaterError, of a type whose ``status`` fits."""

    name: str
    """The gateway's."""

    @property
    def ready(self) -> bool:
        """Whether requests are taken in: it does not drain, and is told what to serve."""
        ...

    def models(self) -> Sequence[ModelCard]:
        """All models the cluster knows, deployed or not, by name."""
        ...

    def model(self, name: str) -> ModelCard:
        """One of them. Raises NotFound."""
        ...

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        """What a request that is on its way in would be refused with now; None: it would not.

        Args:
            ask: Without feeds: they are not here yet.
            ahead: Requests for its model that are on their way in before it.
        """
        ...

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        """A request was refused on its way in; it counts like those refused by `infer`."""
        ...

    async def infer(self, ask: Ask) -> Answered:
        """The answer. Being cancelled withdraws the request, down to the stages."""
        ...

    async def load(self, name: str, options: Mapping[str, Any]) -> None:
        """Deploy a model the cluster knows; returns when it is READY. ``options``: fields of `DeploySpec`."""
        ...

    async def unload(self, name: str) -> None:
        """Undeploy it; returns when it is READY no more."""
        ...

    def statistics(self, name: str) -> Statistics:
        """Raises NotFound."""
        ...
