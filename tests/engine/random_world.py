"""A cluster in virtual time with faults by a seed: real Coordinators and Keepers, and a store that may lose."""

from random import Random

from cluster_world import announcement, model, plan_in_turn

from cutwater.engine.control import (
    Announced,
    Assign,
    Assigned,
    Beaten,
    CoordinatorEvent,
    DeployAsked,
    Direct,
    DrainAsked,
    End,
    Ended,
    Erase,
    Fetch,
    Fetched,
    GatewayBeaten,
    KeeperCommand,
    KeeperEvent,
    Leading,
    MakePlan,
    Planned,
    Report,
    Save,
    Start,
    Started,
    UndeployAsked,
)
from cutwater.engine.coordinator.coordinator import Coordinator
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploymentRecord, DeploySpec, EpochPhase, Scaling
from cutwater.engine.facts.gateways import EpochTable, GatewayBeat, ModelTally, RouteTable
from cutwater.engine.facts.nodes import Announcement, Assignment, NodeBeat, Phase
from cutwater.engine.fault import Fault
from cutwater.engine.keeper import Keeper, KeeperOptions
from cutwater.engine.vocabulary import Tick
from cutwater.units import GatewayId, NodeId, WorkerId

STEP = 0.25
MODELS = ("m", "n")
BRISK = CoordinatorOptions(
    start_timeout=15.0, probe_timeout=5.0, drain_timeout=6.0, plan_timeout=4.0, unfit_for=6.0, retry_limit=4.0,
    interval=6.0, consider=2.0, trial=4.0, avoid=10.0, park_after=2.0, survey_timeout=2.0,
    scale_hold=8.0, scale_hold_growth=2.0, scale_takes=2.0, scale_again=2.0,
)  # fmt: skip


class Agent:
    """A node: its keeper, and the processes it has started."""

    def __init__(self, name: str) -> None:
        self.name = NodeId(name)
        self.incarnation = 0
        self.up = True
        self.cut_off_until = 0.0
        self.restart()

    def restart(self) -> None:
        self.incarnation += 1
        self.keeper = Keeper(self.name, KeeperOptions(backoff_limit=1.0))
        self.up = True
        self.processes: dict[WorkerId, str] = {}
        """Worker -> token, of those that serve."""
        self.due: list[tuple[float, KeeperEvent]] = []

    def announcement(self) -> Announcement:
        return announcement(self.name, str(self.incarnation), memory=6 * 2**30)


class Entry:
    """A gateway: it uses what its tables say, and probes what they ask for."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.tables: dict[str, RouteTable] = {}
        self.probed: dict[str, dict[int, str]] = {}
        self.flying: dict[str, dict[int, float]] = {}
        """Model -> epoch -> until when something is under way there."""


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.term = 0
        self.agents = [Agent(name) for name in ("a", "b", "c", "d")]
        self.entry = Entry(1)
        self.records: dict[str, DeploymentRecord] = {}
        self.assignments: dict[NodeId, Assignment] = {}
        self.tables: dict[str, RouteTable] = {}
        self.announcements = {agent.name: agent.announcement() for agent in self.agents}
        self.draining: set[NodeId] = set()
        self.plans: list[tuple[float, int, Planned]] = []
        self.deployed: set[str] = set()
        self.rates = dict.fromkeys(MODELS, 0.0)
        """Requests per second."""
        self.asked = dict.fromkeys(MODELS, 0.0)
        self.stormy = True
        self.lead()

    # What acts

    def lead(self) -> None:
        """A new coordinator takes over, with what the last one saved."""
        self.term += 1
        self.plans.clear()
        self.coordinator = Coordinator(BRISK)
        self.tell(
            Leading(
                term=self.term,
                secret=f"secret {self.term}",
                models=tuple(map(model, MODELS)),
                deployments=tuple(self.records.values()),
                nodes=tuple(self.announcements.values()),
                draining=tuple(sorted(self.draining)),
            )
        )

    def tell(self, event: CoordinatorEvent) -> None:
        commands = self.coordinator.handle(event, self.now)
        self.coordinator.validate()
        for command in commands:
            match command:
                case Save(record):
                    self.records[record.spec.model] = record
                case Erase(name):
                    self.records.pop(name, None)
                case Assign(assignment) if not self.chance(0.1):
                    self.assignments[assignment.node] = assignment
                case Direct(_, table) if not self.chance(0.1):
                    self.tables[table.model] = table
                case MakePlan():
                    self.plans.append((self.now + self.random.choice((0.0, 0.5)), self.term, plan_in_turn(command)))
        wake = self.coordinator.wake_at()
        assert wake is None or wake > self.now

    def chance(self, share: float) -> bool:
        return self.stormy and self.random.random() < share

    def step(self) -> None:
        self.now += STEP
        for agent in self.agents:
            if agent.up:
                self.live(agent)
        self.serve()
        due, self.plans = [p for p in self.plans if p[0] <= self.now], [p for p in self.plans if p[0] > self.now]
        for _, term, planned in due:
            if term == self.term:
                self.tell(planned)
        self.tell(Tick())

    def live(self, agent: Agent) -> None:
        """One step of a node."""
        due, agent.due = [d for d in agent.due if d[0] <= self.now], [d for d in agent.due if d[0] > self.now]
        for _, event in due:
            self.keep(agent, event)
        self.keep(agent, Tick())
        if self.now < agent.cut_off_until:
            return
        if agent.name in self.assignments:
            self.keep(agent, Assigned(self.assignments[agent.name]))
        said = agent.announcement()
        if self.announcements.get(agent.name) != said:
            self.announcements[agent.name] = said
            self.tell(Announced(said))
        if not self.chance(0.2):
            workers = agent.keeper.snapshot().workers
            self.tell(
                Beaten(NodeBeat(node=agent.name, incarnation=said.incarnation, cpu=0.0, memory=0, workers=workers))
            )

    def keep(self, agent: Agent, event: KeeperEvent) -> None:
        commands = agent.keeper.handle(event, self.now)
        agent.keeper.validate()
        for command in commands:
            self.obey(agent, command)

    def obey(self, agent: Agent, command: KeeperCommand) -> None:
        soon = self.now + self.random.choice((STEP, 2 * STEP))
        match command:
            case Fetch(blob):
                fault = Fault("BadBlob", "there is none", "node") if self.chance(0.05) else None
                agent.due.append((soon, Fetched(blob, fault)))
            case Start(spec):
                if self.chance(0.15):
                    agent.due.append((soon, Ended(spec.worker, Fault("WorkerLost", "ended at load", "node"))))
                else:
                    agent.processes[spec.worker] = spec.token
                    where = (f"unix:/{agent.name}/{spec.worker}", f"tcp:{agent.name}:{spec.worker}")
                    agent.due.append((soon, Started(worker=spec.worker, addresses=where, pid=1, memory=1)))
            case End(worker, _):
                agent.due = [d for d in agent.due if getattr(d[1], "worker", "") != worker]
                agent.processes.pop(worker, None)
                agent.due.append((soon, Ended(worker, Fault("WorkerLost", "ended as asked", "node"))))
            case Report():
                pass

    def serve(self) -> None:
        """One step of the gateway."""
        entry = self.entry
        for name, table in self.tables.items():
            before = entry.tables.get(name)
            if (
                before is not None
                and before.live is not None
                and before.live.epoch != (table.live and table.live.epoch)
            ):
                entry.flying.setdefault(name, {})[before.live.epoch] = self.now + self.random.choice((0.0, 1.0))
            entry.tables[name] = table
            if table.candidate is not None:
                entry.probed.setdefault(name, {})[table.candidate.epoch] = self.probe(table.candidate)
        tallies: list[ModelTally] = []
        for name, table in entry.tables.items():
            flying = {e: 1 for e, until in entry.flying.get(name, {}).items() if until > self.now}
            used = table.live.epoch if table.live is not None else 0
            probed = dict(entry.probed.get(name, {}))
            queued = 0 if table.live is not None or table.removed else 1
            self.asked[name] += self.rates[name] * STEP
            tally = ModelTally(
                model=name, epoch=used, mark=table.mark, probed=probed, flying=flying, queued=queued,
                accepted=int(self.asked[name]),
            )  # fmt: skip
            tallies.append(tally)
        if not self.chance(0.2):
            self.tell(
                GatewayBeaten(
                    GatewayBeat(
                        gateway=GatewayId("g"),
                        incarnation=str(entry.incarnation),
                        node=NodeId("a"),
                        host="a",
                        clients="unix:/g",
                        models=tuple(tallies),
                    )
                )
            )

    def probe(self, table: EpochTable) -> str:
        """Whether each chain has a way, over workers that serve and know the token."""
        for route in table.routes:
            for hop in route.hops:
                worker = WorkerId(hop.address.replace("/", ":").split(":")[-1])
                if not any(agent.up and agent.processes.get(worker) == table.token for agent in self.agents):
                    return f"{hop.address} does not answer"
        return "" if {route.chain for route in table.routes} == set(table.numbered) else "no way through"

    # What goes wrong, and what people want

    def trouble(self) -> None:
        """One random thing."""
        agent = self.random.choice(self.agents)
        name = self.random.choice(MODELS)
        self.rates[name] = self.random.choice((0.0, 50.0, 300.0))
        match self.random.randrange(9):
            case 0:
                agent.up = False
                agent.processes.clear()
            case 1 | 2 if not agent.up:
                agent.restart()
            case 3:
                agent.cut_off_until = self.now + self.random.choice((1.0, 2.0, 6.0))
            case 4 if agent.up and agent.processes:
                worker = self.random.choice(sorted(agent.processes))
                del agent.processes[worker]
                agent.due = [d for d in agent.due if getattr(d[1], "worker", "") != worker]
                agent.due.append((self.now, Ended(worker, Fault("WorkerLost", "killed", "node"))))
            case 5:
                self.entry = Entry(self.entry.incarnation + 1)
            case 6:
                self.lead()
            case 7:
                if self.chance(0.7):
                    self.deployed.add(name)
                    stages, scaling = (
                        self.random.choice((None, 2)),
                        self.random.choice((None, Scaling(least=2, most=3))),
                    )
                    self.tell(DeployAsked(DeploySpec(model=name, stages=stages, scaling=scaling)))
                else:
                    self.deployed.discard(name)
                    self.tell(UndeployAsked(name))
            case 8:
                on = agent.name not in self.draining
                (self.draining.add if on else self.draining.discard)(agent.name)
                self.tell(DrainAsked(agent.name, on))

    def calm_down(self) -> None:
        """Everything that is broken is mended, and breaks no more."""
        self.stormy = False
        self.rates = dict.fromkeys(MODELS, 0.0)
        for agent in self.agents:
            agent.cut_off_until = 0.0
            if not agent.up:
                agent.restart()
            if agent.name in self.draining:
                self.draining.discard(agent.name)
                self.tell(DrainAsked(agent.name, False))

    def check(self) -> None:
        """What runs is what is wanted, no more and no less."""
        assert self.records.keys() == self.deployed, (self.records.keys(), self.deployed)
        wanted: dict[NodeId, set[WorkerId]] = {agent.name: set() for agent in self.agents}
        for name, record in self.records.items():
            (epoch,) = record.epochs
            assert epoch.phase is EpochPhase.LIVE and not record.parked and not record.renew
            chains = epoch.numbers or tuple(range(len(epoch.blueprint.chains)))
            assert len(chains) == (1 if record.spec.scaling is None else 2)
            for c, chain in zip(chains, epoch.blueprint.chains, strict=True):
                replicas: dict[int, int] = {}
                for post in chain.posts:
                    replica = replicas.get(post.stage, 0)
                    replicas[post.stage] = replica + 1
                    wanted[post.node].add(WorkerId(f"{name}.{epoch.epoch}.{c}.{post.stage}.{replica}"))
            table = self.tables[name]
            assert table.live is not None and table.live.epoch == epoch.epoch and table.candidate is None
            assert len(table.live.routes) == len(chains) and self.probe(table.live) == ""
        for agent in self.agents:
            states = agent.keeper.snapshot().workers
            assert {state.worker for state in states} == wanted[agent.name] == agent.processes.keys()
            assert all(state.phase is Phase.READY for state in states)
