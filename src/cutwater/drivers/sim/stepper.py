"""Stepper: tells a machine what happens, at the virtual time, and has its commands obeyed."""

from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from cutwater.drivers.sim.process import Process
from cutwater.engine.machine import Machine
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import Tick
from cutwater.units import Seconds

Hands = Mapping[type, Callable[[Any], None]]
"""Command type -> what obeys it."""
TICK = Tick()


class Stepper:
    """Steps one machine of a process. What obeys a command may tell the next event: it is handled after this one."""

    __slots__ = (
        "_alarm", "_clock", "_events", "_handle", "_hands", "_process", "_stepping", "_trace", "_wake_at", "_who",
        "event", "machine", "steps",
    )  # fmt: skip

    def __init__(
        self, machine: Machine[Any, Any, Any], hands: Hands, process: Process, who: str, trace: Trace | None = None
    ) -> None:
        self.machine = machine
        self._handle, self._wake_at = machine.handle, machine.wake_at
        self.steps = 0
        self.event: Any = None
        """What the commands that are being obeyed follow from."""
        self._hands = hands
        self._process = process
        self._clock = process.clock
        self._who = who
        self._trace = trace
        if trace is not None:
            trace.begin(who, machine)
        self._events: deque[Any] = deque()
        self._stepping = False
        self._alarm: Seconds = inf

    def tell(self, event: Any) -> None:
        """Handle ``event`` and obey what follows from it. Only while the process's loop is at work."""
        if self._stepping:
            self._events.append(event)
            return
        self._stepping = True
        now, hands, handle = self._clock.now, self._hands, self._handle
        while True:
            self.steps += 1
            self.event = event
            commands = handle(event, now)
            if self._trace is not None:
                self._trace.append(now, self._who, event, commands)
            for command in commands:
                hands[type(command)](command)
            if not self._events:
                break
            event = self._events.popleft()
        self._stepping = False
        at = self._wake_at()
        if at is not None and at < self._alarm:
            self._alarm = at
            self._clock.at(at if at > now else now, self._ring, at)

    def _ring(self, alarm: Seconds) -> None:
        if alarm == self._alarm and self._process.alive:
            self._process.loop.add(0.0, self._wake, None)

    def _wake(self, _: None) -> None:
        self._alarm = inf
        at = self.machine.wake_at()
        if at is None:
            return
        if at <= self._clock.now:
            self.tell(TICK)
            at = self.machine.wake_at()
            assert at is None or at > self._clock.now, f"{self._who} has had its Tick and wants another one at once"
        else:
            self._alarm = at
            self._clock.at(at, self._ring, at)
