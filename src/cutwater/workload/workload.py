"""Workload: what comes for which models, for how long, from which seed; and the schedule that it becomes.

Every stream of chance is named after what it is for, never numbered: another model, or another order, changes nothing
about the requests of those that were there.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated

import msgspec
import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from cutwater.errors import BadQuantity, did_you_mean
from cutwater.units import Seconds, parse_seconds
from cutwater.workload.arrivals import Arrivals, Times
from cutwater.workload.draw import draw
from cutwater.workload.limits import Checked, Duration, Limits, Weight
from cutwater.workload.schedule import Schedule


class Demand(Checked, frozen=True, omit_defaults=True):
    """What one model is asked."""

    arrivals: Arrivals | None = None
    """None: it only has its share in mixes."""
    slo: Annotated[Seconds, Limits(parse_seconds)] | None = None
    """The time in which its requests should be answered."""


class Mix(Checked, frozen=True, omit_defaults=True):
    """Requests each of which is for one of several models, by lot."""

    arrivals: Arrivals
    """Of all models together."""
    shares: dict[str, Weight]
    """Model -> its weight."""


class Workload(Checked, frozen=True, omit_defaults=True):
    """A reproducible load: the same description gives the same requests to the bit."""

    models: dict[str, Demand]
    duration: Duration
    seed: int = 0
    mixes: dict[str, Mix] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if not self.models:
            raise BadQuantity("models: needs at least one")
        if self.seed < 0:
            raise BadQuantity(f"seed: {self.seed} must be at least 0")
        asked = {model for model, demand in self.models.items() if demand.arrivals is not None}
        for name, mix in self.mixes.items():
            if not mix.shares:
                raise BadQuantity(f"mixes.{name}.shares: needs at least one model")
            for model in mix.shares:
                if model not in self.models:
                    near = did_you_mean(model, self.models)
                    raise BadQuantity(f"mixes.{name}.shares.{model}: there is no model {model!r} under 'models'{near}")
            asked |= mix.shares.keys()
        for model in self.models:
            if model not in asked:
                raise BadQuantity(f"models.{model}: needs the field 'arrivals', or a share in one of 'mixes'")


def make(workload: Workload) -> Schedule:
    """Draw a workload's requests. Raises BadQuantity for more than can be drawn."""
    streams: dict[str, list[Times]] = {model: [] for model in workload.models}
    for model, demand in workload.models.items():
        if demand.arrivals is not None:
            rng = stream(workload.seed, f"models.{model}")
            streams[model].append(_drawn(f"models.{model}", demand.arrivals, workload.duration, rng))
    for name, mix in workload.mixes.items():
        times = _drawn(f"mixes.{name}", mix.arrivals, workload.duration, stream(workload.seed, f"mixes.{name}"))
        lots = stream(workload.seed, f"mixes.{name}.shares").random(len(times))
        for model, part in _dealt(times, lots, mix.shares).items():
            streams[model].append(part)
    drawn = {model: np.sort(np.concatenate(parts)) for model, parts in streams.items()}
    slos = {model: demand.slo for model, demand in workload.models.items() if demand.slo is not None}
    return Schedule(drawn, workload.duration, slos)


def stream(seed: int, name: str) -> Generator:
    """A source of chance that is independent of those of the same seed with other names."""
    words = np.frombuffer(sha256(name.encode()).digest()[:16], dtype="<u4")
    return Generator(PCG64(SeedSequence(seed, spawn_key=tuple(words.tolist()))))


def _drawn(path: str, arrivals: Arrivals, duration: Seconds, rng: Generator) -> Times:
    try:
        return draw(arrivals, duration, rng)
    except BadQuantity as error:
        raise BadQuantity(f"{path}.arrivals: {error}") from error


def _dealt(times: Times, lots: Times, shares: Mapping[str, float]) -> dict[str, Times]:
    weights = np.array(list(shares.values()))
    chosen = np.searchsorted(np.cumsum(weights)[:-1], lots * weights.sum(), side="right")
    return {model: times[chosen == position] for position, model in enumerate(shares)}
