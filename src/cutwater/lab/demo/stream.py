"""A stream of requests without end, so many at a time, with the moment at which each answer came."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from cutwater.drivers.live import clock
from cutwater.errors import CutwaterError, LinkLost
from cutwater.lab.inputs import Item
from cutwater.lab.trial import Failed, Phase
from cutwater.services.gateway.client import NativeClient
from cutwater.services.workers.outcome import Outcome
from cutwater.units import Seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; times by `clock`."""

    asked: Seconds
    came: Seconds
    outcome: Outcome
    """Without the outputs, which have been judged."""


class Stream:
    """Asks one item after the other, round after round."""

    def __init__(
        self, client: NativeClient, items: Sequence[Item], judge: Callable[[Item, Outcome | CutwaterError], None]
    ) -> None:
        self._client, self._items, self._judge = client, items, judge
        self.asked = 0
        self.answers: list[Answer] = []
        """In the order in which they came."""
        self.failures: list[Failed] = []

    @property
    def repeated(self) -> int:
        """Answers to requests that had one already."""
        return self._client.repeated

    async def alone(self, count: int) -> Phase:
        """Ask so many, one at a time. Raises LinkLost when the gateway is gone."""
        began, first = clock(), len(self.answers)
        for _ in range(count):
            await self._ask()
        return phase(self.answers[first:], began, clock())

    async def run(self, in_flight: int, over: asyncio.Event) -> None:
        """Ask until ``over``, and then to the end of the round. Raises LinkLost when the gateway is gone."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(self._ask_on(over))
        except* LinkLost as lost:
            raise lost.exceptions[0] from None

    async def _ask_on(self, over: asyncio.Event) -> None:
        while not (over.is_set() and self.asked % len(self._items) == 0):
            await self._ask()

    async def _ask(self) -> None:
        item = self._items[self.asked % len(self._items)]
        self.asked += 1
        asked = clock()
        try:
            outcome = await self._client.infer(item.feeds)
        except LinkLost:
            raise
        except CutwaterError as error:
            self.failures.append(Failed(item.name, error.kind, str(error)))
            return
        came = clock()
        self._judge(item, outcome)
        self.answers.append(Answer(asked, came, msgspec.structs.replace(outcome, outputs={})))

    def rate(self, span: Seconds, now: Seconds) -> float:
        """Answers per second of the last ``span``."""
        recent = 0
        for answer in reversed(self.answers):
            if answer.came <= now - span:
                break
            recent += 1
        return recent / span


def phase(answers: Sequence[Answer], began: Seconds, ended: Seconds) -> Phase:
    """These answers as a phase of a trial."""
    return Phase([each.outcome for each in answers], [each.came for each in answers], ended - began)


def longest_silence(answers: Sequence[Answer], begin: Seconds, end: Seconds) -> tuple[Seconds, Seconds]:
    """When the longest time without an answer between two moments began and ended."""
    moments = [begin, *(answer.came for answer in answers if begin < answer.came < end), end]
    return max(pairwise(moments), key=lambda gap: gap[1] - gap[0])
