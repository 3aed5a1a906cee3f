"""Spans: decides which requests are traced, and hands those that have ended to whoever exports them, in the background.

Nothing here waits: what the exporter cannot keep up with is dropped, and counted.
"""

import asyncio
import random
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol

from cutwater.api.finished import Finished
from cutwater.drivers.live import clock
from cutwater.observe.traceparent import Sampler
from cutwater.settings.settings import ObserveSettings
from cutwater.units import Seconds

ROOM = 4096
"""Requests that may wait to be exported."""
BATCH = 32
"""Requests that are exported together at most: writing them holds the interpreter's lock."""
PERIOD: Seconds = 1.0
"""How long a request waits for company."""
FAREWELL: Seconds = 3.0
"""How long the last ones may take when the process ends."""


class Exporter(Protocol):
    """Makes spans of requests and sends them; used by one thread, but closed by another."""

    def export(self, requests: Sequence[Finished]) -> bool:
        """Whether they have arrived. It may take its time, and does not raise."""
        ...

    def close(self) -> None:
        """Give up what is under way, and all that comes."""
        ...


def open_spans(settings: ObserveSettings, gateway: str) -> "Spans":
    """The spans of the gateway of this name; they end up nowhere where no collector is set.

    Raises:
        MissingExtra: A collector is set, and the packages for it are not installed.
        BadSetting: It is no URL.
    """
    if not settings.otlp:
        return Spans(None, 0.0)
    from cutwater.observe.otlp import OtlpExporter

    return Spans(OtlpExporter(settings.otlp, gateway), settings.share)


class Spans:
    """All traced requests of one gateway."""

    def __init__(self, exporter: Exporter | None, share: float, rng: random.Random | None = None) -> None:
        """Nothing is exported before `start`.

        Args:
            exporter: who sends them; None: nothing is traced.
            share: which part of the requests is traced whose clients say nothing about it, 0 to 1.
            rng: for ids and for the share.
        """
        self.exported = self.dropped = self.failed = 0
        """Requests: arrived; never sent, as too many waited; sent, but not taken."""
        self._exporter = exporter
        self._sampler = Sampler(share, rng or random.Random()) if exporter is not None else None
        self._waiting: SimpleQueue[Finished | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, trace: str) -> str:
        """What `Ask.span` is for a request with this `Ask.trace`; empty: it is not recorded."""
        return self._sampler.begin(trace) if self._sampler is not None else ""

    def observe(self, finished: Finished) -> None:
        """See `cutwater.api.finished.Observer`."""
        if not finished.span or self._exporter is None:
            return
        if self._waiting.qsize() >= ROOM:
            self.dropped += 1
        else:
            self._waiting.put(finished)

    def counts(self) -> dict[str, int]:
        """How many requests came how far."""
        return {"exported": self.exported, "dropped": self.dropped, "failed": self.failed}

    def start(self) -> None:
        """Export from now on."""
        if self._exporter is not None:
            self._thread = threading.Thread(target=self._work, args=(self._exporter,), name="spans", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Export what waits, within `FAREWELL`."""
        if self._thread is None or self._exporter is None:
            return
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join, FAREWELL)
        self._exporter.close()
        self._thread = None

    async def __aenter__(self) -> "Spans":
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _work(self, exporter: Exporter) -> None:
        going = True
        while going:
            batch, going = self._next()
            if not batch:
                continue
            if exporter.export(batch):
                self.exported += len(batch)
            else:
                self.failed += len(batch)

    def _next(self) -> tuple[list[Finished], bool]:
        """What is to be exported next, and whether more will come."""
        batch: list[Finished] = []
        first = self._waiting.get()
        until = clock() + PERIOD
        while first is not None:
            batch.append(first)
            if len(batch) == BATCH:
                return batch, True
            try:
                first = self._waiting.get(timeout=max(until - clock(), 0.0))
            except Empty:
                return batch, True
        return batch, False
