"""SimNode: a node's agent in virtual time: obeys its `Keeper` and its `Turns`, has workers as children, and beats."""

from collections.abc import Callable
from typing import Protocol

from cutwater.drivers.sim.fabric import SimFabric
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Hands, Stepper
from cutwater.drivers.sim.workers import SimWorker
from cutwater.engine.control import Assigned, End, Ended, Fetch, Fetched, Report, Start, Started
from cutwater.engine.facts.nodes import BEAT, Announcement, Assignment, NodeBeat, WorkerSpec, WorkerState
from cutwater.engine.fault import Fault
from cutwater.engine.keeper import Keeper
from cutwater.engine.trace import Trace
from cutwater.engine.turns import Left, Said, Say, Turns, TurnsOptions
from cutwater.engine.vocabulary import GiveBack, Want
from cutwater.units import Seconds, WorkerId

LOOKING: Seconds = 1e-3
"""What it takes to see that a blob is here, and whole."""
WORD: Seconds = 20e-6
"""What it takes to hear a word about turns."""
MEMORY_OF_A_PROCESS = 60 * 2**20
"""Bytes of a worker before it loads a stage."""


class Costs(Protocol):
    """What bringing workers up takes."""

    def fetching(self, blob: str) -> Seconds:
        """Seconds to have a blob here."""
        ...

    def loading(self, spec: WorkerSpec) -> Seconds:
        """Seconds from starting a worker until it serves."""
        ...


Spawn = Callable[[WorkerSpec, Process], SimWorker]
"""Make the worker that ``spec`` describes, as a child of this agent."""


class _Child:
    """A worker, with what the last beat said of it."""

    def __init__(self, worker: SimWorker, spec: WorkerSpec) -> None:
        self.worker = worker
        self.spec = spec
        self.serving = False
        self.busy: Seconds = 0.0
        self.seconds: Seconds = 0.0
        self.served = 0

    def figures(self, elapsed: Seconds) -> tuple[int, float, Seconds]:
        """Requests served, share of ``elapsed`` spent on them, and seconds each took; since the last call."""
        worker = self.worker
        spent, served = worker.busy - self.busy, worker.served - self.served
        self.busy, self.served = worker.busy, worker.served
        if served:
            self.seconds = spent / served
        return worker.served, min(spent / elapsed, 1.0) if elapsed else 0.0, self.seconds


class SimNode:
    """One agent, from its start to its end; a node that comes back has another one."""

    def __init__(
        self,
        process: Process,
        announcement: Announcement,
        fabric: SimFabric,
        spawn: Spawn,
        costs: Costs,
        cache: set[str],
        *,
        watch: Callable[[Process, Stepper], None],
        trace: Trace | None = None,
    ) -> None:
        """It announces itself at once. ``cache``: blobs that are here; it outlives the agent."""
        self.process = process
        self.announcement = announcement
        self.children: dict[WorkerId, _Child] = {}
        self._fabric = fabric
        self._spawn = spawn
        self._costs = costs
        self._cache = cache
        self._clock = process.clock
        self._beaten: Seconds = process.clock.now
        self._reporting = False
        hands: Hands = {Fetch: self._fetch, Start: self._start, End: self._end, Report: self._report}
        self.keeper = Keeper(announcement.node)
        self.stepper = Stepper(self.keeper, hands, process, process.name, trace)
        watch(process, self.stepper)
        turns = Turns(announcement.node, TurnsOptions(places=max(1, announcement.hardware.cores)))
        self._turns = Stepper(turns, {Say: self._say}, process, f"{process.name}/turns", trace)
        watch(process, self._turns)
        process.on_death.append(self._orphan)
        fabric.put(process, f"node.{announcement.node}", announcement)
        fabric.watch(process, f"assign.{announcement.node}", self._assigned)
        self._clock.after(0.0, self._wake)

    def _assigned(self, assignment: Assignment) -> None:
        self.stepper.tell(Assigned(assignment))

    def _orphan(self) -> None:
        """Workers end with the agent that started them."""
        for child in list(self.children.values()):
            child.worker.process.die()

    # Hands

    def _fetch(self, command: Fetch) -> None:
        here = command.blob in self._cache
        self._later(LOOKING if here else self._costs.fetching(command.blob), self._fetched, command.blob)

    def _fetched(self, blob: str) -> None:
        fault = None
        if blob in self._cache or self._fabric.reaches(self.process):
            self._cache.add(blob)
        else:
            fault = Fault("FabricLost", f"the fabric is away, and {blob} not whole", self.process.name, True)
        self.stepper.tell(Fetched(blob, fault))

    def _start(self, command: Start) -> None:
        child = _Child(self._spawn(command.spec, self.process), command.spec)
        name = command.spec.worker
        self.children[name] = child
        process = child.worker.process
        process.on_death.append(lambda: self._died(name, child))
        child.worker.on_stop = lambda: None
        child.worker.on_word = lambda word: self._hear(name, word)
        # Loading is the worker's own work: a stopped or slow one is late.
        process.computing.add(self._costs.loading(command.spec), self._loaded, (name, child))

    def _loaded(self, what: tuple[WorkerId, _Child]) -> None:
        name, child = what
        addresses = self._addresses(child)
        for address in addresses:
            child.worker.listen(address)
        child.serving = True
        memory = MEMORY_OF_A_PROCESS + child.spec.nbytes
        started = Started(worker=name, addresses=addresses, pid=child.worker.process.pid, memory=memory)
        if self.children.get(name) is child:
            self.process.loop.add(0.0, self.stepper.tell, started)

    def _addresses(self, child: _Child) -> tuple[str, ...]:
        name = child.worker.process.name
        return (f"unix:/{self.process.host.name}/{name}", f"tcp:{self.announcement.node}:{name}")

    def _died(self, name: WorkerId, child: _Child) -> None:
        if self.children.get(name) is child:
            del self.children[name]
            if self.process.alive:
                fault = Fault("WorkerLost", f"the worker {name} ended", self.process.name, True)
                self.process.loop.add(0.0, self._turns.tell, Left(name))
                self.process.loop.add(0.0, self.stepper.tell, Ended(name, fault))

    def _end(self, command: End) -> None:
        child = self.children.get(command.worker)
        if child is None:
            return
        if child.serving and command.grace > 0.0:
            child.worker.drain()
            self._later(command.grace, self._kill, child)
        else:
            child.worker.process.die()

    def _kill(self, child: _Child) -> None:
        child.worker.process.die()

    # Turns

    def _hear(self, worker: WorkerId, word: Want | GiveBack) -> None:
        self.process.loop.add(WORD, self._turns.tell, Said(worker, word))

    def _say(self, command: Say) -> None:
        child = self.children.get(command.worker)
        if child is not None:
            worker = child.worker
            worker.process.loop.add(WORD, worker.stepper.tell, command.word)

    def _later(self, seconds: Seconds, call: Callable[..., None], arg: object) -> None:
        self._clock.after(seconds, lambda _: self.process.loop.add(0.0, call, arg))

    # Beats

    def _wake(self, _: None) -> None:
        if self.process.alive:
            self.process.loop.add(0.0, self._beat_and_wait, None)

    def _beat_and_wait(self, _: None) -> None:
        self._beat()
        self._clock.after(BEAT, self._wake)

    def _report(self, command: Report) -> None:
        if not self._reporting:
            self._reporting = True
            self.process.loop.add(0.0, self._reported, None)

    def _reported(self, _: None) -> None:
        self._reporting = False
        self._beat()

    def _beat(self) -> None:
        now = self._clock.now
        elapsed, self._beaten = now - self._beaten, now
        workers = tuple(self._state(state, elapsed) for state in self.keeper.snapshot().workers)
        beat = NodeBeat(
            node=self.announcement.node,
            incarnation=self.announcement.incarnation,
            cpu=0.0,
            memory=sum(state.memory for state in workers),
            workers=workers,
        )
        self._fabric.publish(self.process, "beat.node", beat)

    def _state(self, state: WorkerState, elapsed: Seconds) -> WorkerState:
        """What the keeper says of a worker, with what was seen of it."""
        child = self.children.get(state.worker)
        if child is None:
            return state
        served, busy, seconds = child.figures(elapsed)
        return WorkerState(
            worker=state.worker,
            phase=state.phase,
            addresses=state.addresses,
            pid=state.pid,
            memory=state.memory,
            restarts=state.restarts,
            served=served,
            busy=busy,
            seconds=seconds,
            spent=child.worker.busy,
            fault=state.fault,
        )
