"""Item: one request in a stage worker, which others it may be computed with, and what it leaves behind as its Mark."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from cutwater.engine.lives import Work
from cutwater.engine.stage.batching import Batching
from cutwater.engine.vocabulary import Key, LinkId, Result
from cutwater.units import Seconds, StageId
from cutwater.wire.message import Infer, Mark

_QUEUED = Work.QUEUED  # looking up a member of an enumeration takes longer than the rest of a step


class Item:
    """What a worker knows of one request; changed only by `StageWorker` and its `Stock`."""

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
        self.state = _QUEUED
        self.shape: tuple[Any, ...] | None = None
        """What must be equal to share a batch; None: it is computed alone."""
        self.run: tuple[Seconds, Seconds, int, Seconds] = (now, now, 1, 0.0)
        """Start and end of computing, the size of the batch, and processor time."""
        self.result: Result | None = None
        self.next_link: LinkId | None = None

    def mark(self, stage: StageId, result: Result, now: Seconds) -> Mark:
        """What ``stage`` did with it, if it is sent ``now``."""
        started, finished, batch, cpu = self.run
        sent = 0
        for spec in result.tensors:
            sent += spec.nbytes
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


def pick(queue: deque[Item], batching: Batching, now: Seconds) -> tuple[Item, ...]:
    """Take the next batch out of ``queue``, whose first has a shape; none, if it should wait for company."""
    head = queue[0]
    batch = tuple([item for item in queue if item.shape == head.shape][: batching.limit])
    if now < batching.due_at(len(batch), head.received):
        return ()
    if len(batch) == 1:
        queue.popleft()
    else:
        picked = {item.key for item in batch}
        rest = [item for item in queue if item.key not in picked]
        queue.clear()
        queue.extend(rest)
    return batch
