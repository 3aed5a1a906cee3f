"""Outcomes: what came of every request of a simulated run, and the run's figures."""

from collections.abc import Iterable, Sequence

import msgspec

from cutwater.engine.vocabulary import Route
from cutwater.units import RequestId, Seconds


class Asking:
    """One request while it is open, and its outcome afterwards."""

    __slots__ = (
        "asked",
        "attempt",
        "client",
        "deadline",
        "degraded",
        "ended",
        "kind",
        "model",
        "priority",
        "request",
        "route",
    )

    def __init__(
        self, request: RequestId, model: str, asked: Seconds, timeout: Seconds, priority: int = 0, client: str = ""
    ) -> None:
        self.request = request
        self.priority = priority
        self.client = client
        self.model = model
        self.asked = asked
        self.deadline = asked + timeout
        self.ended: Seconds | None = None
        self.kind = ""
        """Of the error that is its answer; empty: it has a result."""
        self.attempt = 0
        """How often it was launched."""
        self.route: Route | None = None
        """Of the newest attempt."""
        self.degraded = False

    @property
    def latency(self) -> Seconds:
        """From asking to the answer."""
        assert self.ended is not None
        return self.ended - self.asked


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures."""

    asked: int
    answered: int
    """With a result."""
    degraded: int
    retried: int
    """Launched more than once, however they ended."""
    errors: dict[str, int]
    """Kind -> how many."""
    lost: int
    """Without any answer by the end of the run: never more than 0."""
    seconds: Seconds
    """From the first asking to the last answer."""
    throughput: float
    """Results per second in that time."""
    p50: Seconds
    p90: Seconds
    p99: Seconds
    worst: Seconds


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between neighbours; NaN where there is nothing. ``ordered`` from the smallest up."""
    if not ordered:
        return float("nan")
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def figures(askings: Iterable[Asking]) -> Figures:
    """Count and measure."""
    latencies: list[float] = []
    errors: dict[str, int] = {}
    asked = lost = degraded = retried = 0
    first, last = float("inf"), 0.0
    for asking in askings:
        asked += 1
        retried += asking.attempt > 1
        first = min(first, asking.asked)
        if asking.ended is None:
            lost += 1
            continue
        last = max(last, asking.ended)
        if asking.kind:
            errors[asking.kind] = errors.get(asking.kind, 0) + 1
        else:
            latencies.append(asking.latency)
            degraded += asking.degraded
    latencies.sort()
    seconds = max(last - first, 0.0) if asked else 0.0
    return Figures(
        asked=asked,
        answered=len(latencies),
        degraded=degraded,
        retried=retried,
        errors=dict(sorted(errors.items())),
        lost=lost,
        seconds=seconds,
        throughput=len(latencies) / seconds if seconds else 0.0,
        p50=quantile(latencies, 0.5),
        p90=quantile(latencies, 0.9),
        p99=quantile(latencies, 0.99),
        worst=latencies[-1] if latencies else float("nan"),
    )
