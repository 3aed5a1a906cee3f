"""Trace: the record of a run, steps ``(now, who, event, commands)``, append-only; what happened is a fold over it.

As a file a trace is lines of JSON: an object says how a machine was made, and stands before the first of its steps; an
array is a step. So the first line describes a machine, and whoever reads it can make the same machine again.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

import msgspec

from cutwater.engine.control import (
    CoordinatorCommand,
    CoordinatorEvent,
    KeeperCommand,
    KeeperEvent,
    Leading,
    MakePlan,
    Planned,
    Save,
)
from cutwater.engine.machine import Machine
from cutwater.engine.turns import TurnsCommand, TurnsEvent
from cutwater.engine.vocabulary import GatewayCommand, GatewayEvent, Received, StageCommand, StageEvent
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Answer, Failure, Mark


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One door passed: a machine was told something, and asked for something."""

    now: Seconds
    who: str
    """Which machine; its `Birth` says what it is."""
    event: GatewayEvent | StageEvent | CoordinatorEvent | KeeperEvent | TurnsEvent
    commands: list[GatewayCommand | StageCommand | CoordinatorCommand | KeeperCommand | TurnsCommand]


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it was made."""

    who: str
    kind: str
    """Its class: "Gateway", "StageWorker", "Coordinator", "Keeper" or "Turns"."""
    name: str = ""
    """The stage, or the node, it is for."""
    options: dict[str, Any] = {}
    """What it was made with, as JSON knows it."""
    whole: bool = True
    """Whether every step of it follows; an older file of a trace that has several may have been dropped."""


def birth_of(who: str, machine: Machine[Any, Any, Any]) -> Birth:
    """How to make ``machine`` again."""
    name = getattr(machine, "stage", None) or getattr(machine, "node", None) or ""
    options = msgspec.to_builtins(getattr(machine, "options", {}))
    return Birth(who=who, kind=type(machine).__name__, name=name, options=options)


class Trace:
    """The steps of a run, in order."""

    def __init__(self, limit: int | None = None) -> None:
        """``limit``: keep only so many of the newest steps, for runs without an end."""
        self._steps: deque[Step] = deque(maxlen=limit)
        self.births: dict[str, Birth] = {}
        """Who -> how the newest machine of that name was made."""
        self.written = 0
        """Steps ever appended."""

    def begin(self, who: str, machine: Machine[Any, Any, Any]) -> None:
        """Say that the steps of ``who`` are those of ``machine``, which has taken none yet."""
        self.births[who] = birth_of(who, machine)

    def append(self, now: Seconds, who: str, event: Any, commands: list[Any]) -> None:
        """Record one step; ``commands`` must not change afterwards."""
        self.written += 1
        self._steps.append(Step(now, who, event, commands))

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


Line = Birth | Step
_encode = msgspec.json.Encoder().encode
_step = msgspec.json.Decoder(Step)
_loose_step = msgspec.json.Decoder(Step, strict=False)
_birth = msgspec.json.Decoder(Birth)
_WITH_PLANS = (Leading, MakePlan, Planned, Save)


def to_line(line: Line) -> bytes:
    """One line of JSON, newline included."""
    if type(line) is Step and (type(line.event) in _WITH_PLANS or any(type(c) in _WITH_PLANS for c in line.commands)):
        # A plan's gap or throughput may be infinite, which JSON has no number for.
        return _encode(_spelt(msgspec.to_builtins(line))) + b"\n"
    return _encode(line) + b"\n"


def from_line(line: bytes) -> Line:
    """The inverse of `to_line`. Raises msgspec.ValidationError for what is neither a step nor a birth."""
    if line.startswith(b"{"):
        return _birth.decode(line)
    try:
        return _step.decode(line)
    except msgspec.ValidationError:
        return _loose_step.decode(line)


def _spelt(value: Any) -> Any:
    """With infinities as words, as a loose decoder reads them."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _spelt(each) for key, each in value.items()}
    return [_spelt(each) for each in value] if isinstance(value, list | tuple) else value


def to_lines(trace: Iterable[Line]) -> Iterator[bytes]:
    """Each birth and step as one line of JSON, newline included."""
    return map(to_line, trace)


def from_lines(lines: Iterable[bytes]) -> Iterator[Step]:
    """The steps among ``lines``. Raises msgspec.ValidationError for a line that is neither a step nor a birth."""
    return (line for line in map(from_line, lines) if type(line) is Step)


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
    return [step for step in trace if about(step.event, request) or any(about(c, request) for c in step.commands)]


def about(part: Any, request: RequestId) -> bool:
    """Whether an event or a command is about ``request``."""
    message = getattr(part, "message", part)
    keys = [*getattr(part, "keys", ()), *(result.key for result in getattr(part, "results", ()))]
    if (key := getattr(part, "key", None)) is not None:
        keys.append(key)
    return getattr(message, "request", None) == request or any(key.request == request for key in keys)
