"""Leadership: one coordinator's term: its machine told what the fabric says, and its commands obeyed on the fabric."""

import asyncio
import contextlib
import logging
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from cutwater.drivers.live import Hands, Live, clock
from cutwater.engine.control import (
    Announced,
    Assign,
    Beaten,
    Direct,
    Erase,
    GatewayBeaten,
    Leading,
    LinkFailed,
    LinkMeasured,
    MakePlan,
    Measure,
    Planned,
    Save,
    Tell,
)
from cutwater.engine.coordinator.coordinator import Coordinator
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.facts.deployments import DeploymentRecord
from cutwater.engine.facts.gateways import GatewayBeat, Note
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import LEASE, Announcement, MeasuredLink, NodeBeat
from cutwater.engine.fault import Fault
from cutwater.engine.trace import Trace
from cutwater.errors import CutwaterError, NoPlan
from cutwater.fabric.base import Entry, Fabric, KeyValue, Message
from cutwater.services.asking import (
    LinksMeasured,
    MeasureLinks,
    ask_a_node,
)
from cutwater.services.cache import BlobCache
from cutwater.services.coordinator.desk import Desk, now_text
from cutwater.services.coordinator.planning import PlannerProcess
from cutwater.services.coordinator.shelf import Shelf, used_files
from cutwater.services.coordinator.state import Known, Outbox
from cutwater.services.coordinator.sweeping import Sweeper
from cutwater.services.errands import Errands
from cutwater.services.facts import (
    ASK_COORDINATOR,
    ASK_OPERATOR,
    GATEWAY_BEATS,
    LEASES,
    NODE_BEATS,
    NOTES,
    assign_key,
    decoder,
    deployment_key,
    encode,
    gateway_beat,
    link_key,
    node_beat,
    node_key,
    readable,
    routes_key,
)
from cutwater.units import Seconds

MEASURING: Seconds = 20.0
"""For a node to measure the links it is asked for."""
QUIET: Seconds = 0.1
"""How long a beat may wait that says nothing but that a node lives."""
FAREWELL: Seconds = 1.0
"""For what was decided to be written when the term ends in good order."""

_TROUBLE = frozenset({"refused", "rolled-back", "unplanned"})
"""Notes about a model after which it is not as was wanted."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CoordinatorMeans:
    """What a coordinator has, whether it leads or stands by."""

    name: str
    fabric: Fabric
    state: KeyValue
    cache: BlobCache
    planner: PlannerProcess
    options: CoordinatorOptions = CoordinatorOptions()  # noqa: RUF009
    trace: Trace | None = None


class Leadership:
    """From taking the lease to losing it."""

    def __init__(self, means: CoordinatorMeans, term: int, known: Known) -> None:
        self._means = means
        self._term = term
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._seen = dict(known.revisions)
        self._errands = Errands("the coordinator", lambda error: self.end(f"{type(error).__name__}: {error}"))
        self._outbox = Outbox(means.state, known.revisions, self.end)
        self._hands: Hands = {
            MakePlan: lambda command: self._errands.begin(self._plan(command)),
            Assign: lambda c: self._outbox.put(assign_key(c.assignment.node), c.assignment),
            Direct: lambda c: self._outbox.put(routes_key(c.gateway, c.table.model), c.table),
            Save: lambda c: self._save(c.record),
            Erase: self._erase,
            Measure: lambda command: self._errands.begin(self._measure(command)),
            Tell: self._tell,
        }
        self._live = Live(Coordinator(means.options), self._hands, "coordinator", means.trace, on_broken=self._break)
        self._node_beats = decoder(NodeBeat)
        self._gateway_beats = decoder(GatewayBeat)
        self._known = known
        self._quiet: list[NodeBeat] = []
        """Beats that say only that a node lives."""
        self._telling: asyncio.TimerHandle | None = None
        self._desk = desk = Desk(means.name, term, known, means.fabric.blobs, self._outbox, self._live.tell)
        self._shelf = Shelf(
            means.fabric.blobs,
            means.cache,
            self._outbox,
            known.stored,
            lambda: used_files(desk.models.values(), desk.deployments.values()),
        )

    def end(self, why: str) -> None:
        """The term is over: decide and write nothing more."""
        if not self._over.done():
            self._over.set_result(why)

    def _break(self, error: Exception) -> None:
        self.end(f"its machine broke: {type(error).__name__}: {error}")

    async def run(self, stop: asyncio.Event) -> str:
        """Lead until `end` or ``stop``; why it is over. Raises FabricLost if it cannot begin."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._means.planner.close)
            stack.callback(self._close)
            known = self._known
            self._live.tell(
                Leading(
                    term=self._term,
                    secret=secrets.token_hex(32),
                    models=known.models,
                    deployments=known.deployments,
                    nodes=known.nodes,
                    links=known.links,
                    draining=known.draining,
                    revoked=known.revoked,
                )
            )
            self._errands.begin(self._outbox.run())
            self._errands.begin(self._shelf.tend())
            self._errands.begin(self._prepare())
            leases = await self._means.fabric.keys(LEASES, LEASE)
            self._errands.begin(Sweeper(self._means.state, leases, self._outbox).tend())
            for pattern, told in (("node.*", self._node_entry), ("link.*.*", self._link_entry)):
                entries = await stack.enter_async_context(self._means.state.watch(pattern))
                self._errands.begin(_follow(entries, told))
            for pattern, heard in ((NODE_BEATS, self._node_beaten), (GATEWAY_BEATS, self._gateway_beaten)):
                stack.push_async_callback((await self._means.fabric.subscribe(pattern, heard)).close)
            for subject, answer in ((ASK_COORDINATOR, self._desk.answer), (ASK_OPERATOR, self._desk.answer_operator)):
                stack.push_async_callback((await self._means.fabric.serve(subject, answer)).close)
            stopping = asyncio.create_task(stop.wait())
            stack.callback(stopping.cancel)
            await asyncio.wait((self._over, stopping), return_when=asyncio.FIRST_COMPLETED)
            if self._over.done():
                return self._over.result()
            await asyncio.wait([asyncio.ensure_future(self._outbox.written())], timeout=FAREWELL)
            return "it was asked to stop"

    def _close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        self._live.close()
        self._errands.cancel()

    # What the fabric says

    async def _node_beaten(self, message: Message) -> None:
        beat = self._node_beats.decode(message.data)
        if message.subject != node_beat(beat.node):
            return
        before = self._desk.sightings.node(beat, clock())
        self._quiet.append(beat)
        if before is None or beat.workers != before.workers or beat.leaving != before.leaving:
            self._tell_quiet()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(QUIET, self._tell_quiet)

    def _tell_quiet(self) -> None:
        """Tell the beats that wait, together: waking up for each of them would cost more than they do."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        beats, self._quiet = self._quiet, []
        for beat in beats:
            self._live.tell(Beaten(beat))

    async def _gateway_beaten(self, message: Message) -> None:
        beat = self._gateway_beats.decode(message.data)
        if message.subject == gateway_beat(beat.gateway):
            self._desk.sightings.gateway(beat, clock())
            self._live.tell(GatewayBeaten(beat))

    def _node_entry(self, entry: Entry) -> None:
        told = readable(entry, Announcement) if self._is_news(entry) else None
        if told is not None and entry.key == node_key(told.node) and told.node not in self._desk.revoked:
            self._desk.nodes[told.node] = told
            self._live.tell(Announced(told))

    def _link_entry(self, entry: Entry) -> None:
        link = readable(entry, MeasuredLink) if self._is_news(entry) else None
        if link is not None and entry.key == link_key(link.source, link.target):
            self._desk.links[link.source, link.target] = link
            self._live.tell(LinkMeasured(link))

    def _is_news(self, entry: Entry) -> bool:
        """A watch begins with what was read already, and repeats it after every outage."""
        known = self._seen.get(entry.key, 0)
        self._seen[entry.key] = max(known, entry.revision)
        return entry.revision > known

    # What the machine asks for

    def _save(self, record: DeploymentRecord) -> None:
        self._desk.deployments[record.spec.model] = record
        self._outbox.put(deployment_key(record.spec.model), record, first=True)

    def _erase(self, command: Erase) -> None:
        self._desk.deployments.pop(command.model, None)
        self._desk.problems.pop(command.model, None)
        self._outbox.put(deployment_key(command.model), None)

    def _tell(self, command: Tell) -> None:
        _log.info("%s %s: %s", command.kind, command.about, command.text)
        if command.kind in _TROUBLE:
            self._desk.problems[command.about] = command.text
            self._shelf.doubt()
        elif command.about in self._desk.problems:
            del self._desk.problems[command.about]
        note = Note(at=now_text(), kind=command.kind, about=command.about, text=command.text)
        self._errands.begin(self._publish(note))

    async def _publish(self, note: Note) -> None:
        with contextlib.suppress(CutwaterError):  # it stands in the log anyway
            await self._means.fabric.publish(NOTES, encode(note))

    async def _measure(self, command: Measure) -> None:
        try:
            request = MeasureLinks(command.peers)
            found = await ask_a_node(self._means.fabric, command.node, request, LinksMeasured, MEASURING)
        except CutwaterError as error:
            _log.warning("%s does not measure its links: %s", command.node, error)
            failed = [peer for peer, _ in command.peers]
        else:
            failed = list(found.failed)
            for peer, why in found.failed.items():
                _log.warning("the link from %s to %s cannot be measured: %s", command.node, peer, why)
        for peer in failed:
            self._live.tell(LinkFailed(command.node, peer))

    async def _plan(self, command: MakePlan) -> None:
        began = clock()
        with contextlib.ExitStack() as stack:
            try:
                planned = await self._draft(command)
                if planned.blueprint is not None:
                    stack.enter_context(self._shelf.keep(planned.blueprint))
                    await self._shelf.put(planned.blueprint)
            except CutwaterError as error:
                planned = _unplanned(command, Fault.of(error, "planner"))
            except OSError as error:  # such as a full disk: this plan's trouble, not the cluster's
                planned = _unplanned(command, Fault(NoPlan.__name__, f"its files cannot be kept: {error}", "planner"))
            _log.info("planned %s in %.2f s: %s", planned.model, clock() - began, _outcome(planned))
            self._live.tell(planned)

    async def _prepare(self) -> None:
        """Have what is deployed ready to be planned anew: when a node is lost nobody wants to wait for it."""
        self._means.planner.awake = lambda: bool(self._desk.deployments)
        for record in [self._desk.models[name] for name in self._desk.deployments if name in self._desk.models]:
            try:
                await self._fetch(record)
            except (CutwaterError, OSError) as error:
                _log.warning("%s cannot be read in advance: %s", record.name, error)
            else:
                await self._means.planner.prepare(record)

    async def _fetch(self, record: ModelRecord) -> None:
        with self._means.cache.hold(record.blob, record.profile):
            await self._means.cache.fetch(record.blob)
            await self._means.cache.fetch(record.profile)

    async def _draft(self, command: MakePlan) -> Planned:
        record, cache = command.record, self._means.cache
        with cache.hold(record.blob, record.profile):
            await self._fetch(record)
            return await self._means.planner.plan(command)


def _unplanned(command: MakePlan, fault: Fault) -> Planned:
    return Planned(model=command.spec.model, ticket=command.ticket, fault=fault)


async def _follow(entries: Any, told: Any) -> None:
    async for entry in entries:
        told(entry)


def _outcome(planned: Planned) -> str:
    if planned.fault is not None:
        return planned.fault.message
    assert planned.blueprint is not None
    stages = " + ".join(str(len(chain.parts)) for chain in planned.blueprint.chains)
    return f"{stages} stages, {planned.blueprint.throughput:.3g} requests/s"
