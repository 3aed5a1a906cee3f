"""Timing: where the time of an answered request went, as its answer says it (W3C Server Timing)."""

import re
from typing import NamedTuple

from cutwater.units import Seconds

_PART = re.compile(r"(queue|wait|stage)(?:-(\d+))?;dur=(\d+(?:\.\d+)?)")


class Timing(NamedTuple):
    """What is left of the request's time it was on its way."""

    queue: Seconds
    """At the gateway."""
    waits: tuple[Seconds, ...]
    """At each stage, until computing began; the unpacking of tensors included."""
    stages: tuple[Seconds, ...]
    """Each stage computed."""

    @property
    def told(self) -> Seconds:
        """All of it together."""
        return self.queue + sum(self.waits) + sum(self.stages)


def timing_of(text: str) -> Timing | None:
    """Of a ``server-timing`` header, or trailing metadata; None where it does not tell of stages."""
    queue = 0.0
    found: dict[str, dict[int, Seconds]] = {"wait": {}, "stage": {}}
    for name, number, milliseconds in _PART.findall(text):
        if name == "queue":
            queue = float(milliseconds) / 1e3
        elif number:
            found[name][int(number)] = float(milliseconds) / 1e3
    numbers = sorted(found["stage"])
    if not numbers:
        return None
    waits, stages = found["wait"], found["stage"]
    return Timing(queue, tuple(waits.get(k, 0.0) for k in numbers), tuple(stages[k] for k in numbers))
