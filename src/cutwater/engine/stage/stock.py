"""Stock: every request a stage worker has, where it is, and what others must be told when it goes.

Everything that changes the state of an item is in this file. A request's credit goes back only when its tensors have
left the worker, and every request ends exactly once.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from cutwater.engine.lives import WORK_LIFE, Work, WorkStep, step
from cutwater.engine.stage.item import Item
from cutwater.engine.stage.lanes import Lane, Source
from cutwater.engine.vocabulary import Forget, Key, LinkId, Send, StageCommand
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Address, Cancel, Credit

# Looking up a member of an enumeration takes longer than most of what a step does.
QUEUED, COMPUTING, READY, AWAY = Work.QUEUED, Work.COMPUTING, Work.READY, Work.AWAY
ABANDONED, GONE = Work.ABANDONED, Work.GONE
PICK, UNPICK, FINISH = WorkStep.PICK, WorkStep.UNPICK, WorkStep.FINISH
HAND_ON, REPLY, DROP = WorkStep.HAND_ON, WorkStep.REPLY, WorkStep.DROP


class Stock:
    """The requests of one worker, by where they are and by the links they came and went by."""

    def __init__(self) -> None:
        self.items: dict[tuple[RequestId, int], Item] = {}
        """By their `Key`, which is equal to a tuple of the same."""
        self.queue: deque[Item] = deque()
        """Waiting for the stage, in order."""
        self.computing: tuple[Item, ...] = ()
        """The batch that the stage has."""
        self.ahead: tuple[Item, ...] = ()
        """The batch that it has for afterwards."""
        self.sources: dict[LinkId, Source] = {}
        """Where requests come from, by link."""
        self.lanes: dict[Address, Lane] = {}
        """The ways on, by where they lead."""
        self.lane_of: dict[LinkId, Lane] = {}
        """The same, those that are open, by link."""
        self.out: list[StageCommand] = []
        """Where commands go; the worker's, anew with each event."""
        self._deadlines: list[tuple[Seconds, Key]] = []

    def enter(self, item: Item) -> None:
        """A request has come by a link with credit left."""
        self.sources[item.link].take(item.key)
        self.items[item.key] = item
        self.queue.append(item)
        heappush(self._deadlines, (item.deadline, item.key))

    def begin(self, batch: tuple[Item, ...]) -> None:
        """These, taken out of the queue, are computed, at once or afterwards."""
        for item in batch:
            item.state = step(WORK_LIFE, item.state, PICK)
        if self.computing:
            self.ahead = batch
        else:
            self.computing = batch

    def again(self, item: Item) -> None:
        """It was computed in vain with others, and is next, for itself."""
        item.state = step(WORK_LIFE, item.state, UNPICK)
        item.shape = None
        self.queue.appendleft(item)

    def finish(self, item: Item) -> None:
        """It is computed: what nobody waits for any more ends, anything else is ready to be handed on."""
        if item.state is ABANDONED:
            self.out.append(Forget(item.key))
            self.end(item, FINISH)
        else:
            item.state = step(WORK_LIFE, item.state, FINISH)

    def hand_on(self, item: Item, lane: Lane) -> None:
        """It goes by ``lane``, which is open, and leaves room for another."""
        lane.send(item.key)
        item.next_link = lane.link
        item.state = step(WORK_LIFE, item.state, HAND_ON)

    def leave(self, item: Item, taken: WorkStep = REPLY) -> None:
        """Take it out of wherever it is; what the stage has can only be abandoned."""
        if item.state is COMPUTING and any(item is other for other in (*self.computing, *self.ahead)):
            item.state = step(WORK_LIFE, item.state, DROP)
            return
        if item.state is QUEUED:
            self.queue.remove(item)
        if item.state is READY and (lane := self.lanes.get(item.infer.route[0].address)) is not None:
            lane.ready.pop(item.key, None)
        if item.state is AWAY:
            if item.next_link is not None:
                self.out.append(Send(item.next_link, Cancel(*item.key)))
        else:
            self.out.append(Forget(item.key))
        self.end(item, taken)

    def drop(self, item: Item) -> None:
        """Nobody waits for it any more."""
        if item.state is not ABANDONED:
            self.leave(item, DROP)

    def end(self, item: Item, taken: WorkStep = REPLY) -> None:
        """It is over, and neither of its links counts it any more."""
        item.state = step(WORK_LIFE, item.state, taken)
        del self.items[item.key]
        if item.next_link is not None and (lane := self.lane_of.get(item.next_link)) is not None:
            lane.away.discard(item.key)
        if (source := self.sources.get(item.link)) is not None:
            source.end(item.key)
            if source.owed >= source.riding:
                self.grant(item.link, source)

    def grant(self, link: LinkId, source: Source) -> None:
        """Give credit back, in lumps, so that it costs a frame for several requests."""
        self.out.append(Send(link, Credit(source.owed)))
        source.owed = 0

    def deadline(self) -> Seconds | None:
        """The next of a request that is still here."""
        heap = self._deadlines
        return heap[0][0] if heap else None

    def overdue(self, now: Seconds) -> Iterator[Item]:
        """Those somebody waits for whose time is up; each is named once."""
        heap = self._deadlines
        while heap and heap[0][0] <= now:
            item = self.items.get(heappop(heap)[1])
            if item is not None and item.state is not ABANDONED:
                yield item

    def forget_deadlines(self) -> None:
        """Let go of the first deadlines that are of no request here."""
        heap = self._deadlines
        while heap and heap[0][1] not in self.items:
            heappop(heap)

    def validate(self) -> None:
        """See `Machine.validate`."""
        for item in self.items.values():
            assert item.state is not GONE
            assert item.link in self.sources or item.state is ABANDONED
        assert {item.key for item in self.queue} == {k for k, i in self.items.items() if i.state is QUEUED}
        assert self.computing or not self.ahead
        for item in (*self.computing, *self.ahead):
            assert item.state in (COMPUTING, ABANDONED)
        for link, source in self.sources.items():
            assert source.keys.keys() == {key for key, item in self.items.items() if item.link == link}
            assert source.under_way == sum(source.keys.values())
            assert source.under_way + source.owed <= source.credits
        for lane in self.lanes.values():
            assert lane.credits >= 0
            assert all(self.items[key].state is READY for key in lane.ready)
            assert all(self.items[key].state is AWAY for key in lane.away)
