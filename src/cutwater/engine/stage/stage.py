"""StageWorker: queues requests, batches them, has them computed, hands them on, and sends answers back.

Rules: one batch computes at a time, and where batches are short the next one is there before it ends. A request is
handed on only with credit of the next link, and its own credit goes back only when its tensors have left this worker:
so a slow stage slows down everything before it, up to the gateway, and the memory of a worker is bounded by the credits
it gave. A worker whose batch hangs says so to everyone who waits, and dies: what computes cannot be stopped in any
other way. This file decides and answers; where each request is, is in `stock.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cutwater.engine.fault import Fault
from cutwater.engine.stage.batching import Batching
from cutwater.engine.stage.figures import StageSnapshot
from cutwater.engine.stage.item import Item, pick, shape_of
from cutwater.engine.stage.lanes import Lane, Source
from cutwater.engine.stage.pace import Pace
from cutwater.engine.stage.place import Place
from cutwater.engine.stage.stock import ABANDONED, AWAY, QUEUED, READY, Stock
from cutwater.engine.vocabulary import (
    Compute,
    Computed,
    Dial,
    DialFailed,
    Die,
    Drain,
    Forget,
    Go,
    Key,
    LinkId,
    Lost,
    Opened,
    Paused,
    Recall,
    Received,
    Relay,
    Result,
    Resumed,
    Send,
    StageCommand,
    StageEvent,
    Stop,
    Tick,
    Wait,
)
from cutwater.units import Seconds, StageId
from cutwater.wire.message import Address, Answer, Cancel, Credit, Failure, Infer, Mark

HURRY: Seconds = 20e-3
"""Where batches usually take less, the next one is given away while one computes: from the end of one to the start of
the next a stage would otherwise wait for two threads to wake each other, which takes 0.2 ms on two virtual cores."""


class StageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a stage worker behaves."""

    batching: Batching = Batching()
    batch_axes: dict[str, int] = {}
    """Input tensor -> the axis that carries the batch; empty where the stage is not batchable."""
    credits: int = 16
    """How many requests each incoming link may have here at once."""
    expected: Seconds = 0.0
    """What a batch is expected to take, before one was seen; 0: nobody knows."""
    in_turn: Seconds | None = None
    """Batches that usually take at least this are computed only in turn (`cutwater.engine.turns`); None: none are."""


class StageWorker:
    """One stage's machine; see `cutwater.engine.machine.Machine`."""

    def __init__(self, stage: StageId, options: StageOptions = StageOptions()) -> None:  # noqa: B008
        self.stage = stage
        self.options = options
        self._batches = bool(options.batch_axes) and options.batching.limit > 1
        self._stock = Stock()
        self._batch = 0
        self._pace = Pace(options.expected)
        self._place = Place(options.in_turn) if options.in_turn is not None else None
        self._draining = self._stopped = False
        self._done = self._failed = self._late = 0
        self._out: list[StageCommand] = []

    def handle(self, event: StageEvent, now: Seconds) -> list[StageCommand]:
        """See `Machine.handle`."""
        stock = self._stock
        out: list[StageCommand] = []
        self._out = stock.out = out
        kind = type(event)
        _EVENTS[type(event.message) if kind is Received else kind](self, event, now)  # type: ignore[union-attr]
        if not stock.computing:
            if stock.queue:
                self._pick(now)
            elif self._place is not None:
                self._place.idle(out)
        if stock.queue and stock.computing and not stock.ahead and self._may_hurry():
            self._start((stock.queue.popleft(),))
        stock.forget_deadlines()
        if self._draining and not stock.items and not self._stopped:
            self._stopped = True
            out.append(Stop())
        return out

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`."""
        stock = self._stock
        deadline = stock.deadline()
        if stock.computing:
            due = self._pace.hangs_at
        elif stock.queue and self._place is not None and (answer := self._place.wake_at()) is not None:
            due = answer
        else:
            due = self.options.batching.due_at(1, stock.queue[0].received) if stock.queue else None
        if deadline is None or due is None:
            return due if deadline is None else deadline
        return due if due < deadline else deadline

    def snapshot(self) -> StageSnapshot:
        """See `Machine.snapshot`."""
        states = [item.state for item in self._stock.items.values()]
        return StageSnapshot(
            queued=states.count(QUEUED) + len(self._stock.ahead),
            computing=len(self._stock.computing),
            ready=states.count(READY),
            away=states.count(AWAY),
            done=self._done,
            failed=self._failed,
            late=self._late,
            computed=self._pace.computed,
            busy=self._pace.busy,
            waited=self._pace.waited,
            seconds=self._pace.median(),
        )

    # Links

    def _opened(self, event: Opened, now: Seconds) -> None:
        if event.address is None:
            self._stock.sources[event.link] = Source(self.options.credits)
            return
        lane = self._stock.lanes[event.address]
        lane.open(event.link, event.credits)
        self._stock.lane_of[event.link] = lane
        self._hand_on(lane, now)

    def _dial_failed(self, event: DialFailed, now: Seconds) -> None:
        lane = self._stock.lanes.pop(event.address)
        self._strand(lane, event.reason)

    def _lost(self, event: Lost, now: Seconds) -> None:
        stock = self._stock
        source = stock.sources.pop(event.link, None)
        if source is not None:
            for key in tuple(source.keys):
                stock.drop(stock.items[key])
            return
        lane = stock.lane_of.pop(event.link)
        del stock.lanes[lane.address]
        for key in sorted(lane.away):
            item = stock.items[key]
            item.next_link = None
            lost = f"{self.stage} lost its link to {lane.address}: {event.reason}"
            self._refuse(item, "LinkLost", lost, suspect=lane.address)
        self._strand(lane, event.reason)

    def _strand(self, lane: Lane, reason: str) -> None:
        """What waits for a link that cannot be had was not handed on, and is no reason for what happened there."""
        for key in tuple(lane.ready):
            refused = f"{self.stage} has no link to {lane.address}: {reason}"
            self._refuse(self._stock.items[key], "Refused", refused, suspect=lane.address)

    def _paused(self, event: Paused, now: Seconds) -> None:
        if (lane := self._stock.lane_of.get(event.link)) is not None:
            lane.paused = True

    def _resumed(self, event: Resumed, now: Seconds) -> None:
        if (lane := self._stock.lane_of.get(event.link)) is not None:
            lane.paused = False
            self._hand_on(lane, now)

    # Messages

    def _infer(self, event: Received, now: Seconds) -> None:
        infer: Infer = event.message  # type: ignore[assignment]
        key = Key(infer.request, infer.attempt)
        stock = self._stock
        source = stock.sources[event.link]
        if key in stock.items or self._draining or source.full:
            self._turn_away(event.link, source, infer)
            return
        item = Item(key, event.link, infer, event.nbytes, now)
        if self._batches:
            item.shape = shape_of(infer, self.options.batch_axes)
        stock.enter(item)

    def _turn_away(self, link: LinkId, source: Source, infer: Infer) -> None:
        """Refuse at the door; the tensors of an attempt that still waits here stay."""
        key = Key(infer.request, infer.attempt)
        item = self._stock.items.get(key)
        if item is None or item.state is AWAY:
            self._out.append(Forget(key))
        if source.full:
            reason = f"gives {source.credits} credits on a link and this one had none left"
        else:
            source.owed += 1
            reason = "is draining" if self._draining else "already has this attempt"
        self._out.append(Send(link, self._failure(key, "Refused", f"{self.stage} {reason}", infer.trail)))
        if source.owed >= source.riding:
            self._stock.grant(link, source)

    def _returned(self, event: Received, now: Seconds) -> None:
        message: Answer | Failure = event.message  # type: ignore[assignment]
        item = self._stock.items.get((message.request, message.attempt))
        if item is None or item.next_link != event.link:
            self._late += 1
            return
        self._out.append(Relay(item.link, message))
        if type(message) is Answer:
            self._done += 1
        else:
            self._failed += 1
        self._stock.end(item)

    def _cancel(self, event: Received, now: Seconds) -> None:
        message: Cancel = event.message  # type: ignore[assignment]
        item = self._stock.items.get((message.request, message.attempt))
        if item is not None and item.link == event.link:
            self._stock.drop(item)

    def _credit(self, event: Received, now: Seconds) -> None:
        message: Credit = event.message  # type: ignore[assignment]
        lane = self._stock.lane_of[event.link]
        lane.credits += message.count
        self._hand_on(lane, now)

    # Computing

    def _pick(self, now: Seconds) -> None:
        """Start the next batch if it is due, and this worker's turn."""
        queue = self._stock.queue
        if self._place is not None and not self._in_turn(self._place, now):
            return
        batch = (queue.popleft(),) if queue[0].shape is None else pick(queue, self.options.batching, now)
        if batch:
            self._pace.begin(now)
            self._start(batch)

    def _may_hurry(self) -> bool:
        """Whether the next batch is given away before the one that computes is done.

        It cannot be taken back then, so not where others wait for a turn, or company for it may still come.
        """
        usual = self._pace.usual
        return 0.0 < usual < HURRY and not self._batches and (self._place is None or self._place.undisputed(usual))

    def _start(self, batch: tuple[Item, ...]) -> None:
        self._stock.begin(batch)
        self._batch += 1
        keys = (batch[0].key,) if len(batch) == 1 else tuple([item.key for item in batch])
        self._out.append(Compute(self._batch, keys))

    def _in_turn(self, place: Place, now: Seconds) -> bool:
        queue = self._stock.queue
        oldest = queue[0].received
        if now < self.options.batching.due_at(len(queue), oldest):
            return False
        return place.may_compute(oldest, self._pace.usual, now, self._out)

    def _told(self, event: Go | Recall | Wait, now: Seconds) -> None:
        if self._place is not None:
            self._place.told(event, now)

    def _computed(self, event: Computed, now: Seconds) -> None:
        stock = self._stock
        items, stock.computing, stock.ahead = stock.computing, stock.ahead, ()
        self._pace.end(event.finished - event.started, len(items), event.waited)
        # Neither the stage nor the cores must idle while results are sent: the next batch starts first.
        if stock.computing:
            self._pace.begin(now)
        elif stock.queue:
            self._pick(now)
        elif self._place is not None:
            self._place.idle(self._out)
        run = (event.started, event.finished, len(items), event.cpu)
        alone = len(items) == 1
        for number, item in enumerate(items):
            item.run = run
            self._finish(item, event.results[number], alone, now)

    def _finish(self, item: Item, result: Result, alone: bool, now: Seconds) -> None:
        stock = self._stock
        if item.state is ABANDONED:
            stock.finish(item)
        elif result.fault is not None and not alone:
            # One bad request must not take its neighbours down: each is tried once more for itself.
            stock.again(item)
        elif result.fault is not None:
            self._refuse(item, result.fault.kind, result.fault.message, retryable=result.fault.retryable)
        elif not item.infer.route:
            self._answer(item, result, now)
        else:
            stock.finish(item)
            item.result = result
            address = item.infer.route[0].address
            lane = stock.lanes.get(address)
            if lane is None:
                lane = stock.lanes[address] = Lane(address)
                self._out.append(Dial(address))
            if lane.usable and not lane.ready:
                self._send_on(item, lane, now)
            else:
                lane.ready[item.key] = None

    def _answer(self, item: Item, result: Result, now: Seconds) -> None:
        infer = item.infer
        trail = (*infer.trail, item.mark(self.stage, result, now))
        answer = Answer(infer.request, infer.attempt, infer.reply_packing, result.tensors, trail)
        self._out.append(Send(item.link, answer))
        self._done += 1
        self._stock.end(item)

    def _hand_on(self, lane: Lane, now: Seconds) -> None:
        """Send what is ready, as far as the link's credit goes."""
        while lane.ready and lane.usable:
            self._send_on(self._stock.items[next(iter(lane.ready))], lane, now)

    def _send_on(self, item: Item, lane: Lane, now: Seconds) -> None:
        infer, result, link, left = item.infer, item.result, lane.link, item.deadline - now
        assert result is not None
        assert link is not None
        self._stock.hand_on(item, lane)
        message = Infer(
            infer.request,
            infer.attempt,
            left if left > 0.0 else 0.0,
            infer.route[1:],
            infer.reply_packing,
            infer.route[0].packing,
            result.tensors,
            (*infer.trail, item.mark(self.stage, result, now)),
        )
        self._out.append(Send(link, message))
        source = self._stock.sources[item.link]
        source.leave(item.key)
        if source.owed >= source.lump:
            self._stock.grant(item.link, source)

    # Ends

    def _tick(self, event: Tick, now: Seconds) -> None:
        for item in self._stock.overdue(now):
            self._refuse(item, "DeadlineExceeded", f"no time left in {self.stage} ({item.state.value})")
        if self._place is not None:
            self._place.tick(now, self._out)
        if self._pace.hangs(now):
            self._hang()

    def _hang(self) -> None:
        """What computes does not come back: end, so that somebody starts another worker."""
        stock = self._stock
        reason = f"{self.stage} hangs: a batch of {len(stock.computing)} usually takes {self._pace.usual:.3g} s"
        self._draining = self._stopped = True
        for item in stock.computing:
            if item.state is not ABANDONED:
                self._refuse(item, "WorkerLost", reason)
        for item in tuple(stock.items.values()):
            if item.state is not ABANDONED:
                self._refuse(item, "Refused", f"{reason}; this request was not in it")
        self._out.append(Die(f"{reason} and took over {self._pace.limit:.3g} s"))

    def _drain(self, event: Drain, now: Seconds) -> None:
        self._draining = True

    def _refuse(
        self, item: Item, kind: str, message: str, *, retryable: bool | None = None, suspect: Address = ""
    ) -> None:
        """Answer with an error."""
        failure = self._failure(item.key, kind, message, item.infer.trail, retryable, suspect)
        self._out.append(Send(item.link, failure))
        self._failed += 1
        self._stock.leave(item)

    def _failure(
        self,
        key: Key,
        kind: str,
        message: str,
        trail: tuple[Mark, ...],
        retryable: bool | None = None,
        suspect: Address = "",
    ) -> Failure:
        if retryable is None:
            retryable = Fault(kind, message, self.stage).error().retryable
        return Failure(*key, kind, message, self.stage, retryable, trail, suspect)

    def validate(self) -> None:
        """See `Machine.validate`."""
        self._stock.validate()
        if self._place is not None:
            self._place.validate()


_EVENTS: Mapping[type, Callable[[StageWorker, Any, Seconds], None]] = {
    Opened: StageWorker._opened,
    Lost: StageWorker._lost,
    DialFailed: StageWorker._dial_failed,
    Paused: StageWorker._paused,
    Resumed: StageWorker._resumed,
    Computed: StageWorker._computed,
    Drain: StageWorker._drain,
    Go: StageWorker._told,
    Recall: StageWorker._told,
    Wait: StageWorker._told,
    Tick: StageWorker._tick,
    Infer: StageWorker._infer,
    Answer: StageWorker._returned,
    Failure: StageWorker._returned,
    Cancel: StageWorker._cancel,
    Credit: StageWorker._credit,
}
