"""What is asked of a forecaster, and what it answers."""

import msgspec

from cutwater.engine.control import MakePlan
from cutwater.engine.fault import Fault
from cutwater.units import NodeId, Seconds


class CutPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One cut of the chart: what two stages parted there would do, on the nodes that suit them best."""

    name: str
    """As `find_cut` reads it."""
    label: str
    share: float
    """Of the FLOPs before it, 0 to 1."""
    nbytes: int
    """Of the tensors that cross."""
    tensors: int
    throughput: float
    latency: Seconds
    places: tuple[NodeId, NodeId]
    """With which the throughput is had."""


class CutChart(msgspec.Struct, frozen=True, kw_only=True):
    """The cuts of a model, from the input to the output."""

    points: tuple[CutPoint, ...]
    flops: int
    input_bytes: int
    output_bytes: int
    nodes: tuple[NodeId, ...]
    """That may run stages."""


class StageForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a forecast."""

    begin: str
    end: str
    node: NodeId
    share: float
    """Of the FLOPs before its end."""
    compute: Seconds
    transfer: Seconds
    """Receiving, sending, decoding, encoding."""
    memory: int


class HopForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One hop of a forecast, into the stage of the same index; the last one leads back."""

    codec: str
    nbytes: int
    seconds: Seconds


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a choice would do."""

    throughput: float
    latency: Seconds
    bottleneck: str
    """In words."""
    stages: tuple[StageForecast, ...]
    hops: tuple[HopForecast, ...]
    best_throughput: float
    """Of the planner's own plan for the same objective."""
    best_latency: Seconds
    best_cuts: tuple[str, ...]
    best_places: tuple[NodeId, ...]


class AskChart(msgspec.Struct, frozen=True, tag=True):
    """Draw the chart of cuts."""

    command: MakePlan


class AskForecast(msgspec.Struct, frozen=True, tag=True):
    """Say what the command's cuts and places would do."""

    command: MakePlan


class Question(msgspec.Struct, frozen=True):
    """What goes to the forecaster."""

    asked: AskChart | AskForecast


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to either."""

    chart: CutChart | None = None
    forecast: Forecast | None = None
    fault: Fault | None = None
