"""Schedule: when each request is due, for each model; what a workload becomes, and what a recording is."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadQuantity, NotFound, did_you_mean
from cutwater.units import Seconds
from cutwater.workload.arrivals import Times


class Schedule(msgspec.Struct, frozen=True, eq=False):
    """When requests are due, whatever becomes of those before."""

    times: Mapping[str, Times]
    """Model -> its requests, seconds from the start, ascending, all before ``duration``."""
    duration: Seconds
    slos: Mapping[str, Seconds] = {}
    """Model -> the time in which its requests should be answered, where one was said."""

    @property
    def requests(self) -> int:
        """How many in all."""
        return sum(len(times) for times in self.times.values())

    def merged(self) -> tuple[Times, NDArray[np.intp]]:
        """All requests in the order in which they are due, and the place of each one's model in ``times``.

        Of those due at the same moment the model that stands first comes first.
        """
        streams = list(self.times.values())
        times = np.concatenate([np.empty(0), *streams])
        models = np.repeat(np.arange(len(streams)), [len(stream) for stream in streams])
        order = np.argsort(times, kind="stable")
        return times[order], models[order]

    def __iter__(self) -> Iterator[tuple[Seconds, str]]:
        """Each request's due time and model, in order."""
        names = list(self.times)
        times, models = self.merged()
        return zip(times.tolist(), (names[model] for model in models.tolist()), strict=True)

    def of(self, model: str) -> Times:
        """The requests of one model. Raises NotFound."""
        if model not in self.times:
            raise NotFound(f"there is no model {model!r} in this schedule{did_you_mean(model, self.times)}")
        return self.times[model]

    def between(self, begin: Seconds, length: Seconds) -> "Schedule":
        """A part of it, as a schedule that begins at 0.

        Raises:
            BadQuantity: The part has no length, or reaches over the end.
        """
        if not 0 < length < float("inf") or not begin >= 0 or begin + length > self.duration:
            raise BadQuantity(
                f"{begin:g} s and {length:g} s from there on are no part of a schedule of {self.duration:g} s"
            )
        parts = {
            model: times[slice(*np.searchsorted(times, (begin, begin + length)))] - begin
            for model, times in self.times.items()
        }
        return Schedule(parts, length, self.slos)

    def striped(self, models: Sequence[str]) -> "Schedule":
        """Its streams dealt out in turn: the first, in the order they stand, to the first model, and so on, around.

        A recording has more functions than there are models; so each model gets about equally many of them, and what
        they do at the same time stays at the same time.
        """
        if not models or len(set(models)) != len(models):
            raise BadQuantity(
                f"streams are dealt out to different models, one or more, not to {', '.join(models) or '-'}"
            )
        dealt: dict[str, list[Times]] = {model: [np.empty(0)] for model in models}
        for position, times in enumerate(self.times.values()):
            dealt[models[position % len(models)]].append(times)
        return Schedule({model: np.sort(np.concatenate(parts)) for model, parts in dealt.items()}, self.duration)
