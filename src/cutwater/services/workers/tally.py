"""Tally: what each stage has done so far, added up from the marks its answers bring back."""

import msgspec

from cutwater.engine.gateway.figures import GatewaySnapshot
from cutwater.units import Seconds, StageId
from cutwater.wire.message import Mark


class StageTally(msgspec.Struct, kw_only=True):
    """One stage, all replicas together, since the start; only requests that were answered count."""

    stage: StageId
    requests: int = 0
    busy: Seconds = 0.0
    """Seconds spent computing."""
    wait: Seconds = 0.0
    """Seconds requests waited between arriving and being computed."""
    hold: Seconds = 0.0
    """Seconds computed requests waited for the next hop, packing included."""
    decode: Seconds = 0.0
    encode: Seconds = 0.0
    received_bytes: int = 0
    sent_bytes: int = 0

    def add(self, mark: Mark) -> None:
        """One more request."""
        self.requests += 1
        self.busy += (mark.finished - mark.started) / mark.batch
        self.wait += mark.started - mark.received
        self.hold += mark.sent - mark.finished
        self.decode += mark.decode
        self.encode += mark.encode
        self.received_bytes += mark.received_bytes
        self.sent_bytes += mark.sent_bytes

    def queue(self, elapsed: Seconds) -> float:
        """How many requests waited before the stage on average (Little's law: arrival rate times mean wait)."""
        return self.wait / elapsed if elapsed > 0 else 0.0


class PipelineSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A running pipeline in figures."""

    elapsed: Seconds
    """Since it was ready."""
    gateway: GatewaySnapshot
    stages: tuple[StageTally, ...]
