"""Instruments: everything that watches the requests of one gateway, in one piece."""

from collections.abc import Callable, Sequence

from starlette.routing import Route

from cutwater.api.backend import Backend
from cutwater.api.finished import Observer
from cutwater.observe.access import AccessLog
from cutwater.observe.health import health_routes
from cutwater.observe.metrics import Metrics, metrics_route
from cutwater.observe.spans import open_spans
from cutwater.observe.statistics import StatisticsBook
from cutwater.settings.settings import ObserveSettings


class Instruments:
    """Traces are exported between ``spans.start()`` and ``spans.stop()``."""

    def __init__(self, settings: ObserveSettings, gateway: str) -> None:
        """``gateway``: its name. Raises MissingExtra, BadSetting where traces are wanted and cannot be had."""
        self.statistics = StatisticsBook()
        self.metrics = Metrics(gateway)
        self.spans = open_spans(settings, gateway)
        self.metrics.count(
            "cutwater_traces",
            "Traced requests: exported; dropped, as too many waited; failed, as the collector did not take them.",
            "outcome",
            self.spans.counts,
        )
        self.observers: Sequence[Observer] = (
            self.statistics.observe,
            self.metrics.observe,
            self.spans.observe,
            AccessLog().observe,
        )
        """To be told of every request that ends."""

    def routes(self, backend: Backend, reasons: Callable[[], Sequence[str]] = tuple) -> list[Route]:
        """/metrics, /healthz and /readyz. ``reasons``: why the backend is not ready, where it is not."""
        return [metrics_route(self.metrics), *health_routes(backend, reasons)]
