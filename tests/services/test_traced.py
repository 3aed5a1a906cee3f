"""A request through three real workers is one trace that adds up, at a collector, and in what Prometheus is told."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector import Collector, children, collecting, nanoseconds
from endings import get
from gateway_bed import MODEL, in_loop, with_gateway
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from cutwater.api.backend import Ask
from cutwater.api.finished import Finished
from cutwater.cut.lattice import Lattice
from cutwater.fabric.server import ServerOptions, answering, prepare
from cutwater.observe.instruments import Instruments
from cutwater.observe.metrics import metrics_route
from cutwater.settings.settings import ObserveSettings

pytestmark = pytest.mark.slow

CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MANY = 20


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server."""
    options = ServerOptions(home=tmp_path_factory.mktemp("nats"))
    server = subprocess.Popen(prepare(options))
    yield asyncio.run(answering(options, server.pid))
    server.terminate()
    server.wait()


def test_a_request_is_one_trace(tmp_path: Path, vit_lattice: Lattice, url: str) -> None:
    seen: list[Finished] = []
    page = ""

    async def story(collector: Collector) -> None:
        nonlocal page
        instruments = Instruments(ObserveSettings(otlp=collector.url, share=0.0), "gateway-1")
        async with with_gateway(tmp_path, vit_lattice, url) as bed:
            assert bed.gateway is not None
            await bed.go_live(await bed.deploy(1, [0.3, 0.7], ("raw", "float16", "raw", "raw"), [1, 1, 1]))
            bed.gateway._means.observers.extend((*instruments.observers, seen.append))
            instruments.spans.start()

            async def ask(trace: str) -> None:
                assert bed.gateway is not None
                span = instruments.spans.begin(trace)
                await bed.gateway.hosts[MODEL].ask(Ask(MODEL, bed.feeds(1), trace=trace, span=span, door="http"))

            await asyncio.gather(ask(CLIENT), *(ask("") for _ in range(MANY)))
            _, _, body = await get(metrics_route(instruments.metrics))
            page = body.decode()
        await instruments.spans.stop()

    with collecting() as collector:
        in_loop(lambda: story(collector))

    traced = next(finished for finished in seen if finished.trace)
    spans = collector.spans
    (root,) = (span for span in spans if span.name == f"infer {MODEL}")
    assert f"00-{root.trace_id.hex()}-{root.span_id.hex()}-01" == traced.span
    assert f"00-{root.trace_id.hex()}-{root.parent_span_id.hex()}-01" == CLIENT
    inside = children(spans, root)
    stages = [mark.stage for mark in traced.trail]
    assert len(stages) == 3
    assert [span.name for span in inside if not span.name.startswith("hop ")] == ["queue", *stages]
    leaves: list[Span] = [leaf for span in inside for leaf in (children(spans, span) or [span])]
    assert nanoseconds(root) == pytest.approx((traced.ended - traced.began) * 1e9, abs=1000)
    assert sum(map(nanoseconds, leaves)) == pytest.approx(nanoseconds(root), rel=0.05)

    told = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }

    def value(name: str, *labels: str) -> float:
        return told[name, frozenset((MODEL, *labels))]

    assert value("cutwater_requests_total", "http", "answered") == MANY + 1
    latency = sum(finished.ended - finished.began for finished in seen)
    assert value("cutwater_request_seconds_sum") == pytest.approx(latency)
    parts = value("cutwater_gateway_queue_seconds_sum") + value("cutwater_transfer_seconds_sum")
    for part in ("queue", "decode", "compute", "encode", "hold"):
        parts += sum(value(f"cutwater_stage_{part}_seconds_sum", stage) for stage in stages)
    assert parts == pytest.approx(latency), "no second is missing, and none counted twice"
