"""Live: tells a machine what happens, at the real time, and has its commands obeyed."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from cutwater.engine.machine import Machine
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import Tick
from cutwater.units import Seconds

Hands = Mapping[type, Callable[[Any], object]]
"""Command type -> what obeys it."""

clock = time.monotonic
"""The live driver's time: one clock for all processes of a machine, in seconds."""
_LEAST: Seconds = 1e-3
"""An alarm is set so far ahead at least."""
_log = logging.getLogger(__name__)


class Live:
    """Steps one machine. What obeys a command may tell the next event: it is handled when this one is done.

    A machine that raises, or whose command could not be obeyed, is in a state that nobody knows: it has broken, and is
    told nothing more. Whoever told it the event is not to blame and hears nothing of it; whoever made it does, once.
    """

    def __init__(
        self,
        machine: Machine[Any, Any, Any],
        hands: Hands,
        who: str,
        trace: Trace | None = None,
        *,
        on_broken: Callable[[Exception], None],
        on_step: Callable[[], None] | None = None,
    ) -> None:
        """``on_step`` is told whenever the machine may hold something else than before."""
        self.machine = machine
        self.broken = False
        self.closed = False
        self._on_broken = on_broken
        self._on_step = on_step
        self._hands = hands
        self._who = who
        self._trace = trace
        if trace is not None:
            trace.begin(who, machine)
        self._events: deque[Any] = deque()
        self._stepping = False
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")

    def tell(self, event: Any) -> None:
        """Handle ``event`` and obey what follows from it; nothing once this is closed."""
        if self.closed:
            return
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                event = self._events.popleft()
                now = clock()
                commands = self.machine.handle(event, now)
                if self._trace is not None:
                    self._record(now, event, commands)
                for command in commands:
                    self._hands[type(command)](command)
            self._arm()
            if self._on_step is not None:
                self._on_step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the machine cannot go on
            self._break(event, error)
        finally:
            self._stepping = False

    def close(self) -> None:
        """Tell the machine nothing more: it is over, whatever still happens around it."""
        self.closed = True
        self._events.clear()
        if self._alarm is not None:
            self._alarm.cancel()

    def _record(self, now: Seconds, event: Any, commands: list[Any]) -> None:
        assert self._trace is not None
        try:
            self._trace.append(now, self._who, event, commands)
        except OSError as error:
            _log.error("%s is recorded no more: %s", self._who, error)
            self._trace = None

    def _break(self, event: Any, error: Exception) -> None:
        self.broken = True
        self.close()
        _log.error("the machine %s broke when it was told %s", self._who, type(event).__name__, exc_info=error)
        self._on_broken(error)

    def _arm(self) -> None:
        """See that a Tick comes in time. An alarm that rings too early is cheaper than one reset for every event."""
        if self.closed:
            return
        at = self.machine.wake_at()
        if at is None or at >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        delay = at - clock()
        # The loop counts in milliseconds and may ring a fraction of one too early, again and again.
        self._alarm = self._loop.call_later(max(delay, _LEAST) if delay > 0.0 else 0.0, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, float("inf")
        due = self.machine.wake_at()
        if due is not None and due <= clock():
            self.tell(Tick())
        else:
            self._arm()
