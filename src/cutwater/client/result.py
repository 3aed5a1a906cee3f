"""What a client gets: the Result of a request, and what is known of a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cutwater.errors import NotFound, did_you_mean
from cutwater.frameworks.base import Array
from cutwater.units import Seconds
from cutwater.wire.message import Mark


@dataclass(frozen=True, eq=False)
class Result(Mapping[str, Array]):
    """A request's outputs, by name, and how it went: ``result["logits"]``."""

    outputs: Mapping[str, Array]
    """Output name -> array, read-only: a view of what came."""
    model: str
    latency: Seconds
    """From asking to having the outputs: all tries, and the pauses between them."""
    id: str
    """What the client called the request; empty: nothing."""
    request: str = ""
    """What the gateway called it: `cutwater story` tells more of it. Empty where that did not say."""
    degraded: bool = False
    """The gateway answered by itself, because nobody else was left."""
    tries: int = 1
    """How often it was sent."""
    trace: str = ""
    """W3C ``traceparent`` under which the gateway recorded it; empty where it did not."""
    trail: tuple[Mark, ...] = field(default=(), repr=False)
    """What each stage did with it; empty where the transport does not carry it."""

    # Arrays are not compared by ``==``, so a result is equal to itself only.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def array(self) -> Array:
        """The only output. Raises NotFound where there are several."""
        if len(self.outputs) != 1:
            raise NotFound(f"{self.model} has {len(self.outputs)} outputs; take one of {', '.join(self.outputs)}")
        (only,) = self.outputs.values()
        return only

    def __getitem__(self, name: str) -> Array:
        """One output. Raises NotFound, which lists what there is."""
        try:
            return self.outputs[name]
        except KeyError:
            raise NotFound(f"{self.model} has no output {name!r}{did_you_mean(name, self.outputs)}") from None

    def __iter__(self) -> Iterator[str]:
        """Names of the outputs."""
        return iter(self.outputs)

    def __len__(self) -> int:
        """How many outputs there are."""
        return len(self.outputs)

    def __contains__(self, name: object) -> bool:
        """Whether there is such an output."""
        return name in self.outputs


@dataclass(frozen=True)
class TensorInfo:
    """An input or an output of a model."""

    name: str
    datatype: str
    """As the Open Inference Protocol writes it: ``"FP32"``, ``"INT64"``, ``"BYTES"``."""
    shape: tuple[int, ...]
    """Of one request; -1 where any size goes."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model takes and gives."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    versions: tuple[str, ...] = ()
    platform: str = ""


@dataclass(frozen=True)
class Listed:
    """One of the models that a gateway knows."""

    name: str
    state: str
    """``"READY"``, ``"LOADING"`` or ``"UNAVAILABLE"``."""
    reason: str = ""
    """Why it is not READY."""

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self.state == "READY"
