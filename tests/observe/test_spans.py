"""Spans as a collector receives them: nested, complete, and adding up to the latency; nothing ever waits for them."""

import asyncio
import random
import threading
from collections.abc import Sequence

import pytest
from collector import Collector, children, collecting, nanoseconds
from endings import LATENCY, answered, failed
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from cutwater.api.finished import Finished
from cutwater.errors import BadSetting
from cutwater.observe import spans as module
from cutwater.observe.otlp import OtlpExporter
from cutwater.observe.spans import ROOM, Spans, open_spans
from cutwater.observe.traceparent import Traceparent, parse_traceparent
from cutwater.settings.settings import ObserveSettings

CLIENT = Traceparent(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, True)
APART = (-900.0, 12.0, 7e5)


def send(collector: Collector, *requests: Finished) -> Spans:
    async def story() -> Spans:
        async with open_spans(ObserveSettings(otlp=collector.url, share=1.0), "gateway-1") as spans:
            for finished in requests:
                spans.observe(finished)
        return spans

    return asyncio.run(story())


def attributes(span: Span) -> dict[str, object]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


@pytest.mark.parametrize("clocks", [(0.0, 0.0, 0.0), APART])
def test_a_request_through_three_stages_nests_and_adds_up(clocks: tuple[float, ...]) -> None:
    own = Traceparent(CLIENT.trace, 0xABCDEF, True)
    with collecting() as collector:
        sent = send(collector, answered(clocks, trace=str(CLIENT), span=str(own)))
    assert sent.counts() == {"exported": 1, "dropped": 0, "failed": 0}
    assert collector.paths == {"/v1/traces"}
    spans = collector.spans
    assert {span.trace_id for span in spans} == {CLIENT.trace.to_bytes(16, "big")}
    (root,) = (span for span in spans if span.name == "infer vit")
    assert root.kind == Span.SPAN_KIND_SERVER
    assert root.span_id == own.span.to_bytes(8, "big"), "as was said when the request came"
    assert root.parent_span_id == CLIENT.span.to_bytes(8, "big")
    assert nanoseconds(root) == pytest.approx(LATENCY * 1e9, abs=2)

    inside = children(spans, root)
    assert [span.name for span in inside] == [
        "queue",
        *("hop gateway -> stage-1", "stage-1"),
        *("hop stage-1 -> stage-2", "stage-2"),
        *("hop stage-2 -> stage-3", "stage-3"),
        "hop stage-3 -> gateway",
    ]
    leaves: list[Span] = []
    for span in inside:
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
        parts = children(spans, span)
        if span.name.startswith("stage-"):
            assert [part.name for part in parts] == ["queue", "decode", "compute", "encode", "hold"]
            assert parts[0].start_time_unix_nano == span.start_time_unix_nano
            assert parts[-1].end_time_unix_nano == span.end_time_unix_nano
            assert sum(map(nanoseconds, parts)) == nanoseconds(span)
        leaves += parts or [span]
    assert len(spans) == 1 + 8 + 15
    assert sum(map(nanoseconds, leaves)) == pytest.approx(nanoseconds(root), rel=0.05)
    assert sum(map(nanoseconds, leaves)) == nanoseconds(root), "and indeed nothing is missing"


def test_spans_say_what_they_are_about() -> None:
    with collecting() as collector:
        send(collector, answered(batch=4, degraded=True, span=str(CLIENT)))
    (group,) = collector.groups
    resource = {each.key: each.value.string_value for each in group.resource.attributes}
    assert (resource["service.name"], resource["service.instance.id"]) == ("cutwater", "gateway-1")
    by_name = {span.name: attributes(span) for span in collector.spans if span.name not in ("queue", "compute")}
    assert by_name["infer vit"] == {
        "cutwater.model": "vit",
        "cutwater.request": "7-1",
        "cutwater.door": "http",
        "cutwater.client": "native:1",
        "cutwater.degraded": True,
        "cutwater.request_bytes": 2100,
        "cutwater.answer_bytes": 8000,
        "cutwater.hops_measured": True,
    }
    assert by_name["hop gateway -> stage-1"] == {"cutwater.stage": "stage-1", "cutwater.bytes": 1000}
    assert by_name["hop stage-3 -> gateway"] == {"cutwater.bytes": 4000}
    assert by_name["stage-2"]["cutwater.batch"] == 4
    (root,) = (span for span in collector.spans if span.name == "infer vit")
    assert root.parent_span_id == b"", "nobody asked under a span of its own"


def test_a_request_that_failed_is_a_span_with_an_error() -> None:
    with collecting() as collector:
        send(collector, failed(span=str(CLIENT)))
    (span,) = collector.spans
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "the queue is full")
    assert attributes(span)["error.type"] == "Refused"
    assert attributes(span)["cutwater.request_id"] == "mine"


def test_what_is_not_recorded_is_not_sent() -> None:
    with collecting() as collector:
        sent = send(collector, answered(), failed())
    assert collector.groups == [] and sent.exported == 0


def test_without_a_collector_nothing_is_traced() -> None:
    async def story() -> None:
        async with open_spans(ObserveSettings(share=1.0), "gateway-1") as spans:
            assert spans.begin("") == spans.begin(str(CLIENT)) == ""
            spans.observe(answered(span=str(CLIENT)))
            assert spans.counts() == {"exported": 0, "dropped": 0, "failed": 0}

    asyncio.run(story())


def test_a_traced_client_is_answered_with_the_span_of_its_request() -> None:
    spans = Spans(OtlpExporter("http://127.0.0.1:9", "gateway-1"), 0.0, random.Random(1))
    own = parse_traceparent(spans.begin(str(CLIENT)))
    assert own is not None and own.trace == CLIENT.trace and own.span != CLIENT.span
    assert spans.begin("") == ""


class Stuck:
    """An exporter that takes one batch and does not come back."""

    def __init__(self) -> None:
        self.took = threading.Event()
        self.closed = threading.Event()

    def export(self, requests: Sequence[Finished]) -> bool:
        self.took.set()
        self.closed.wait()
        return False

    def close(self) -> None:
        self.closed.set()


def test_what_the_collector_cannot_take_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAREWELL", 0.0)
    monkeypatch.setattr(module, "BATCH", 1)

    async def story() -> None:
        stuck = Stuck()
        async with Spans(stuck, 1.0) as spans:
            spans.observe(answered(span=str(CLIENT)))
            await asyncio.to_thread(stuck.took.wait)
            for _ in range(ROOM + 5):
                spans.observe(answered(span=str(CLIENT)))
            assert spans.dropped == 5

    asyncio.run(story())


def test_a_collector_that_refuses_costs_spans_but_no_more(caplog: pytest.LogCaptureFixture) -> None:
    with collecting(status=400) as collector:
        sent = send(collector, answered(span=str(CLIENT)))
    assert sent.counts() == {"exported": 0, "dropped": 0, "failed": 1}
    assert [record.message for record in caplog.records] == [f"{collector.url}/v1/traces takes no spans; they are lost"]


def test_a_collector_must_be_a_url() -> None:
    with pytest.raises(BadSetting, match=r"observe\.otlp: 'collector:4318' is no URL"):
        open_spans(ObserveSettings(otlp="collector:4318"), "gateway-1")
    assert OtlpExporter("https://host:4318/", "g").endpoint == "https://host:4318/v1/traces"
    assert OtlpExporter("https://host/api/traces", "g").endpoint == "https://host/api/traces"
