"""A collector of spans: takes them by OTLP over HTTP, as any other, and keeps them."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.groups: list[ResourceSpans] = []
        self.paths: set[str] = set()

    @property
    def spans(self) -> list[Span]:
        return [span for group in self.groups for scope in group.scope_spans for span in scope.spans]


@contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.paths.add(self.path)
            if status == 200:
                found.groups.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def children(spans: Sequence[Span], parent: Span) -> list[Span]:
    found = [span for span in spans if span.parent_span_id == parent.span_id]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def nanoseconds(span: Span) -> int:
    return span.end_time_unix_nano - span.start_time_unix_nano
