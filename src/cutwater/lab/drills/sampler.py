"""Sampler: what the processes of a running cluster hold, looked up now and then."""

import contextlib

import psutil

from cutwater.lab.drills.scene import Scene
from cutwater.lab.soak import Sample
from cutwater.services.cluster.cluster import GATEWAY
from cutwater.units import Seconds


class Sampler:
    """Keeps its samples."""

    def __init__(self, every: Seconds) -> None:
        self.samples: list[Sample] = []
        self._every = every
        self._next: Seconds = 0.0
        self._known: dict[int, psutil.Process] = {}

    def look(self, now: Seconds, scene: Scene) -> None:
        """Take samples if it is time."""
        if now < self._next:
            return
        self._next = now + self._every
        tally = scene.watch.tally
        for name, record in scene.home.alive().items():
            waiting = tally.queued if name == GATEWAY and tally is not None else 0
            self._take(now, name, record.pid, waiting)
        for member in scene.watch.serving():
            if member.state.pid is not None:
                self._take(now, f"worker {member.state.worker}", member.state.pid, member.state.queued)

    def _take(self, now: Seconds, name: str, pid: int, queue: int) -> None:
        with contextlib.suppress(psutil.Error):  # it has just ended, and will not be there from beginning to end
            process = self._known.get(pid) or psutil.Process(pid)
            self._known[pid] = process
            with process.oneshot():
                facts = process.memory_info()
                own = facts.rss - getattr(facts, "shared", 0)
                self.samples.append(Sample(now, name, own, process.num_fds(), process.num_threads(), queue))
