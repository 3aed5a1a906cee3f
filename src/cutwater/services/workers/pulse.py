"""Pulses: a worker's figures, written for whoever started it, when they change; and the end of one without pulse."""

import asyncio
import faulthandler
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from cutwater.drivers.live import clock
from cutwater.drivers.refusals import Refusals
from cutwater.engine.stage.figures import StageSnapshot
from cutwater.services.hardware import throttled
from cutwater.services.workers.setup import PULSE, Pulse
from cutwater.services.workers.words import say
from cutwater.units import Seconds

STANDSTILL: Seconds = 30.0
"""After how long without a turn of the event loop the process ends. Its peers have left it long before."""


class Pulses:
    """Says `Pulse` on a file descriptor, one line of JSON each, and nothing while nothing changes.

    If the event loop stands still, because something holds the interpreter and does not let go, the process ends with
    its threads' traces as its last words: that needs no interpreter.
    """

    def __init__(self, look: Callable[[], StageSnapshot], refusals: Refusals, descriptor: int) -> None:
        self._look = look
        self._refusals = refusals
        self._descriptor = descriptor
        self._last = Pulse()
        self._busy = 0.0
        self._waited = 0.0
        """As the stage counts it."""
        self._throttled = throttled()
        self._at = clock()
        os.set_blocking(descriptor, False)

    def start(self) -> None:
        """Begin, on the running event loop."""
        faulthandler.dump_traceback_later(STANDSTILL, exit=True)
        asyncio.get_running_loop().call_later(PULSE, self._beat)

    def _beat(self) -> None:
        found, now = self._look(), clock()
        pulse = Pulse(
            served=found.computed,
            failed=found.failed,
            queued=found.queued,
            busy=round(min((found.busy - self._busy) / (now - self._at), 1.0), 3),
            seconds=found.seconds,
            spent=round(found.busy, 6),
            waited=round(self._last.waited + self._crowded(found.waited), 6),
            memory=self._last.memory,
            refused=self._refusals.counts,
        )
        self._busy, self._at = found.busy, now
        if pulse != self._last:
            self._last = msgspec.structs.replace(pulse, memory=resident())
            say(self._descriptor, self._last)
        self.start()

    def _crowded(self, waited: Seconds) -> Seconds:
        """How long others had the cores since the last pulse.

        One whose control group has used up its share waits too, by the system's books; but nobody else is to blame.
        """
        waited, self._waited = waited - self._waited, waited
        before = self._throttled
        if waited:
            self._throttled = throttled()
        return 0.0 if self._throttled > before else waited


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
