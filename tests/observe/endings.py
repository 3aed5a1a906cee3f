"""Requests that have ended, made by hand: three stages that each wait 1 ms, unpack 1, compute 4, pack 1 and hold 1."""

from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.routing import Route

from cutwater.api.finished import Finished
from cutwater.units import StageId
from cutwater.wire.message import Mark

MS = 1e-3
HOP = 2 * MS
"""Each of the four hops."""
QUEUE = 5 * MS
"""At the gateway."""
STAY = 8 * MS
"""In each stage."""
LATENCY = QUEUE + 4 * HOP + 3 * STAY


def answered(
    clocks: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    model: str = "vit",
    door: str = "http",
    batch: int = 1,
    began: float = 1000.0,
    trace: str = "",
    span: str = "",
    degraded: bool = False,
) -> Finished:
    """One whose stages have clocks that are ahead of the gateway's by so much."""
    trail = []
    now = began + QUEUE
    for k, ahead in enumerate(clocks):
        now += HOP
        here = now + ahead
        trail.append(
            Mark(
                stage=StageId(f"stage-{k + 1}"),
                received=here,
                started=here + 2 * MS,
                finished=here + 6 * MS,
                sent=here + STAY,
                batch=batch,
                received_bytes=1000 * (k + 1),
                sent_bytes=1000 * (k + 2),
                decode=1 * MS,
                encode=1 * MS,
                cpu=4 * MS,
            )
        )
        now += STAY
    return Finished(
        model=model,
        request="7-1",
        id="",
        client="native:1",
        door=door,
        at=1.7e9,
        began=began,
        ended=now + HOP,
        trail=tuple(trail),
        degraded=degraded,
        came=2100,
        went=8000,
        trace=trace,
        span=span,
        launched=began + QUEUE,
        fed=2000,
    )


def failed(fault: str = "Refused", *, why: str = "the queue is full", model: str = "vit", span: str = "") -> Finished:
    """One that ended after 10 ms."""
    return Finished(
        model=model,
        request="7-2",
        id="mine",
        client="native:1",
        door="grpc",
        at=1.7e9,
        began=1000.0,
        ended=1000.0 + 10 * MS,
        trail=(),
        fault=fault,
        why=why,
        came=2100,
        span=span,
    )


async def get(route: Route, accept: str = "*/*") -> tuple[int, str, bytes]:
    """What a GET of a route answers: status, type and body."""
    said: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": route.path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"accept", accept.encode())],
    }
    await route.handle(scope, receive, send)
    start, body = said
    return start["status"], dict(start["headers"])[b"content-type"].decode(), body["body"]
