"""Words between a worker and whoever started it, once it serves: one line of JSON each, written and read at once."""

import contextlib
import os
from collections.abc import Callable

import msgspec

from cutwater.services.workers.setup import Hearing, Saying

_hearing = msgspec.json.Decoder(Hearing)


def say(descriptor: int, words: Saying) -> None:
    """Write a line to a pipe that does not block.

    Nobody may read for a while, and then it is lost: a pulse is said again in other words, and who is not answered
    when it wants its turn asks again.
    """
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(descriptor, msgspec.json.encode(words) + b"\n")


class Ears:
    """Hears what comes on a pipe."""

    def __init__(self, descriptor: int, told: Callable[[Hearing], None], ended: Callable[[], None]) -> None:
        """``told`` is given each word; ``ended`` is called when nobody can say anything any more."""
        self._descriptor = descriptor
        self._told, self._ended = told, ended
        self._rest = b""

    def read(self) -> None:
        """There is something to read."""
        said = os.read(self._descriptor, 4096)
        if not said:
            self._ended()
            return
        *lines, self._rest = (self._rest + said).split(b"\n")
        for line in lines:
            self._told(_hearing.decode(line))
