"""``POST /v1/classify`` and ``/v1/detect``: a picture in, what it shows out; for people and shells, no tensors."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from cutwater.api.backend import Answered, Ask, Backend, ModelCard
from cutwater.api.http.answers import json_response
from cutwater.api.http.body import Body
from cutwater.api.http.form import AROUND, FIELD, FORM, take_apart, wishes_of
from cutwater.api.http.infer import client_of
from cutwater.api.http.openapi import JSON
from cutwater.api.http.operations import Described, Media, Operation, Parameter
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.table import BINARY, OCTETS, REQUEST_ID, TRACE, UNDER_WAY
from cutwater.api.http.task_words import ClassifyAnswer, DetectAnswer, Detected, Guessed, PictureSize, Wishes
from cutwater.api.outputs import told_of
from cutwater.api.pictures import aside
from cutwater.api.porch import Porch
from cutwater.api.requests import is_trace
from cutwater.api.room import Room
from cutwater.api.tasks import PictureLimits, classes_of, detections_of, measured_picture, model_for, picture_feeds
from cutwater.drivers.live import clock
from cutwater.units import Seconds
from cutwater.vision.detect import Detection
from cutwater.vision.draw import draw_detections
from cutwater.vision.labels import name_of
from cutwater.vision.pictures import decode_picture, encode_picture
from cutwater.vision.task import CLASSIFY, DETECT

HELD = 8
"""So many of the largest pictures may be held at once; who comes beyond is refused."""
JPEG, PNG = "image/jpeg", "image/png"


def task_routes(
    backend: Backend,
    options: HttpOptions,
    limits: PictureLimits = PictureLimits(),  # noqa: B008
    porch: Porch | None = None,
) -> list[BaseRoute]:
    """What `make_app` takes as ``more``."""
    tasks = Tasks(backend, options, limits, porch or Porch(backend))
    return [
        Described("/v1/classify", tasks.classify, CLASSIFYING, "POST"),
        Described("/v1/detect", tasks.detect, DETECTING, "POST"),
    ]


class _Looked(NamedTuple):
    """A request that was answered."""

    card: ModelCard
    wishes: Wishes
    image: bytes
    size: PictureSize
    answered: Answered
    latency: Seconds

    @property
    def facts(self) -> dict[str, Any]:
        """What answers of all tasks say."""
        return {
            "model": self.card.name,
            "request": self.answered.request,
            "latency": round(self.latency, 6),
            "degraded": self.answered.degraded,
            "picture": self.size,
        }

    @property
    def head(self) -> dict[str, str]:
        """What the infer endpoint says in its headers, too."""
        return dict(told_of(self.answered))


class Tasks:
    """The endpoints."""

    def __init__(self, backend: Backend, options: HttpOptions, limits: PictureLimits, porch: Porch) -> None:
        self._backend = backend
        self._porch = porch
        self._limits = limits
        self._options = replace(options, max_request=min(options.max_request, limits.max_bytes + AROUND))
        self._room = Room(HELD * self._options.max_request)

    async def classify(self, request: Request) -> Response:
        """What a picture shows, as classes."""
        with self._body(request) as body:
            looked = await self._look(request, body, CLASSIFY, CLASSIFY_WISHES)
        labels = looked.card.labels
        best = classes_of(looked.card, looked.answered.outputs, looked.wishes.top)
        found = [Guessed(name_of(labels, each.label), each.label, _score(each.probability)) for each in best]
        return json_response(ClassifyAnswer(classes=found, **looked.facts), headers=looked.head)

    async def detect(self, request: Request) -> Response:
        """What a picture shows, as boxes; or the picture with them."""
        with self._body(request) as body:
            looked = await self._look(request, body, DETECT, DETECT_WISHES)
            card, size = looked.card, looked.size
            seen = detections_of(card, looked.answered.outputs, size.width, size.height, looked.wishes.threshold)
            if looked.wishes.annotate:
                kind = _picture_kind(request.headers.get("accept", ""))
                drawn = await aside(_annotate, looked.image, seen, card.labels, kind, self._limits)
                return Response(drawn, headers=looked.head, media_type=kind)
        found = [
            Detected(name_of(card.labels, each.label), each.label, _score(each.score), _box(each)) for each in seen
        ]
        return json_response(DetectAnswer(detections=found, **looked.facts), headers=looked.head)

    def _body(self, request: Request) -> Body:
        return Body(request.receive, dict(request.scope["headers"]), self._options, self._room)

    async def _look(self, request: Request, body: Body, task: str, known: Sequence[str]) -> _Looked:
        """Read what is asked, and ask the model. Raises CutwaterError."""
        since = clock()
        image, fields = await take_apart(request.headers, bytes(await body.read()))
        wishes = wishes_of(request.query_params, fields, known)
        timeout = wishes.seconds
        card = model_for(self._backend, task, wishes.model)
        began = clock()
        height, width = measured_picture(image, self._limits)  # reads the header alone
        client = client_of(request.scope)
        with self._porch.coming(card.name, client, "http", since) as coming:
            coming.wants(timeout or card.timeout, wishes.priority)
            coming.check()
            feeds = await picture_feeds(card, image, self._limits, until=coming.until)
        trace = request.headers.get("traceparent", "")
        ask = Ask(
            card.name,
            feeds,
            timeout,
            wishes.priority,
            client,
            request.headers.get("x-request-id", ""),
            "http",
            trace if is_trace(trace) else "",
            came=body.came,
            since=since,
        )
        answered = await self._backend.infer(ask)
        return _Looked(card, wishes, image, PictureSize(width, height), answered, clock() - began)


def _score(score: float) -> float:
    """As many digits as mean anything."""
    return round(score, 4)


def _box(seen: Detection) -> list[float]:
    """In hundredths of a pixel."""
    return [round(edge, 2) for edge in (seen.x1, seen.y1, seen.x2, seen.y2)]


def _annotate(image: bytes, seen: Sequence[Detection], names: Sequence[str], kind: str, limits: PictureLimits) -> bytes:
    drawn = draw_detections(decode_picture(image, FIELD, limits.max_pixels), seen, names)
    return encode_picture(drawn, "PNG" if kind == PNG else "JPEG")


def _picture_kind(accept: str) -> str:
    """JPEG, unless only the other is accepted."""
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return PNG if PNG in named and JPEG not in named else JPEG


# The declarations

CLASSIFY_WISHES = ("model", "top", "timeout", "priority")
DETECT_WISHES = ("model", "threshold", "annotate", "timeout", "priority")


def _operation(summary: str, known: Sequence[str], gives: Media, example: str) -> Operation:
    """``known``: what may be said beside the picture."""
    _, components = msgspec.json.schema_components([Wishes])
    schemas = {name: components["Wishes"]["properties"][name] for name in known}
    about = {name: schema.pop("description") for name, schema in schemas.items()}
    beside = {name: {**schema, "description": about[name]} for name, schema in schemas.items()}
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: BINARY, **beside}}
    return Operation(
        summary=summary,
        tag="Tasks",
        detail=f"The picture is the field {FIELD} of a form, or the body itself. What is said beside it stands in the "
        "query, or in fields of the form. A picture over the limits is refused before it is decoded.",
        takes={FORM: form, JPEG: BINARY, PNG: BINARY, OCTETS: BINARY},
        gives=gives,
        errors=UNDER_WAY,
        parameters=(*(Parameter(name, "query", about[name], schemas[name]) for name in known), REQUEST_ID, TRACE),
        example=example,
    )


CLASSIFYING = _operation(
    "Name what a picture shows",
    CLASSIFY_WISHES,
    {JSON: ClassifyAnswer},
    f"curl -F {FIELD}=@goose.jpg $URL/v1/classify",
)
DETECTING = _operation(
    "Find what a picture shows, with a box around each",
    DETECT_WISHES,
    {JSON: DetectAnswer, JPEG: BINARY, PNG: BINARY},
    f"curl -F {FIELD}=@street.jpg $URL/v1/detect",
)
