"""Traceparent: which trace a request belongs to, as HTTP and gRPC carry it (W3C Trace Context, level 1)."""

import random
import re
from typing import NamedTuple

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID = 0xFF
"""No version: the standard reserves it."""


class Traceparent(NamedTuple):
    """One span of one trace."""

    trace: int
    """128 bits."""
    span: int
    """64 bits."""
    sampled: bool
    """Whoever made it records it."""

    def __str__(self) -> str:
        return f"00-{self.trace:032x}-{self.span:016x}-{self.sampled:02x}"


def parse_traceparent(text: str) -> Traceparent | None:
    """None for what is none, which the standard wants to be ignored: a later version may have more at its end."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    version, trace, span, flags = (int(part, 16) for part in match.groups()[:4])
    if version == _INVALID or not trace or not span or (version == 0 and match[5] is not None):
        return None
    return Traceparent(trace, span, bool(flags & 1))


class Sampler:
    """Which requests are traced: those whose client traces them, and a share of those whose client says nothing."""

    def __init__(self, share: float, rng: random.Random) -> None:
        self._share = share
        self._rng = rng

    def begin(self, trace: str) -> str:
        """The ``traceparent`` of a request's own span; empty: it is not recorded."""
        parent = parse_traceparent(trace) if trace else None
        if parent is not None:
            return str(Traceparent(parent.trace, self._id(64), True)) if parent.sampled else ""
        if self._rng.random() >= self._share:
            return ""
        return str(Traceparent(self._id(128), self._id(64), True))

    def _id(self, bits: int) -> int:
        """At random, but not the one value that stands for none."""
        return self._rng.getrandbits(bits) or 1
