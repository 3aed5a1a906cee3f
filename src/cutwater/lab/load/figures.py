"""Figures: a log, counted: what was answered, how fast, how much of it in time, and how punctual the sender was."""

import msgspec
import numpy as np

from cutwater.lab.load.doubt import Estimate, Flags, mean, percentile, share
from cutwater.lab.load.log import Log
from cutwater.lab.load.result import Result
from cutwater.units import Seconds

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_ERRORS = frozenset({Result.FAILED, Result.LOST})


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What came of requests of one model, or of all; those of the warm-up are left out."""

    submitted: int
    """Requests that were due."""
    answered: int
    """Degraded ones included."""
    degraded: int
    refused: int
    failed: int
    unsent: int
    """Given up because too many were open."""
    errors: dict[str, int]
    """By kind, refusals included."""
    mean: Estimate | None
    """Of the latency of answers, from when they were due, in seconds; None: there are none."""
    percentiles: dict[str, Estimate]
    """The same: "p50" .. "p99.9"; each is the latency of one request."""
    throughput: float
    """Answers per second of the time in which requests were due."""
    goodput: float
    """Of those, the ones in time; without an SLO all are."""
    slo: Seconds | None
    attainment: Estimate | None
    """Answers in time over requests submitted; None: there is no SLO, or no request."""


class Punctuality(msgspec.Struct, frozen=True):
    """How well the sender kept to the schedule; seconds between a request being due and being sent."""

    scheduled: float
    """Requests per second that were to be sent."""
    offered: float
    """That were sent."""
    p50: Seconds
    p99: Seconds
    worst: Seconds
    most_open: int
    """Requests that were open at once, at most."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """A load and what came of it."""

    duration: Seconds
    """Of what is counted."""
    warmup: Seconds
    """Left out before that."""
    interrupted: bool
    punctuality: Punctuality
    models: dict[str, Figures]
    together: Figures


def count_load(log: Log, warmup: Seconds = 0.0) -> LoadReport:
    """Count what came of the requests due from ``warmup`` on."""
    due = log.due[: log.fired]
    duration = max(log.end - warmup, 1e-9)
    counted = due >= warmup
    owner = log.model[: log.fired]
    models = {
        model: _figures(log, counted & (owner == k), duration, log.slos.get(model))
        for k, model in enumerate(log.models)
    }
    slos = {log.slos.get(model) for model in log.models}
    together = _figures(log, counted, duration, next(iter(slos)) if len(slos) == 1 else None)
    if None not in slos and counted.any():
        together = msgspec.structs.replace(together, attainment=share(log.in_time[counted]))
    return LoadReport(
        duration=duration,
        warmup=warmup,
        interrupted=log.interrupted,
        punctuality=_punctuality(log, counted, duration),
        models=models,
        together=together,
    )


def _figures(log: Log, which: Flags, duration: Seconds, slo: Seconds | None) -> Figures:
    results = log.results(which)
    good, in_time = which & log.good, which & log.in_time
    latencies = (log.ended - log.due[: log.fired])[good]
    answered = len(latencies)
    return Figures(
        submitted=int(np.count_nonzero(which)),
        answered=answered,
        degraded=results.get(Result.DEGRADED, 0),
        refused=results.get(Result.REFUSED, 0),
        failed=sum(results.get(result, 0) for result in _ERRORS),
        unsent=results.get(Result.UNSENT, 0),
        errors=log.kinds(which),
        mean=mean(latencies) if answered else None,
        percentiles={name: percentile(latencies, at) for name, at in PERCENTILES.items()} if answered else {},
        throughput=answered / duration,
        goodput=int(np.count_nonzero(in_time)) / duration,
        slo=slo,
        attainment=share(log.in_time[which]) if slo is not None and which.any() else None,
    )


def _punctuality(log: Log, counted: Flags, duration: Seconds) -> Punctuality:
    late = (log.sent - log.due[: log.fired])[counted]
    late = late[~np.isnan(late)]
    p50, p99, worst = np.quantile(late, (0.5, 0.99, 1.0)) if len(late) else (0.0, 0.0, 0.0)
    due = int(np.count_nonzero(counted))
    return Punctuality(due / duration, len(late) / duration, float(p50), float(p99), float(worst), log.most_open)
