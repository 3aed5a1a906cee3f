"""Replay: makes the machines of a trace again, tells them what they were told, and compares what they ask for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from cutwater.engine.coordinator.coordinator import Coordinator
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.keeper import Keeper, KeeperOptions
from cutwater.engine.machine import Machine
from cutwater.engine.stage.stage import StageOptions, StageWorker
from cutwater.engine.trace import Birth, Line, Step
from cutwater.engine.turns import Turns, TurnsOptions
from cutwater.errors import BadFile
from cutwater.units import NodeId, StageId

AnyMachine = Machine[Any, Any, Any]
MADE_BY: Mapping[str, Callable[[Birth], AnyMachine]] = {
    "Gateway": lambda birth: Gateway(msgspec.convert(birth.options, GatewayOptions)),
    "StageWorker": lambda birth: StageWorker(StageId(birth.name), msgspec.convert(birth.options, StageOptions)),
    "Coordinator": lambda birth: Coordinator(msgspec.convert(birth.options, CoordinatorOptions)),
    "Keeper": lambda birth: Keeper(NodeId(birth.name), msgspec.convert(birth.options, KeeperOptions)),
    "Turns": lambda birth: Turns(NodeId(birth.name), msgspec.convert(birth.options, TurnsOptions)),
}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replay went another way."""

    number: int
    """Of the step, from 1."""
    step: Step
    got: list[Any]
    """What the machine asked for this time."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a replay."""

    steps: int
    machines: int
    difference: Difference | None = None
    """The first one; None: every machine asked for the same."""


def make(birth: Birth) -> AnyMachine:
    """The machine as it was made. Raises BadFile."""
    if birth.kind not in MADE_BY:
        raise BadFile(f"the trace has a machine of the kind {birth.kind!r}; known are {', '.join(MADE_BY)}")
    if not birth.whole:
        raise BadFile(
            f"the trace of {birth.who} does not begin at its beginning: its older file was dropped, because it had "
            "reached its limit; it can be told (`cutwater story`), not replayed"
        )
    try:
        return MADE_BY[birth.kind](birth)
    except msgspec.ValidationError as error:
        raise BadFile(f"the trace of {birth.who} was written with other options than are known: {error}") from error


def replay(lines: Iterable[Line]) -> Replayed:
    """Tell each machine again what it was told. Raises BadFile for steps of a machine that no line describes."""
    machines: dict[str, AnyMachine] = {}
    made = steps = 0
    for line in lines:
        if isinstance(line, Birth):
            machines[line.who] = make(line)
            made += 1
            continue
        steps += 1
        machine = machines.get(line.who)
        if machine is None:
            raise BadFile(f"step {steps} is of {line.who}, and no line before it says how that was made")
        got = machine.handle(line.event, line.now)
        if got != line.commands:
            return Replayed(steps=steps, machines=made, difference=Difference(number=steps, step=line, got=got))
    return Replayed(steps=steps, machines=made)
