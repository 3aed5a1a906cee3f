"""Requests that have ended, as a gateway tells of them."""

from cutwater.api.finished import Finished
from cutwater.units import StageId
from cutwater.wire.message import Mark


def ended(
    number: int = 1,
    *,
    model: str = "vit",
    began: float = 100.0,
    latency: float = 0.010,
    fault: str = "",
    stages: int = 2,
) -> Finished:
    """Asked at ``began``; each stage waits, unpacks, computes and packs for a millisecond each, after a hop of one."""
    trail = tuple(mark(k, began + 0.001 + 0.005 * k) for k in range(0 if fault else 2))
    return Finished(
        model=model,
        request=f"g-{number}",
        id="",
        client="test",
        door="http",
        at=1000.0,
        began=began,
        ended=began + latency,
        trail=trail,
        fault=fault,
        launched=began,
    )


def mark(stage: int, received: float) -> Mark:
    ms = 0.001
    return Mark(
        StageId(f"stage-{stage + 1}"),
        received=received,
        started=received + 2 * ms,
        finished=received + 3 * ms,
        sent=received + 4 * ms,
        batch=1,
        received_bytes=10,
        sent_bytes=20,
        decode=ms,
        encode=ms,
    )
