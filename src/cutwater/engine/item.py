"""Item: one request in a stage worker, and what it leaves behind as its Mark."""

from collections.abc import Mapping
from typing import Any

from cutwater.engine.lives import Work
from cutwater.engine.vocabulary import Key, LinkId, Result
from cutwater.units import Seconds, StageId
from cutwater.wire.message import Infer, Mark


class Item:
    """What a worker knows of one request; changed only by `StageWorker`."""

    __slots__ = (
        "deadline",
        "infer",
        "key",
        "link",
        "nbytes",
        "next_link",
        "received",
        "result",
        "run",
        "shape",
        "state",
    )

    def __init__(self, key: Key, link: LinkId, infer: Infer, nbytes: int, now: Seconds) -> None:
        self.key = key
        self.link = link
        self.infer = infer
        self.nbytes = nbytes
        self.received = now
        self.deadline = now + infer.budget
        self.state = Work.QUEUED
        self.shape: tuple[Any, ...] | None = None
        """What must be equal to share a batch; None: it is computed alone."""
        self.run: tuple[Seconds, Seconds, int, Seconds] = (now, now, 1, 0.0)
        """Start and end of computing, the size of the batch, and processor time."""
        self.result: Result | None = None
        self.next_link: LinkId | None = None

    def mark(self, stage: StageId, result: Result, now: Seconds) -> Mark:
        """What ``stage`` did with it, if it is sent ``now``."""
        started, finished, batch, cpu = self.run
        sent = sum([spec.nbytes for spec in result.tensors])
        return Mark(
            stage, self.received, started, finished, now, batch, self.nbytes, sent, result.decode, result.encode, cpu
        )


def shape_of(infer: Infer, batch_axes: Mapping[str, int]) -> tuple[Any, ...]:
    """What two requests must have in common to share a batch: everything but the size along the batch axes."""
    return tuple(
        (
            spec.name,
            spec.dtype,
            *(None if axis == batch_axes.get(spec.name) else n for axis, n in enumerate(spec.shape)),
        )
        for spec in infer.tensors
    )
