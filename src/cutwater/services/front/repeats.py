"""Repeats: a request that is sent again under its id, with the same content, is computed once and answered twice."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from cutwater.api.backend import Answered, Ask
from cutwater.units import Seconds

KEPT: Seconds = 60.0
"""How long an answer is kept for whoever asks again."""
ROOM = 64 * 2**20
"""Bytes of answers that are kept; the oldest make room."""


class Repeat(NamedTuple):
    """What makes two requests one."""

    model: str
    client: str
    id: str
    content: bytes


class _Kept(NamedTuple):
    answered: Answered
    until: Seconds
    nbytes: int


class Repeats:
    """Open requests with an id, and their answers for a while."""

    def __init__(self, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._open: dict[Repeat, tuple[asyncio.Task[Answered], int]] = {}
        self._kept: OrderedDict[Repeat, _Kept] = OrderedDict()
        self._held = 0

    async def once(self, ask: Ask, compute: Callable[[Ask], Awaitable[Answered]]) -> Answered:
        """The answer of ``compute``, or of the request this one repeats; an error is not kept.

        Whoever is cancelled waits no more; when nobody is left who waits, the request is withdrawn.
        """
        if not ask.id:
            return await compute(ask)
        repeat = Repeat(ask.model, ask.client, ask.id, digest(ask))
        self._forget()
        if (kept := self._kept.get(repeat)) is not None:
            return kept.answered
        task, waiters = self._open.get(repeat) or (asyncio.ensure_future(_run(compute, ask)), 0)
        self._open[repeat] = task, waiters + 1
        try:
            answered = await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._open.get(repeat, (None, 0))[1] == 1:
                task.cancel()
            raise
        else:
            self._keep(repeat, answered)
            return answered
        finally:
            self._leave(repeat)

    def _leave(self, repeat: Repeat) -> None:
        task, waiters = self._open[repeat]
        if waiters == 1:
            del self._open[repeat]
        else:
            self._open[repeat] = task, waiters - 1

    def _keep(self, repeat: Repeat, answered: Answered) -> None:
        nbytes = sum(array.nbytes for array in answered.outputs.values())
        if repeat in self._kept or nbytes > ROOM:
            return
        self._kept[repeat] = _Kept(answered, self._clock() + KEPT, nbytes)
        self._held += nbytes
        self._forget()

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and (self._held > ROOM or next(iter(self._kept.values())).until <= now):
            _, gone = self._kept.popitem(last=False)
            self._held -= gone.nbytes


async def _run(compute: Callable[[Ask], Awaitable[Answered]], ask: Ask) -> Answered:
    return await compute(ask)


def digest(ask: Ask) -> bytes:
    """Of names, types, shapes and bytes of all feeds."""
    found = sha256()
    for name, array in sorted(ask.feeds.items()):
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.digest()
