"""Process: an event loop that does one thing after the other, and a thread beside it that computes.

Each end of a link spends processor time on each frame. A process that is stopped (SIGSTOP) does nothing, while what
others send it waits; one that is dead never does anything again.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from cutwater.drivers.sim.clock import Call, Clock
from cutwater.drivers.sim.hosts import Host, Job
from cutwater.units import NodeId, Seconds


def _leave(leaving: list[tuple[Call, Any]]) -> None:
    for call, arg in leaving:
        call(arg)


LEAVE: Call = _leave


class Line:
    """Work of one thread, one item after the other."""

    __slots__ = ("_items", "_owner", "_start", "_stop", "busy", "cost", "job", "leaving", "threads")

    def __init__(self, owner: "Process", threads: int) -> None:
        self.threads = threads
        self._owner = owner
        self._start, self._stop = owner.host.start, owner.host.stop
        self._items: deque[tuple[Seconds, Call, Any]] = deque()
        """Seconds of work, and what to call when they are done."""
        self.leaving: list[tuple[Call, Any]] = []
        """Frames that were sent in one go leave in one go, before the line does anything else; once it has spent
        ``cost`` on them. Only what this line does may add to them."""
        self.cost: Seconds = 0.0
        self.job: Job | None = None
        """What it does now, unless that takes no time."""
        self.busy = False

    def add(self, seconds: Seconds, call: Call, arg: Any) -> None:
        """Do this after everything else."""
        if self.busy or not self._owner.running:
            self._items.append((seconds, call, arg))
        elif seconds > 0.0:
            self.busy = True
            self.job = self._start(seconds * self._owner.slowdown, call, arg, self)
        else:
            self.busy = True
            call(arg)
            self.go_on()

    def go_on(self) -> None:
        """Until something takes time, or nothing is left."""
        owner, items = self._owner, self._items
        while (self.leaving or items) and owner.running:
            self.busy = True
            if self.leaving:
                seconds, self.cost = self.cost, 0.0
                if len(self.leaving) == 1:
                    call, arg = self.leaving.pop()
                else:
                    call, arg, self.leaving = LEAVE, self.leaving, []
            else:
                seconds, call, arg = items.popleft()
            if seconds > 0.0:
                self.job = self._start(seconds * owner.slowdown, call, arg, self)
                return
            call(arg)
        self.busy = False

    def pause(self) -> None:
        """Stop in the middle of it."""
        job = self.job
        if job is not None:
            self._items.appendleft((self._stop(job) / self._owner.slowdown, job[2], job[3]))
            self.job = None
            self.busy = False

    def resume(self) -> None:
        """Go on."""
        if not self.busy:
            self.go_on()


class Process:
    """A process of a node."""

    def __init__(self, clock: Clock, host: Host, node: NodeId, name: str, *, pid: int = 0, threads: int = 1) -> None:
        self.clock = clock
        self.pid = pid
        self.host = host
        self.node = node
        self.name = name
        self.slowdown = 1.0
        """How many times longer its work takes than it should."""
        self.alive = True
        self.running = True
        """It is alive, and not stopped."""
        self.loop = Line(self, 1)
        self.computing = Line(self, threads)
        self.freed: Seconds = 0.0
        """When it was last done with a batch, whichever of its workers had it."""
        self.on_death: list[Callable[[], None]] = []
        """Told when it dies, whatever of."""

    def stop(self) -> None:
        """SIGSTOP."""
        if self.running:
            self.loop.pause()
            self.computing.pause()
            self.running = False

    def resume(self) -> None:
        """SIGCONT."""
        if self.alive and not self.running:
            self.running = True
            self.loop.resume()
            self.computing.resume()

    def die(self) -> None:
        """SIGKILL, or an end of its own accord."""
        if self.alive:
            self.stop()
            self.alive = False
            for told in self.on_death:
                told()
