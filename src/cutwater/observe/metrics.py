"""Metrics: all that Prometheus is told by one gateway, and the page where it is told."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import cutwater
from cutwater.observe.requests import RequestMetrics

_EOF = b"# EOF\n"
"""The end of a page of OpenMetrics."""

Counts = Callable[[], dict[str, int]]
"""Label's value -> how often since the start."""


class Metrics:
    """A registry of its own, with this process, its build and its requests; whoever knows more registers more."""

    def __init__(self, gateway: str) -> None:
        """``gateway``: its name."""
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests = RequestMetrics()
        self.observe = self.requests.observe
        """An `Observer`."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(_Build(gateway))
        self.registry.register(self.requests)

    def register(self, collector: Collector) -> None:
        """Ask it, too, whenever somebody scrapes. Raises ValueError for a name that is taken already."""
        self.registry.register(collector)

    def count(self, name: str, help_text: str, label: str, counts: Counts) -> None:
        """A counter that somebody keeps by himself: ``counts`` is asked whenever somebody scrapes."""
        self.registry.register(_Counted(name, help_text, label, counts))


def metrics_route(metrics: Metrics, path: str = "/metrics") -> Route:
    """Where Prometheus scrapes: OpenMetrics if it accepts that, else its own text format."""

    async def scrape(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        parts: list[bytes] = []
        for family in metrics.registry.collect():
            parts.append(encode(_Family(family)).removesuffix(_EOF))
            await asyncio.sleep(0)  # a page takes milliseconds to write, and requests shall not wait for all of it
        if kind.startswith("application/openmetrics-text"):
            parts.append(_EOF)
        return Response(b"".join(parts), headers={"content-type": kind})

    return Route(path, scrape, methods=["GET"], name="metrics", include_in_schema=False)


class _Family(Collector):
    """One family, to be written for itself."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        """See `Collector.collect`."""
        return [self._family]


class _Build(Collector):
    """Which gateway of which version this is."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway

    def collect(self) -> list[Metric]:
        """See `Collector.collect`."""
        info = InfoMetricFamily("cutwater_build", "The version that runs, and as which gateway.")
        info.add_metric((), {"version": cutwater.__version__, "gateway": self._gateway})
        return [info]


class _Counted(Collector):
    """One counter with one label."""

    def __init__(self, name: str, help_text: str, label: str, counts: Counts) -> None:
        self._name, self._help, self._label, self._counts = name, help_text, label, counts

    def collect(self) -> list[Metric]:
        """See `Collector.collect`."""
        family = CounterMetricFamily(self._name, self._help, labels=(self._label,))
        for value, count in self._counts().items():
            family.add_metric((value,), count)
        return [family]
