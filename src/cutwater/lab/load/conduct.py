"""Conducts a load against an endpoint: checks that the models are there, prepares, sends; once, or for a search."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cutwater.client.transport import Prepared
from cutwater.drivers.live import clock
from cutwater.errors import DeadlineExceeded, Refused
from cutwater.lab.load.log import Log
from cutwater.lab.load.mlperf import MlperfOptions, MlperfReport, mlperf
from cutwater.lab.load.payloads import PayloadOptions
from cutwater.lab.load.search import Found, Hopeless, Search, SearchOptions, Try
from cutwater.lab.load.sender import Sender, SendOptions
from cutwater.lab.load.target import Endpoint, Target
from cutwater.lab.load.work import Work, drawn, models_of, scaling
from cutwater.units import Seconds
from cutwater.workload.schedule import Schedule

SETTLED: Seconds = 30.0
"""So long, at most, a service may take to be as quick as its SLOs again, after a trial that was too much for it."""
PAUSE: Seconds = 0.05


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Where a load goes, and how."""

    endpoint: Endpoint = field(default_factory=Endpoint)
    payloads: PayloadOptions = field(default_factory=PayloadOptions)
    sending: SendOptions = field(default_factory=SendOptions)
    slos: Mapping[str, Seconds] = field(default_factory=dict)
    """Model -> the time in which its requests should be answered."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Model -> where it was asked for, for errors; see `work.places_of`."""
    names: bool = False
    """Whether to keep what the gateway calls each request."""


Begin = Callable[[Log], None]
"""Told of each log before its first request is sent."""


async def load_once(work: Work, options: LoadOptions, begin: Begin = lambda log: None) -> Log:
    """Send ``work`` once; being cancelled once ends it early, with what was sent.

    Raises:
        CutwaterError: Before anything is sent: no such endpoint or model, or a payload that is not taken.
    """
    schedule = drawn(work)
    async with Target(options.endpoint, options.places) as target:
        prepared = await _prepared(target, list(schedule.times), options)
        log = Log(schedule, slos=options.slos, names=options.names)
        begin(log)
        return await Sender(log, prepared, options.sending).run()


async def search(
    work: Work,
    what: str,
    options: LoadOptions,
    wanted: SearchOptions,
    begin: Begin = lambda log: None,
    tell: Callable[[Try], None] = lambda tried: None,
) -> Found:
    """The highest factor of ``work``'s rate or burstiness (see `work.scaling`) that keeps the SLOs.

    Raises:
        CutwaterError: See `load_once` and `Search.run`.
        asyncio.CancelledError: It was interrupted; what was tried has been told.
    """
    async with Target(options.endpoint, options.places) as target:
        prepared = await _prepared(target, models_of(work), options)

        async def send(schedule: Schedule, hopeless: Hopeless) -> Log:
            await _settle(prepared, options)
            log = Log(schedule, slos=options.slos)
            begin(log)
            await Sender(log, prepared, options.sending).run(hopeless)
            if log.interrupted:
                raise asyncio.CancelledError
            return log

        return await Search(scaling(work, what), send, wanted, tell).run()


async def drive(model: str, options: LoadOptions, wanted: MlperfOptions, folder: Path) -> MlperfReport:
    """Let LoadGen load one model; its files go to ``folder``. Raises CutwaterError: see `load_once` and `mlperf`."""
    async with Target(options.endpoint, options.places) as target:
        prepared = await _prepared(target, [model], options)
        return await mlperf(prepared[model], wanted, folder)


async def _prepared(target: Target, models: Sequence[str], options: LoadOptions) -> Mapping[str, Sequence[Prepared]]:
    limit = options.sending.timeout
    prepared = await target.prepared(models, options.payloads, limit)
    await target.check(prepared, limit)
    return prepared


async def _settle(prepared: Mapping[str, Sequence[Prepared]], options: LoadOptions) -> None:
    """Wait until each model answers one request within its SLO. Raises DeadlineExceeded."""
    until = clock() + SETTLED
    for model, requests in prepared.items():
        slo = options.slos.get(model, SETTLED)
        while not await _quick(requests[0], slo):
            if clock() > until:
                raise DeadlineExceeded(
                    f"model {model!r} has not answered a single request within its SLO of {slo:g} s for {SETTLED:g} s: "
                    "give it a longer SLO"
                )
            await asyncio.sleep(PAUSE)


async def _quick(request: Prepared, slo: Seconds) -> bool:
    began = clock()
    try:
        async with asyncio.timeout(SETTLED):
            await request()
    except (Refused, DeadlineExceeded, TimeoutError):
        return False
    return clock() - began <= slo
