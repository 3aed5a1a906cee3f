"""Trace: the record of a run, steps ``(now, who, event, commands)``, append-only; what happened is a fold over it."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cutwater.engine.vocabulary import GatewayCommand, GatewayEvent, Received, StageCommand, StageEvent
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Answer, Failure, Mark


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One door passed: a machine was told something, and asked for something."""

    now: Seconds
    who: str
    """A StageId or "gateway"."""
    event: GatewayEvent | StageEvent
    commands: list[GatewayCommand | StageCommand]


class Trace:
    """The steps of a run, in order."""

    def __init__(self, limit: int | None = None) -> None:
        """``limit``: keep only so many of the newest steps, for runs without an end."""
        self._steps: deque[Step] = deque(maxlen=limit)
        self.written = 0
        """Steps ever appended."""

    def append(self, now: Seconds, who: str, event: Any, commands: list[Any]) -> None:
        """Record one step; ``commands`` must not change afterwards."""
        self.written += 1
        self._steps.append(Step(now, who, event, commands))

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Step).decode


def to_lines(trace: Iterable[Step]) -> Iterator[bytes]:
    """Each step as one line of JSON, newline included."""
    for step in trace:
        yield _encode(step) + b"\n"


def from_lines(lines: Iterable[bytes]) -> Iterator[Step]:
    """The inverse of `to_lines`. Raises msgspec.ValidationError for a line that is not a step."""
    return map(_decode, lines)


def timeline(trace: Iterable[Step]) -> Mapping[RequestId, tuple[Mark, ...]]:
    """Request -> what each stage did with it, first stage first, from the answers that reached the gateway.

    Marks are in seconds on each worker's own monotonic clock; on one machine these are the same clock.
    """
    found: dict[RequestId, tuple[Mark, ...]] = {}
    for step in trace:
        if step.who == "gateway" and isinstance(step.event, Received):
            message = step.event.message
            if isinstance(message, Answer | Failure):
                found[message.request] = message.trail
    return found


def story(trace: Iterable[Step], request: RequestId) -> list[Step]:
    """Every step in which ``request`` was told of or asked for."""
    return [step for step in trace if _about(step.event, request) or any(_about(c, request) for c in step.commands)]


def _about(part: Any, request: RequestId) -> bool:
    message = getattr(part, "message", part)
    keys = [*getattr(part, "keys", ()), *(result.key for result in getattr(part, "results", ()))]
    if (key := getattr(part, "key", None)) is not None:
        keys.append(key)
    return getattr(message, "request", None) == request or any(key.request == request for key in keys)
