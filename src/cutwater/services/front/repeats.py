"""Repeats: a request that is sent again under its id, with the same content, is computed once and answered twice."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from cutwater.api.backend import Answered, Ask
from cutwater.errors import DeadlineExceeded, WorkerLost
from cutwater.frameworks.base import Array
from cutwater.units import Seconds

KEPT: Seconds = 60.0
"""How long an answer is kept for whoever asks again."""
ROOM = 64 * 2**20
"""Bytes of answers that are kept; the oldest make room."""
EACH = 4096
"""Bytes an answer takes besides its tensors, about: its trail, its names, its place here."""
SMALL = 2**20
"""Bytes of feeds up to which the event loop itself looks whether they are the same: less than a millisecond."""


class Repeat(NamedTuple):
    """What makes two requests one."""

    model: str
    version: str
    """Of the model, such as its graph's hash: the same name may stand for another model a moment later."""
    client: str
    id: str
    content: bytes


class _Kept(NamedTuple):
    answered: Answered
    until: Seconds
    nbytes: int


class _Open:
    """One request that is under way, and how many wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[Answered]) -> None:
        task.add_done_callback(_retrieve)
        self.task = task
        self.waiters = 0


class Repeats:
    """Open requests with an id, and their answers for a while."""

    def __init__(self, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._open: dict[Repeat, _Open] = {}
        self._kept: OrderedDict[Repeat, _Kept] = OrderedDict()
        self._held = 0

    async def once(self, ask: Ask, compute: Callable[[Ask], Awaitable[Answered]], version: str = "") -> Answered:
        """The answer of ``compute``, or of the request this one repeats; an error is not kept.

        Whoever is cancelled waits no more; when nobody is left who waits, the request is withdrawn. Each waits as long
        as it has said itself; the error of the request it joined is its own only if that has not run out of a shorter
        time.

        Args:
            ask: the request.
            compute: answers it; is cancelled when nobody waits any more.
            version: of the model.

        Raises:
            DeadlineExceeded: the request it joined is not answered within its own time.
            CutwaterError: of ``compute``.
        """
        if not ask.id:
            return await compute(ask)
        began = ask.since or self._clock()
        repeat = Repeat(ask.model, version, ask.client, ask.id, await _content(ask))
        while True:
            self._forget()
            if (kept := self._kept.get(repeat)) is not None:
                return kept.answered
            found = self._open.get(repeat)
            if found is None or found.task.done():
                found = self._open[repeat] = _Open(asyncio.create_task(_run(compute, ask)))
                return await self._wait(repeat, found, None)
            left = None if ask.timeout is None else ask.timeout - (self._clock() - began)
            try:
                return await self._wait(repeat, found, left)
            except DeadlineExceeded:
                # If it was the time of the request it joined that ran out, this one has some left.
                now = self._clock()
                left = None if ask.timeout is None else ask.timeout - (now - began)
                if left is not None and left <= 0:
                    raise
                if left is None:  # the model's own time goes on counting from when it did
                    ask = ask._replace(since=began)
                else:
                    ask, began = ask._replace(timeout=left, since=now if ask.since else 0.0), now

    async def _wait(self, repeat: Repeat, found: _Open, limit: Seconds | None) -> Answered:
        """The answer of an open request, for one who waits. Raises DeadlineExceeded after ``limit``."""
        found.waiters += 1
        try:
            await asyncio.wait((found.task,), timeout=limit)
        finally:
            found.waiters -= 1
            if found.waiters == 0 or found.task.done():
                if self._open.get(repeat) is found:
                    del self._open[repeat]
                found.task.cancel()
        if not found.task.done():
            raise DeadlineExceeded(f"request {repeat.id[:40]!r} is under way, and not answered within {limit:.3g} s")
        if found.task.cancelled():
            raise WorkerLost("the request was withdrawn while it was under way; it may be sent again")
        answered = found.task.result()
        self._keep(repeat, answered)
        return answered

    def _keep(self, repeat: Repeat, answered: Answered) -> None:
        nbytes = EACH + _size(answered.outputs.values())
        if repeat in self._kept or nbytes > ROOM:
            return
        # Outputs are views of what they arrived in, which they would keep: memory shared with a worker, or a frame.
        outputs = {name: array.copy() for name, array in answered.outputs.items()}
        self._kept[repeat] = _Kept(answered._replace(outputs=outputs), self._clock() + KEPT, nbytes)
        self._held += nbytes
        self._forget()

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and (self._held > ROOM or next(iter(self._kept.values())).until <= now):
            _, gone = self._kept.popitem(last=False)
            self._held -= gone.nbytes


async def _run(compute: Callable[[Ask], Awaitable[Answered]], ask: Ask) -> Answered:
    return await compute(ask)


def _retrieve(task: asyncio.Task[Answered]) -> None:
    """Its error is for those who wait; if they have all gone, it is no news for the log."""
    if not task.cancelled():
        task.exception()


def _size(arrays: Iterable[Array]) -> int:
    """Bytes, those of texts included."""
    return sum(array.nbytes + sum(map(len, _texts(array))) for array in arrays)


def _texts(array: Array) -> list[bytes]:
    """The elements of an array of texts, whose own bytes are only their addresses; none of others."""
    found: list[bytes] = array.ravel().tolist() if array.dtype.hasobject else []
    return found


async def _content(ask: Ask) -> bytes:
    if _size(ask.feeds.values()) <= SMALL:
        return digest(ask)
    return await asyncio.to_thread(digest, ask)


def digest(ask: Ask) -> bytes:
    """Of names, types, shapes and bytes of all feeds."""
    found = sha256()
    for name, array in sorted(ask.feeds.items()):
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        if not array.dtype.hasobject:
            found.update(np.ascontiguousarray(array).data)
        for text in _texts(array):
            found.update(b"%d\0" % len(text))
            found.update(text)
    return found.digest()
