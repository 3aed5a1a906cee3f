"""OtlpExporter: makes OpenTelemetry spans of requests, after the fact, and sends them by OTLP over HTTP.

Imported only where a collector is set: it needs the extra `otel`.

    infer MODEL
      queue | hop gateway -> stage-1 | stage-1 .......................... | hop stage-1 -> stage-2 | stage-2 ... | hop
                                       queue decode compute encode hold
"""

import logging
import time
from collections.abc import Mapping, Sequence

from cutwater.errors import BadSetting, MissingExtra

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON
except ImportError as error:
    raise MissingExtra(
        "traces need the extra `otel` (pip install 'cutwater[otel]', or '.[otel]' in its source folder); "
        "or set observe.otlp to nothing"
    ) from error

import cutwater
from cutwater.api.finished import Finished
from cutwater.observe.access import LONGEST
from cutwater.observe.course import Part, hops, lay
from cutwater.observe.traceparent import Traceparent, parse_traceparent
from cutwater.units import Seconds

PATH = "/v1/traces"
"""Where a collector takes spans, if its URL names no path."""
TIMEOUT: Seconds = 5.0
"""For a collector to take one batch, however often it is tried."""

_log = logging.getLogger(__name__)
_OTHERS_LOG = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class OtlpExporter:
    """See `cutwater.observe.spans.Exporter`."""

    def __init__(self, endpoint: str, gateway: str) -> None:
        """``endpoint``: the collector's URL. ``gateway``: how this service is called. Raises BadSetting."""
        scheme, _, rest = endpoint.partition("://")
        if scheme not in ("http", "https") or not rest:
            raise BadSetting(f"observe.otlp: {endpoint!r} is no URL of a collector; write it like http://host:4318")
        self.endpoint = endpoint if "/" in rest.rstrip("/") else endpoint.rstrip("/") + PATH
        logging.getLogger(_OTHERS_LOG).setLevel(logging.CRITICAL)  # it would complain at each attempt
        self._exporter = OTLPSpanExporter(endpoint=self.endpoint, timeout=TIMEOUT)
        self._ids = _Ids()
        self._ended = _Ended()
        resource = Resource.create(
            {
                "service.name": "cutwater",
                "service.instance.id": gateway,
                "service.version": cutwater.__version__,
            }
        )
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("cutwater", cutwater.__version__)
        self._away = False

    def export(self, requests: Sequence[Finished]) -> bool:
        """See `Exporter.export`."""
        for finished in requests:
            self._record(finished)
            time.sleep(0)  # the event loop may be waiting for the interpreter's lock
        taken = self._exporter.export(self._ended.take()) is SpanExportResult.SUCCESS
        if taken == self._away:
            self._away = not taken
            _log.warning("%s %s", self.endpoint, "takes spans again" if taken else "takes no spans; they are lost")
        return taken

    def close(self) -> None:
        """See `Exporter.close`."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _record(self, finished: Finished) -> None:
        own = parse_traceparent(finished.span)
        if own is None:
            return
        began = round(finished.at * 1e9)

        def at(moment: Seconds) -> int:
            return began + round(moment * 1e9)

        self._ids.next = own
        root = self._tracer.start_span(
            f"infer {finished.model}",
            _under(parse_traceparent(finished.trace)),
            trace.SpanKind.SERVER,
            _attributes(finished),
            start_time=at(0.0),
        )
        if finished.fault:
            root.set_attribute("error.type", finished.fault)
            root.set_status(trace.Status(trace.StatusCode.ERROR, finished.why))
        within = trace.set_span_in_context(root, Context())
        for part in lay(finished):
            span = self._tracer.start_span(
                part.name, within, attributes=_attributes_of(part, finished), start_time=at(part.begin)
            )
            inside = trace.set_span_in_context(span, Context()) if part.parts else within
            for each in part.parts:
                attributes = _attributes_of(each, finished)
                self._tracer.start_span(each.name, inside, attributes=attributes, start_time=at(each.begin)).end(
                    at(each.end)
                )
            span.end(at(part.end))
        root.end(at(finished.ended - finished.began))


def _under(parent: Traceparent | None) -> Context:
    """The context of a span whose parent is elsewhere, or which has none."""
    if parent is None:
        return Context()
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.sampled else trace.TraceFlags.DEFAULT)
    remote = trace.SpanContext(parent.trace, parent.span, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())


def _attributes(finished: Finished) -> Mapping[str, str | int | bool]:
    """Of the whole request."""
    found: dict[str, str | int | bool] = {
        "cutwater.model": finished.model,
        "cutwater.request": finished.request,
        "cutwater.door": finished.door,
        "cutwater.degraded": finished.degraded,
        "cutwater.request_bytes": finished.came,
        "cutwater.answer_bytes": finished.went,
    }
    if finished.id:
        found["cutwater.request_id"] = finished.id[:LONGEST]
    if finished.client:
        found["cutwater.client"] = finished.client
    if finished.trail:
        found["cutwater.hops_measured"] = hops(finished).agreed
    return found


def _attributes_of(part: Part, finished: Finished) -> Mapping[str, str | int | bool]:
    """Of a part: which stage, how many computed together, how many bytes."""
    if part.stage < 0:
        last = finished.trail[-1]
        return {"cutwater.bytes": last.sent_bytes} if part.name != "queue" else {}
    mark = finished.trail[part.stage]
    found: dict[str, str | int | bool] = {"cutwater.stage": mark.stage}
    if part.name == "compute":
        found["cutwater.batch"] = mark.batch
    elif part.name.startswith("hop ") or part.name == "decode":
        found["cutwater.bytes"] = mark.received_bytes
    elif part.name == "encode":
        found["cutwater.bytes"] = mark.sent_bytes
    elif part.parts:
        found |= {"cutwater.batch": mark.batch, "cutwater.received_bytes": mark.received_bytes}
        found |= {"cutwater.sent_bytes": mark.sent_bytes}
    return found


class _Ids(IdGenerator):
    """At random, but for the next root: its ids went out with the answer."""

    def __init__(self) -> None:
        self.next: Traceparent | None = None
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        own, self.next = self.next, None
        return own.span if own is not None else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        # Asked for roots without a parent only, and before the id of their span.
        return self.next.trace if self.next is not None else self._random.generate_trace_id()


class _Ended(SpanProcessor):
    """Spans that were recorded and not sent yet."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """One more."""
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        """All of them."""
        spans, self._spans = self._spans, []
        return spans
