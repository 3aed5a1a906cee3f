"""Sender: sends a schedule's requests when they are due, whatever became of those before, and logs what comes of them.

A request's latency counts from when it was due, not from when there was room to send it: a sender that waits for a
slow service would otherwise leave out just the requests that had to wait (Tene, "How NOT to measure latency", 2013).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle

from cutwater.client.transport import Prepared
from cutwater.drivers.live import clock
from cutwater.errors import CutwaterError, DeadlineExceeded
from cutwater.lab.load.log import Log
from cutwater.lab.load.pace import pace
from cutwater.units import Seconds
from cutwater.workload.arrivals import Times

LOOK: Seconds = 0.1
"""How often it is asked whether a load is hopeless."""


@dataclass(frozen=True, kw_only=True)
class SendOptions:
    """How long a sender waits, and for how many."""

    timeout: Seconds = 30.0
    """After a request was due nobody wants its answer any more."""
    most_open: int = 32_768
    """Requests that may be open at once; who is due beyond is given up unsent, so that memory stays bounded."""
    patience: Seconds = 1.0
    """For requests that are open when the load is interrupted."""


class Sender:
    """Sends one log's schedule, once."""

    def __init__(
        self,
        log: Log,
        prepared: Mapping[str, Sequence[Prepared]],
        options: SendOptions = SendOptions(),
        *,
        now: Callable[[], Seconds] = clock,
    ) -> None:
        """Nothing is sent yet.

        Args:
            log: Of a schedule; filled.
            prepared: Model -> its requests, which take turns.
            options: See there.
            now: Another clock must be that of the event loop.
        """
        self.log = log
        self.began = now()
        self._turns = [cycle(prepared[model]) for model in log.models]
        self._options = options
        self._now = now
        self._open: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> Seconds:
        """Since the load began."""
        return self._now() - self.began

    async def run(self, hopeless: Callable[[Log, Seconds], bool] | None = None) -> Log:
        """Send all and wait for all; being cancelled once ends it early, with what was sent.

        Args:
            hopeless: Asked now and then with the log and the seconds since the load began; if it says so, the load is
                abandoned, and requests that are open are withdrawn.
        """
        self.began = self._now()
        work = asyncio.ensure_future(self._send_all())
        watch = asyncio.ensure_future(self._watch(hopeless, work)) if hopeless is not None else None
        try:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(work)
            if not work.done():
                self._interrupt()
                work.cancel()
                await asyncio.wait(set(self._open) or {work}, timeout=self._options.patience)
        finally:
            work.cancel()
            if watch is not None:
                watch.cancel()
            for task in self._open:
                task.cancel()
            await asyncio.gather(work, *self._open, *([watch] if watch else []), return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error
        return self.log

    def _interrupt(self) -> None:
        """Whoever cancelled this task wants the load to end, and its report."""
        self.log.interrupted = True
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()

    async def _send_all(self) -> None:
        await pace(_one_by_one(self.log.due), self.began, self._fire, self._now)
        while self._open:
            await asyncio.wait(set(self._open))

    async def _watch(self, hopeless: Callable[[Log, Seconds], bool], work: "asyncio.Future[None]") -> None:
        while not hopeless(self.log, self.now):  # noqa: ASYNC110 - time itself can make it so
            await asyncio.sleep(LOOK)
        self.log.abandoned = True
        work.cancel()

    def _fire(self, due: Seconds) -> None:
        k = self.log.fire()
        if len(self._open) >= self._options.most_open:
            self.log.leave(k, self.now)
            return
        task = asyncio.create_task(self._send(k, due, next(self._turns[self.log.model[k]])))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _send(self, k: int, due: Seconds, prepared: Prepared) -> None:
        log = self.log
        self.log.send(k, now := self.now)
        try:
            async with asyncio.timeout(due + self._options.timeout - now):
                glance = await prepared()
        except TimeoutError as error:
            late = DeadlineExceeded("no answer in time")
            late.__cause__ = error
            log.fail(k, self.now, late)
        except CutwaterError as error:
            log.fail(k, self.now, error)
        else:
            log.answer(k, self.now, glance)


def _one_by_one(times: Times) -> Iterator[Seconds]:
    """As Python's own numbers, of which few are there at a time."""
    for begin in range(0, len(times), 1024):
        yield from times[begin : begin + 1024].tolist()
