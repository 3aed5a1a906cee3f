"""StageWorker: queues requests, batches them, has them computed, hands them on, and sends answers back.

Rules: one batch computes at a time. A request is handed on only with credit of the next link, and its own credit goes
back only when its tensors have left this worker: so a slow stage slows down everything before it, up to the gateway,
and the memory of a worker is bounded by the credits it gave. Every request ends exactly once. A worker whose batch
hangs says so to everyone who waits, and dies: what computes cannot be stopped in any other way. Everything that changes
the state of an item is in this file, hence its length.
"""

from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import Any

import msgspec

from cutwater.engine.fault import Fault
from cutwater.engine.lives import WORK_LIFE, Work, WorkStep, step
from cutwater.engine.stage.batching import Batching
from cutwater.engine.stage.item import Item, pick, shape_of
from cutwater.engine.stage.lanes import Lane, Source
from cutwater.engine.stage.pace import Pace
from cutwater.engine.vocabulary import (
    Compute,
    Computed,
    Dial,
    DialFailed,
    Die,
    Drain,
    Forget,
    Key,
    LinkId,
    Lost,
    Opened,
    Paused,
    Received,
    Relay,
    Result,
    Resumed,
    Send,
    StageCommand,
    StageEvent,
    Stop,
    Tick,
)
from cutwater.units import RequestId, Seconds, StageId
from cutwater.wire.message import Address, Answer, Cancel, Credit, Failure, Infer, Mark

# Looking up a member of an enumeration takes longer than most of what a step does.
QUEUED, COMPUTING, READY, AWAY = Work.QUEUED, Work.COMPUTING, Work.READY, Work.AWAY
ABANDONED, GONE = Work.ABANDONED, Work.GONE
PICK, UNPICK, FINISH = WorkStep.PICK, WorkStep.UNPICK, WorkStep.FINISH
HAND_ON, REPLY, DROP = WorkStep.HAND_ON, WorkStep.REPLY, WorkStep.DROP


class StageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a stage worker behaves."""

    batching: Batching = Batching()
    batch_axes: dict[str, int] = {}
    """Input tensor -> the axis that carries the batch; empty where the stage is not batchable."""
    credits: int = 16
    """How many requests each incoming link may have here at once."""
    expected: Seconds = 0.0
    """What a batch is expected to take, before one was seen; 0: nobody knows."""


class StageSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A stage worker in figures."""

    queued: int
    computing: int
    ready: int
    """Computed, waiting for credit of the next link."""
    away: int
    done: int
    failed: int
    late: int
    """Answers nobody waited for any more."""
    computed: int = 0
    """Requests computed since the start."""
    busy: Seconds = 0.0
    """Seconds spent computing since the start."""
    waited: Seconds = 0.0
    """Of those, how long others had the cores."""
    seconds: Seconds = 0.0
    """Median of computing one request, of late."""


class StageWorker:
    """One stage's machine; see `cutwater.engine.machine.Machine`."""

    def __init__(self, stage: StageId, options: StageOptions = StageOptions()) -> None:  # noqa: B008
        self.stage = stage
        self.options = options
        self._batches = bool(options.batch_axes) and options.batching.limit > 1
        self._items: dict[tuple[RequestId, int], Item] = {}
        """By their `Key`, which is equal to a tuple of the same."""
        self._queue: deque[Item] = deque()
        self._computing: tuple[Item, ...] = ()
        self._batch = 0
        self._pace = Pace(options.expected)
        self._sources: dict[LinkId, Source] = {}
        self._lanes: dict[str, Lane] = {}
        self._lane_of: dict[LinkId, Lane] = {}
        self._deadlines: list[tuple[Seconds, Key]] = []
        self._draining = self._stopped = False
        self._done = self._failed = self._late = 0
        self._out: list[StageCommand] = []

    def handle(self, event: StageEvent, now: Seconds) -> list[StageCommand]:
        """See `Machine.handle`."""
        out: list[StageCommand] = []
        self._out = out
        kind = type(event)
        _EVENTS[type(event.message) if kind is Received else kind](self, event, now)  # type: ignore[union-attr]
        if self._queue and not self._computing:
            self._pick(now)
        heap = self._deadlines
        while heap and heap[0][1] not in self._items:
            heappop(heap)
        if self._draining and not self._items and not self._stopped:
            self._stopped = True
            out.append(Stop())
        return out

    def wake_at(self) -> Seconds | None:
        """See `Machine.wake_at`."""
        deadline = self._deadlines[0][0] if self._deadlines else None
        if self._computing:
            due = self._pace.hangs_at
        else:
            due = self.options.batching.due_at(1, self._queue[0].received) if self._queue else None
        if deadline is None or due is None:
            return due if deadline is None else deadline
        return due if due < deadline else deadline

    def snapshot(self) -> StageSnapshot:
        """See `Machine.snapshot`."""
        states = [item.state for item in self._items.values()]
        return StageSnapshot(
            queued=states.count(QUEUED),
            computing=len(self._computing),
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
            self._sources[event.link] = Source(self.options.credits)
            return
        lane = self._lanes[event.address]
        lane.open(event.link, event.credits)
        self._lane_of[event.link] = lane
        self._hand_on(lane, now)

    def _dial_failed(self, event: DialFailed, now: Seconds) -> None:
        lane = self._lanes.pop(event.address)
        self._strand(lane, event.reason)

    def _lost(self, event: Lost, now: Seconds) -> None:
        source = self._sources.pop(event.link, None)
        if source is not None:
            for key in tuple(source.keys):
                self._drop(self._items[key])
            return
        lane = self._lane_of.pop(event.link)
        del self._lanes[lane.address]
        for key in sorted(lane.away):
            item = self._items[key]
            item.next_link = None
            lost = f"{self.stage} lost its link to {lane.address}: {event.reason}"
            self._refuse(item, "LinkLost", lost, suspect=lane.address)
        self._strand(lane, event.reason)

    def _strand(self, lane: Lane, reason: str) -> None:
        """What waits for a link that cannot be had was not handed on, and is no reason for what happened there."""
        for key in tuple(lane.ready):
            refused = f"{self.stage} has no link to {lane.address}: {reason}"
            self._refuse(self._items[key], "Refused", refused, suspect=lane.address)

    def _paused(self, event: Paused, now: Seconds) -> None:
        if event.link in self._lane_of:
            self._lane_of[event.link].paused = True

    def _resumed(self, event: Resumed, now: Seconds) -> None:
        if (lane := self._lane_of.get(event.link)) is not None:
            lane.paused = False
            self._hand_on(lane, now)

    # Messages

    def _infer(self, event: Received, now: Seconds) -> None:
        infer: Infer = event.message  # type: ignore[assignment]
        key = Key(infer.request, infer.attempt)
        source = self._sources[event.link]
        if key in self._items or self._draining or source.full:
            self._turn_away(event.link, source, infer)
            return
        item = Item(key, event.link, infer, event.nbytes, now)
        if self._batches:
            item.shape = shape_of(infer, self.options.batch_axes)
        source.take(key)
        self._items[key] = item
        self._queue.append(item)
        heappush(self._deadlines, (item.deadline, key))

    def _turn_away(self, link: LinkId, source: Source, infer: Infer) -> None:
        """Refuse at the door; the tensors of an attempt that still waits here stay."""
        key = Key(infer.request, infer.attempt)
        item = self._items.get(key)
        if item is None or item.state is AWAY:
            self._out.append(Forget(key))
        if source.full:
            reason = f"gives {source.credits} credits on a link and this one had none left"
        else:
            source.owed += 1
            reason = "is draining" if self._draining else "already has this attempt"
        self._out.append(Send(link, self._failure(key, "Refused", f"{self.stage} {reason}", infer.trail)))
        if source.owed >= source.riding:
            self._grant(link, source)

    def _returned(self, event: Received, now: Seconds) -> None:
        message: Answer | Failure = event.message  # type: ignore[assignment]
        item = self._items.get((message.request, message.attempt))
        if item is None or item.next_link != event.link:
            self._late += 1
            return
        self._out.append(Relay(item.link, message))
        if type(message) is Answer:
            self._done += 1
        else:
            self._failed += 1
        self._end(item, REPLY)

    def _cancel(self, event: Received, now: Seconds) -> None:
        message: Cancel = event.message  # type: ignore[assignment]
        item = self._items.get((message.request, message.attempt))
        if item is not None and item.link == event.link:
            self._drop(item)

    def _credit(self, event: Received, now: Seconds) -> None:
        message: Credit = event.message  # type: ignore[assignment]
        lane = self._lane_of[event.link]
        lane.credits += message.count
        self._hand_on(lane, now)

    # Computing

    def _pick(self, now: Seconds) -> None:
        """Start the next batch if it is due."""
        queue = self._queue
        batch = (queue.popleft(),) if queue[0].shape is None else pick(queue, self.options.batching, now)
        if not batch:
            return
        for item in batch:
            item.state = step(WORK_LIFE, item.state, PICK)
        self._computing = batch
        self._pace.begin(now)
        self._batch += 1
        keys = (batch[0].key,) if len(batch) == 1 else tuple([item.key for item in batch])
        self._out.append(Compute(self._batch, keys))

    def _computed(self, event: Computed, now: Seconds) -> None:
        items, self._computing = self._computing, ()
        self._pace.end(event.finished - event.started, len(items), event.waited)
        # The stage must not idle while results are sent: the next batch starts first.
        if self._queue:
            self._pick(now)
        run = (event.started, event.finished, len(items), event.cpu)
        alone = len(items) == 1
        for number, item in enumerate(items):
            item.run = run
            self._finish(item, event.results[number], alone, now)

    def _finish(self, item: Item, result: Result, alone: bool, now: Seconds) -> None:
        if item.state is ABANDONED:
            self._out.append(Forget(item.key))
            self._end(item, FINISH)
        elif result.fault is not None and not alone:
            # One bad request must not take its neighbours down: each is tried once more for itself.
            item.state = step(WORK_LIFE, item.state, UNPICK)
            item.shape = None
            self._queue.appendleft(item)
        elif result.fault is not None:
            self._refuse(item, result.fault.kind, result.fault.message, retryable=result.fault.retryable)
        elif not item.infer.route:
            self._answer(item, result, now)
        else:
            item.state = step(WORK_LIFE, item.state, FINISH)
            item.result = result
            address = item.infer.route[0].address
            lane = self._lanes.get(address)
            if lane is None:
                lane = self._lanes[address] = Lane(address)
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
        self._end(item, REPLY)

    def _hand_on(self, lane: Lane, now: Seconds) -> None:
        """Send what is ready, as far as the link's credit goes."""
        while lane.ready and lane.usable:
            self._send_on(self._items[next(iter(lane.ready))], lane, now)

    def _send_on(self, item: Item, lane: Lane, now: Seconds) -> None:
        infer, result, link, left = item.infer, item.result, lane.link, item.deadline - now
        assert result is not None
        assert link is not None
        lane.send(item.key)
        item.next_link = link
        item.state = step(WORK_LIFE, item.state, HAND_ON)
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
        source = self._sources[item.link]
        source.leave(item.key)
        if source.owed >= source.lump:
            self._grant(item.link, source)

    # Ends

    def _tick(self, event: Tick, now: Seconds) -> None:
        heap = self._deadlines
        while heap and heap[0][0] <= now:
            item = self._items.get(heappop(heap)[1])
            if item is not None and item.state is not ABANDONED:
                self._refuse(item, "DeadlineExceeded", f"no time left in {self.stage} ({item.state.value})")
        if self._pace.hangs(now):
            self._hang()

    def _hang(self) -> None:
        """What computes does not come back: end, so that somebody starts another worker."""
        reason = f"{self.stage} hangs: a batch of {len(self._computing)} usually takes {self._pace.usual:.3g} s"
        self._draining = self._stopped = True
        for item in self._computing:
            if item.state is not ABANDONED:
                self._refuse(item, "WorkerLost", reason)
        for item in tuple(self._items.values()):
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
        self._leave(item)

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

    def _drop(self, item: Item) -> None:
        """Nobody waits for it any more."""
        if item.state is not ABANDONED:
            self._leave(item, DROP)

    def _leave(self, item: Item, taken: WorkStep = REPLY) -> None:
        """Take it out of wherever it is; what computes right now can only be abandoned."""
        if item.state is COMPUTING and any(item is other for other in self._computing):
            item.state = step(WORK_LIFE, item.state, DROP)
            return
        if item.state is QUEUED:
            self._queue.remove(item)
        if item.state is READY and (lane := self._lanes.get(item.infer.route[0].address)) is not None:
            lane.ready.pop(item.key, None)
        if item.state is AWAY:
            if item.next_link is not None:
                self._out.append(Send(item.next_link, Cancel(*item.key)))
        else:
            self._out.append(Forget(item.key))
        self._end(item, taken)

    def _end(self, item: Item, taken: WorkStep) -> None:
        item.state = step(WORK_LIFE, item.state, taken)
        del self._items[item.key]
        if item.next_link is not None and (lane := self._lane_of.get(item.next_link)) is not None:
            lane.away.discard(item.key)
        if (source := self._sources.get(item.link)) is not None:
            source.end(item.key)
            if source.owed >= source.riding:
                self._grant(item.link, source)

    def _grant(self, link: LinkId, source: Source) -> None:
        """Give credit back, in lumps, so that it costs a frame for several requests."""
        self._out.append(Send(link, Credit(source.owed)))
        source.owed = 0

    def validate(self) -> None:
        """See `Machine.validate`."""
        for item in self._items.values():
            assert item.state is not GONE
            assert item.link in self._sources or item.state is ABANDONED
        assert {item.key for item in self._queue} == {k for k, i in self._items.items() if i.state is QUEUED}
        for item in self._computing:
            assert item.state in (COMPUTING, ABANDONED)
        for link, source in self._sources.items():
            assert source.keys.keys() == {key for key, item in self._items.items() if item.link == link}
            assert source.under_way == sum(source.keys.values())
            assert source.under_way + source.owed <= source.credits
        for lane in self._lanes.values():
            assert lane.credits >= 0
            assert all(self._items[key].state is READY for key in lane.ready)
            assert all(self._items[key].state is AWAY for key in lane.away)


_EVENTS: Mapping[type, Callable[[StageWorker, Any, Seconds], None]] = {
    Opened: StageWorker._opened,
    Lost: StageWorker._lost,
    DialFailed: StageWorker._dial_failed,
    Paused: StageWorker._paused,
    Resumed: StageWorker._resumed,
    Computed: StageWorker._computed,
    Drain: StageWorker._drain,
    Tick: StageWorker._tick,
    Infer: StageWorker._infer,
    Answer: StageWorker._returned,
    Failure: StageWorker._returned,
    Cancel: StageWorker._cancel,
    Credit: StageWorker._credit,
}
