"""Asking a deployed model for many inputs, in their order, with bounded memory: what `cutwater infer` does."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from cutwater.api.tasks import DEFAULT_THRESHOLD
from cutwater.cli.answers import Reader
from cutwater.drivers.live import clock
from cutwater.engine.facts.models import ModelRecord, Pictures
from cutwater.errors import CutwaterError, InputError, LinkLost, NotFound
from cutwater.fabric.base import Fabric
from cutwater.lab.adding import known_as
from cutwater.lab.annotate import Drawings, Target
from cutwater.lab.inputs import InputOptions, Item, open_inputs
from cutwater.services.access import tls_of
from cutwater.services.asking import ClusterStatus, GetStatus, ask_coordinator
from cutwater.services.cluster.overview import reached
from cutwater.services.gateway.client import NativeClient
from cutwater.services.home import Home
from cutwater.services.workers.outcome import Feeds, Outcome
from cutwater.settings.resolve import Resolved
from cutwater.units import Seconds
from cutwater.vision.detect import Detection
from cutwater.vision.prepare import Preparation
from cutwater.vision.task import DETECT
from cutwater.wire.message import Address

HELD = 64 * 2**20
"""Bytes of inputs, and of pictures to draw on, that may wait for answers; two items may in any case."""


@dataclass
class Tally:
    """What came of all."""

    answered: int = 0
    degraded: int = 0
    failed: int = 0
    latencies: list[Seconds] = field(default_factory=list)
    elapsed: Seconds = 0.0

    def add(self, outcome: Outcome | CutwaterError) -> None:
        """One more."""
        if isinstance(outcome, CutwaterError):
            self.failed += 1
            return
        self.answered += 1
        self.degraded += outcome.degraded
        self.latencies.append(outcome.latency)

    def facts(self) -> dict[str, Any]:
        """As JSON shows it; seconds."""
        p50, p99 = np.quantile(self.latencies, (0.5, 0.99)) if self.latencies else (0.0, 0.0)
        return {
            "answered": self.answered,
            "degraded": self.degraded,
            "failed": self.failed,
            "elapsed": self.elapsed,
            "rate": self.answered / self.elapsed if self.elapsed else 0.0,
            "p50": float(p50),
            "p99": float(p99),
        }


@dataclass(frozen=True)
class Ask:
    """What is to be asked."""

    model: str
    inputs: list[str]
    repeat: int | None
    duration: Seconds | None
    rate: float | None
    timeout: Seconds
    gateway: str
    top: int = 3
    threshold: float = DEFAULT_THRESHOLD
    annotate: Target | None = None
    """Where drawings go; None: none are made."""


Told = Callable[[Item, Outcome | CutwaterError, Reader], None]


async def asked(resolved: Resolved, ask: Ask, told: Told) -> Tally:
    """Ask, and tell each outcome in order. Raises CutwaterError where the model cannot be asked at all."""
    home = Home(resolved.home)
    async with reached(home, resolved.settings.fabric, "infer") as fabric:
        record = await _record(fabric, ask.model)
        address = ask.gateway or await _gateway(home, fabric)
    reader = Reader(record, ask.top, ask.threshold)
    if ask.annotate is not None and reader.task != DETECT:
        raise InputError(f"--annotate draws what a detector sees, and {ask.model} is none; see `cutwater model list`")
    options = InputOptions(preparation(record.pictures), ask.repeat, pixels=ask.annotate is not None)
    items = open_inputs(ask.inputs, record.inputs, options)
    tally, waiting = Tally(), deque[Item]()
    tls = tls_of(resolved.settings.fabric) if address.startswith("tcp:") else None
    token = resolved.settings.gateway.token
    with _drawings(ask.annotate, record) as draw:
        async with NativeClient(address, ask.model, token=token, timeout=ask.timeout, tls=tls) as client:
            began = clock()
            paced = _Paced(items, ask, waiting)
            async for outcome in client.stream(paced, in_flight=await paced.in_flight(client.credits)):
                tally.add(outcome)
                item = waiting.popleft()
                if draw is not None:
                    await asyncio.to_thread(draw, item, reader.detections(item, outcome))
                told(item, outcome, reader)
                if isinstance(outcome, LinkLost):
                    break
            tally.elapsed = clock() - began
    return tally


@contextmanager
def _drawings(target: Target | None, record: ModelRecord) -> Iterator[Callable[[Item, list[Detection]], None] | None]:
    if target is None:
        yield None
        return
    with Drawings(target, record.labels) as drawings:
        yield drawings.add


class _Paced:
    """The feeds of all items in their time; the items themselves wait in a queue for their outcomes."""

    def __init__(self, items: Iterable[Item], ask: Ask, waiting: deque[Item]) -> None:
        self._items = iter(items)
        self._ask = ask
        self._waiting = waiting
        self._first: list[Item | None] = []

    async def in_flight(self, most: int) -> int:
        """How many requests may be open, so that their pictures fit into memory: as many frames as `HELD`."""
        first = await self._next()
        self._first.append(first)
        nbytes = 0 if first is None else sum(array.nbytes for array in first.feeds.values())
        nbytes += first.pixels.nbytes if first is not None and first.pixels is not None else 0
        return max(2, min(most, HELD // max(nbytes, 1)))

    async def __aiter__(self) -> AsyncIterator[Feeds | CutwaterError]:
        ask, began = self._ask, clock()
        for k in count():
            item = self._first.pop() if self._first else await self._next()
            if item is None:
                return
            if ask.rate is not None:
                await asyncio.sleep(max(began + k / ask.rate - clock(), 0.0))
            if ask.duration is not None and clock() - began >= ask.duration:
                return
            self._waiting.append(item)
            yield item.feeds if item.error is None else item.error

    async def _next(self) -> Item | None:
        """Reading a picture takes long enough for answers to arrive meanwhile."""
        return await asyncio.to_thread(next, self._items, None)


async def _record(fabric: Fabric, model: str) -> ModelRecord:
    record = await known_as(fabric, model)
    if record is None:
        raise NotFound(f"the cluster knows no model {model!r}; see `cutwater model list`, or add it")
    return record


async def _gateway(home: Home, fabric: Fabric) -> Address:
    """Where to ask: on this machine if there is a gateway, else any that lives. Raises NotFound."""
    for record in home.alive().values():
        if "socket" in record.facts:
            return record.facts["socket"]
    status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
    for each in status.gateways:
        if each.alive and each.beat.clients.startswith("tcp:"):
            return each.beat.clients
    raise NotFound("no gateway takes clients in; start one with `cutwater up`, or name its address with --gateway")


def preparation(pictures: Pictures) -> Preparation:
    """How pictures become inputs."""
    return Preparation(pictures.mean, pictures.std, pictures.fit, pictures.share)
