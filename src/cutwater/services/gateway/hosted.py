"""HostedModel: one model at a gateway: its machine, the ways it may take, probes of what is to come, its tally."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil

from cutwater.api.backend import Ask
from cutwater.api.finished import WITHDRAWN, Finished, Observer
from cutwater.drivers.gateway import LiveGateway
from cutwater.drivers.live import clock
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.facts.deployments import WholeModel
from cutwater.engine.facts.gateways import EpochTable, ModelTally, RouteTable
from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.gateway.neighbours import Neighbours
from cutwater.engine.trace import Trace
from cutwater.errors import CutwaterError, forgetful
from cutwater.services.cache import BlobCache
from cutwater.services.errands import Errands
from cutwater.services.front.host import Reply
from cutwater.services.gateway.lately import Lately
from cutwater.services.gateway.probe import probe
from cutwater.services.gateway.whole import EPOCH, WholeWorker
from cutwater.services.workers.doors import Doors, doors_of
from cutwater.units import NodeId, RequestId, Seconds, format_request
from cutwater.wire.message import PROTOCOL, Address, Hello

PROBE_LIMIT: Seconds = 10.0
"""Time for one request of a probe, dialling included."""
MODEL_RETRY: Seconds = 2.0
"""After how long a probe, or the fetching of a model, that failed is tried again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayMeans:
    """What all models of one gateway share."""

    name: str
    """The gateway's, in its greetings."""
    node: NodeId
    ids: "count[int]"
    """Of requests: unique in the cluster."""
    cache: BlobCache
    """For files of whole models."""
    sockets: Path
    """For the sockets of their workers."""
    max_frame: int = 256 * 2**20
    memory: int | None = None
    """Bytes that whole models may use; None: half of what is free."""
    patience: Seconds = 1.0
    """How long requests wait for another way before this gateway answers by itself."""
    linger: Seconds = 10.0
    """How long another way must be open before it stops doing so."""
    tls: TlsFiles | None = None
    neighbours: Neighbours = field(default_factory=Neighbours)
    """Who is told of whom."""
    trace: Callable[[str], Trace | None] = lambda model: None
    """Model -> where its machine's steps are recorded."""
    on_change: Callable[[], None] = lambda: None
    """Told when a model may have something else to say than before."""
    observers: list[Observer] = field(default_factory=list)


class HostedModel:
    """A `Host` of one model's clients; obeys its route tables."""

    def __init__(self, table: RouteTable, means: GatewayMeans) -> None:
        self.table = table
        self.seen = 0
        """Requests that clients have asked, whatever became of them."""
        self._means = means
        self._hello = Hello(PROTOCOL, "", means.name, 0, means.max_frame)
        self._live = self._make(means.trace(table.model))
        self._lately = Lately(clock())
        self._asked_at = clock()
        self._refused = 0
        self._probed: dict[int, str] = {}
        self._candidate: tuple[EpochTable, asyncio.Task[None]] | None = None
        self.whole: WholeWorker | None = None
        """The uncut model, where there is room for it."""
        self._fetching: asyncio.Task[None] | None = None
        self._closed = False
        self._errands = Errands(f"the hosting of {table.model}")
        self._apply(table)

    def _make(self, trace: Trace | None) -> LiveGateway:
        means = self._means
        admission = Admission(window=self.table.window)
        return LiveGateway(
            Gateway(GatewayOptions(admission=admission, patience=means.patience, linger=means.linger)),
            self._hello,
            tls=means.tls,
            trace=trace,
            stand_in=self._stand_in,
            neighbours=means.neighbours,
            on_broken=self._broke,
            on_step=means.on_change,
        )

    def _broke(self) -> None:
        asyncio.get_running_loop().call_soon(self._begin_anew)

    def _begin_anew(self) -> None:
        """Another machine takes the place of one that broke. It is not recorded: that would end the record of why."""
        self._live.close()
        if not self._closed:
            self._live = self._make(None)
            self._reroute(self.table)
            if self.table.removed:
                self._live.drain()

    # Clients

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        """See `Host.refusal`."""
        return self._live.outlook(self._budget(ask, ask.since or clock()), ahead, ask.priority, ask.client)

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        """See `Host.refused`."""
        self.seen += 1
        self._refused += 1
        self._asked_at = clock()
        reply = Reply(RequestId(next(self._means.ids)), {}, (), error)
        self._tell(ask, reply, ask.since or self._asked_at, error.kind)

    def _budget(self, ask: Ask, began: Seconds) -> Seconds:
        """What is left of a request's time."""
        timeout = self.table.timeout if ask.timeout is None else ask.timeout
        return timeout - (clock() - began)

    async def ask(self, ask: Ask) -> Reply:
        """See `Host.ask`."""
        self.seen += 1
        asked = self._asked_at = clock()
        began = ask.since or asked
        request = RequestId(next(self._means.ids))
        budget = self._budget(ask, began)
        launched: Seconds = 0.0
        try:
            found = await self._live.ask(ask.feeds, budget, request, priority=ask.priority, client=ask.client)
            launched = found.launched
            waited = max(launched - asked, 0.0)
            reply = Reply(request, found.outputs, found.trail, degraded=found.degraded, waited=waited)
            self._lately.add(now := clock(), now - began)
        except CutwaterError as error:
            reply = Reply(request, {}, (), forgetful(error))
        except asyncio.CancelledError:
            self._tell(ask, Reply(request, {}, ()), began, WITHDRAWN)
            raise
        self._tell(ask, reply, began, reply.fault.kind if reply.fault is not None else "", launched)
        return reply

    def _tell(self, ask: Ask, reply: Reply, began: Seconds, fault: str, launched: Seconds = 0.0) -> None:
        """Whoever observes hears of a request that has ended."""
        observers = self._means.observers
        if not observers:
            return
        ended = clock()
        finished = Finished(
            model=self.table.model,
            request=format_request(reply.request),
            id=ask.id,
            client=ask.client,
            door=ask.door,
            at=time.time() - (ended - began),
            began=began,
            ended=ended,
            trail=reply.trail,
            fault=fault,
            why=str(reply.fault or ""),
            degraded=reply.degraded,
            came=ask.came,
            went=sum(array.nbytes for array in reply.outputs.values()),
            trace=ask.trace,
            span=ask.span,
            launched=launched,
            fed=sum(array.nbytes for array in ask.feeds.values()),
        )
        for observer in observers:
            observer(finished)

    def refuse(self, why: str) -> None:
        """See `Host.refuse`."""
        self._refused += 1

    # Tables

    def apply(self, table: RouteTable) -> None:
        """Obey a table; one that says what is the case already changes nothing."""
        if table != self.table:
            self._apply(table)

    def _apply(self, table: RouteTable) -> None:
        before, self.table = self.table, table
        self._see_whole(table.whole)
        self._reroute(before)
        self._see_candidate(table.candidate)
        wanted = {each.epoch for each in (table.live, table.candidate) if each is not None}
        self._probed = {epoch: why for epoch, why in self._probed.items() if epoch in wanted}
        if table.removed:
            self._live.drain()

    def _reroute(self, before: RouteTable | None = None) -> None:
        """Take the live epoch's ways from now on, and the own one where the whole model is here."""
        live, whole = self.table.live, self.whole
        routes = list(live.routes) if live is not None else []
        doors: dict[tuple[int, int], Doors] = doors_of(live) if live is not None else {}
        tokens = {live.epoch: live.token} if live is not None else {}
        if whole is not None and self._fetching is None:
            routes.append(whole.route)
            doors[EPOCH, 0] = whole.doors
            tokens[EPOCH] = whole.token
        self._live.reroute(routes, doors, tokens, self.table.window)
        old = before.live.epoch if before is not None and before.live is not None else None
        if live is not None and live.epoch != old:
            _log.info("%s: epoch %d is live, with %d ways", self.table.model, live.epoch, len(live.routes))

    # Probing

    def _see_candidate(self, candidate: EpochTable | None) -> None:
        if self._candidate is not None:
            if candidate == self._candidate[0]:
                return
            self._candidate[1].cancel()
            self._candidate = None
        if candidate is not None:
            self._candidate = (candidate, self._errands.begin(self._probe(candidate)))

    async def _probe(self, candidate: EpochTable) -> None:
        """Until it answers, or is no candidate any more."""
        model, epoch = self.table.model, candidate.epoch
        while True:
            try:
                await probe(candidate, self._hello, self._means.ids, PROBE_LIMIT, self._means.tls)
            except CutwaterError as error:
                self._probed[epoch] = f"{error.kind}: {error}"
                _log.warning("%s: epoch %d does not answer: %s", model, epoch, self._probed[epoch])
                self._means.on_change()
            else:
                self._probed[epoch] = ""
                _log.info("%s: epoch %d answers", model, epoch)
                self._means.on_change()
                return
            await asyncio.sleep(MODEL_RETRY)

    # The whole model

    def _see_whole(self, whole: WholeModel | None) -> None:
        if self.whole is not None and self.whole.whole == whole:
            return
        old, self.whole = self.whole, None
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        if old is not None:
            self._errands.begin(old.retire())
        if whole is None or not self._has_room(whole):
            return
        means = self._means
        address: Address = f"unix:{means.sockets}/whole-{secrets.token_hex(4)}"
        self.whole = WholeWorker(whole, means.cache, address, secrets.token_hex(16), means.node)
        self._fetching = self._errands.begin(self._fetch(self.whole))

    def _has_room(self, whole: WholeModel) -> bool:
        allowed = self._means.memory
        if allowed is None:
            allowed = psutil.virtual_memory().available // 2
        if whole.memory > allowed:
            _log.info("%s: the whole model takes %d bytes, %d are allowed", self.table.model, whole.memory, allowed)
        return whole.memory <= allowed

    async def _fetch(self, worker: WholeWorker) -> None:
        while True:
            try:
                await worker.fetch()
            except CutwaterError as error:
                _log.warning("%s: the whole model cannot be had: %s", self.table.model, error)
                await asyncio.sleep(MODEL_RETRY)
            else:
                self._fetching = None
                self._reroute(self.table)
                return

    async def _stand_in(self, on: bool) -> None:
        if self.whole is None:
            return
        try:
            await self.whole.stand_in(on)
        except CutwaterError as error:
            _log.error("%s: the whole model does not run: %s", self.table.model, error)
            raise

    # Figures and ends

    def tally(self) -> ModelTally:
        """How it stands."""
        now, found = clock(), self._live.snapshot()
        p50, p99 = self._lately.quantiles(now, 0.5, 0.99)
        return ModelTally(
            model=self.table.model,
            epoch=self._epoch,
            mark=self.table.mark,
            probed=dict(self._probed),
            flying={epoch: flights for epoch, flights in found.epochs.items() if epoch != EPOCH},
            queued=found.queued,
            accepted=found.accepted,
            answered=found.answered,
            degraded=found.degraded,
            failed=found.failed,
            refused=found.refused + self._refused,
            retried=found.retried,
            late=found.late,
            quarantined=found.quarantined,
            rate=self._lately.rate(now),
            p50=p50,
            p99=p99,
            idle=now - self._asked_at,
        )

    @property
    def able(self) -> bool:
        """Whether requests can be answered now, be it by the gateway itself."""
        return not self.table.removed and (self._live.open or (self.whole is not None and self._fetching is None))

    @property
    def _epoch(self) -> int:
        """In use; 0: none."""
        return self.table.live.epoch if self.table.live is not None and not self.table.removed else 0

    def notable(self) -> object:
        """What others should hear of at once when it changes."""
        found = self._live.snapshot()
        waiting = found.queued > 0 and not found.open
        return (
            self.table.mark,
            self._epoch,
            dict(self._probed),
            sorted(found.epochs),
            found.quarantined,
            found.suspects,
            waiting,
        )

    @property
    def suspects(self) -> tuple[Address, ...]:
        """Workers no answer can be had from."""
        return self._live.snapshot().suspects

    async def drain(self) -> None:
        """Accept nothing new, and return when nothing is under way."""
        self._live.drain()
        await self._live.drained.wait()

    async def close(self) -> None:
        """End at once, the worker of the whole model included."""
        self._closed = True
        for task in (self._fetching, self._candidate[1] if self._candidate is not None else None):
            if task is not None:
                task.cancel()
        self._live.close()
        if self.whole is not None:
            await self.whole.retire()
