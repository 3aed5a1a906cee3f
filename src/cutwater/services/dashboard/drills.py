"""Drills: a worker killed or stopped on purpose, from the page, to see the cluster take it.

Allowed only where the setting ``gateway.drills`` says so, and only for workers of this home: a signal goes to a process
that is a child of a node agent which was started in the gateway's own home and still runs (by the record of its pid
and birth), and which that node's own beat calls by that worker's name. Nothing that comes from a page is ever a pid.
"""

import asyncio
import logging
import signal
from collections.abc import Mapping

import psutil

from cutwater.errors import Forbidden, NotFound
from cutwater.services.asking import ClusterStatus
from cutwater.services.background import Record
from cutwater.services.home import Home
from cutwater.units import Seconds

HANG: Seconds = 15.0
"""How long a worker is stopped."""
KINDS = ("kill", "hang")

_log = logging.getLogger(__name__)


class Drills:
    """What may go wrong on purpose."""

    def __init__(self, home: Home, allowed: bool) -> None:
        self.allowed = allowed
        self._home = home
        self._stopped: dict[int, asyncio.TimerHandle] = {}

    def workers(self, status: ClusterStatus) -> dict[str, int]:
        """Worker -> its process, for those that a drill may touch."""
        if not self.allowed:
            return {}
        agents = self._home.alive()
        return {
            state.worker: state.pid
            for node in status.nodes
            if node.alive and node.beat is not None
            for state in node.beat.workers
            if state.pid is not None and _is_child(state.pid, node.announcement.node, agents)
        }

    def run(self, kind: str, worker: str, status: ClusterStatus) -> str:
        """Do it; says what was done. Raises Forbidden, NotFound."""
        if not self.allowed:
            raise Forbidden("drills are switched off; `cutwater up --gateway-drills on` allows them on this machine")
        if kind not in KINDS:
            raise NotFound(f"there is no drill {kind!r}; there are {', '.join(KINDS)}")
        pid = self.workers(status).get(worker)
        if pid is None:
            raise NotFound(f"{worker} is no worker that runs on this machine in the gateway's own home")
        _log.warning("a drill: %s %s, process %d", kind, worker, pid)
        if kind == "kill":
            _signal(pid, signal.SIGKILL)
            return f"{worker} was killed"
        if pid not in self._stopped:
            _signal(pid, signal.SIGSTOP)
            self._stopped[pid] = asyncio.get_running_loop().call_later(HANG, self._go_on, pid)
        return f"{worker} hangs for {HANG:g} s"

    def close(self) -> None:
        """Let everything go on."""
        for pid, handle in list(self._stopped.items()):
            handle.cancel()
            self._go_on(pid)

    def _go_on(self, pid: int) -> None:
        del self._stopped[pid]
        _signal(pid, signal.SIGCONT)


def _is_child(pid: int, node: str, agents: Mapping[str, Record]) -> bool:
    record = agents.get(node)
    try:
        return record is not None and psutil.Process(pid).ppid() == record.pid
    except psutil.Error:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        psutil.Process(pid).send_signal(number)
    except psutil.Error as error:
        _log.warning("%s to process %d: %s", number.name, pid, error)
