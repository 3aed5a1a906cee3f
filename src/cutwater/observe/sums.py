"""Histogram, Summary: sums that are added to for every request; the client library's own take ten times as long."""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client.core import HistogramMetricFamily, SummaryMetricFamily

SECONDS = (
    50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3,
    1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper ends of the classes of times: a hop inside one machine takes tens of microseconds, a queue seconds."""
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Upper ends of the classes of batches."""
MOST = 1e9
"""What is larger, or negative, is no measurement: a worker that lies must not spoil a sum for good."""


class Histogram:
    """How many observations were in each class, and what they add up to."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        if 0.0 <= value < MOST:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Say it under these labels."""
        buckets: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            seen += count
            buckets.append((bound, float(seen)))
        family.add_metric(labels, buckets, self._sum)


class Summary:
    """How many observations there were, and what they add up to."""

    __slots__ = ("_count", "_sum")

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        if 0.0 <= value < MOST:
            self._count += 1
            self._sum += value

    def add_to(self, family: SummaryMetricFamily, labels: Sequence[str]) -> None:
        """Say it under these labels."""
        family.add_metric(labels, self._count, self._sum)
