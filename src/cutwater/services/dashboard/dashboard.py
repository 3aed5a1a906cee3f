"""Dashboard: the page and what it asks for; a fold over the coordinator's picture, finished requests and notes."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from cutwater.api.backend import Backend
from cutwater.api.finished import Finished
from cutwater.engine.facts.gateways import Note
from cutwater.errors import (
    BadCut,
    CutwaterError,
    NoPlan,
    NotFound,
    Refused,
)
from cutwater.fabric.base import Fabric
from cutwater.observe.course import hops, lay
from cutwater.services.asking import Deploy, Done, Undeploy, ask_coordinator
from cutwater.services.cache import BlobCache
from cutwater.services.dashboard.asked import check_origin, read_body
from cutwater.services.dashboard.choices import Choice, Choices
from cutwater.services.dashboard.drills import HANG, KINDS, Drills
from cutwater.services.dashboard.files import HEADERS, Files
from cutwater.services.dashboard.forecasts import AskChart, AskForecast
from cutwater.services.dashboard.ledger import Ledger, first
from cutwater.services.dashboard.stream import EVERY, Changes, Stream
from cutwater.services.dashboard.view import Entries, entries
from cutwater.services.front.notes import follow_notes
from cutwater.services.front.picture import Picture
from cutwater.units import NodeId, Seconds

NOTES_KEPT = 300
LISTED = 25
"""Requests in each list."""
ANSWER: Seconds = 10.0
STALE: Seconds = 3.0
"""A picture that is older is said to be so."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
Answering = Callable[["Dashboard", Request], Awaitable[Response]]


class DrillAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A drill, as the page sends it."""

    kind: str
    worker: str


def _answering(answer: Answering) -> Answering:
    """Errors as the page reads them, and the same headers everywhere."""

    @wraps(answer)
    async def answered(self: "Dashboard", request: Request) -> Response:
        try:
            if request.method != "GET":
                check_origin(request)
            return await answer(self, request)
        except CutwaterError as error:
            return _json({"error": str(error), "kind": error.kind}, error.status)

    return answered


class Dashboard:
    """See the module. `keep` runs beside the gateway; without it the page shows nothing new."""

    def __init__(
        self, picture: Picture, fabric: Fabric, backend: Backend, cache: BlobCache, drills: Drills, ledger: Ledger
    ) -> None:
        """``cache``: for models and profiles that forecasts are made of."""
        self._picture = picture
        self._fabric = fabric
        self._backend = backend
        self._cache = cache
        self._drills = drills
        self._ledger = ledger
        self._files = Files()
        self._choices = Choices(picture, backend.name, cache)
        self._stream = Stream(self._everything)
        self._changes = Changes()
        self._notes: deque[Note] = deque(maxlen=NOTES_KEPT)
        self._gone: dict[NodeId, str] = {}
        """Nodes that were said to be lost, and as which incarnation."""
        self._told = 0
        """Until when pages know the seconds."""

    def observe(self, finished: Finished) -> None:
        """See `cutwater.api.finished.Observer`."""
        self._ledger.observe(finished)

    def end(self) -> None:
        """Let all open pages go, so that the server need not wait for them."""
        self._stream.end()

    # What is shown

    async def keep(self) -> None:
        """Follow what happens and tell the pages that are open, for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(follow_notes(self._fabric, self._note))
                group.create_task(self._tell())
        finally:
            self._choices.close()
            self._drills.close()

    def _note(self, note: Note) -> None:
        self._notes.append(note)
        self._stream.tell("note", note)
        if note.kind == "lost":
            self._lose(NodeId(note.about))
            self._look()

    def _lose(self, name: NodeId) -> None:
        """Show it at once: the picture says so only when it is renewed."""
        status = self._picture.status
        for node in status.nodes if status is not None else ():
            if node.announcement.node == name:
                self._gone[name] = node.announcement.incarnation

    async def _tell(self) -> None:
        while True:
            await self._stream.opened.wait()
            with self._picture:
                while self._stream.opened.is_set():
                    self._look()
                    await asyncio.sleep(EVERY)

    def _look(self) -> None:
        """Tell what has changed since the last look."""
        change = self._changes.see(self._entries())
        if change:
            self._stream.tell("change", change)
        rows = self._ledger.rows(self._told)
        newest = max((row.at for each in rows.values() for row in each), default=0)
        if newest:
            self._told = newest + 1
            self._stream.tell("seconds", rows)

    def _entries(self) -> Entries:
        status = self._picture.status
        if status is None:
            return {"cluster": {"leader": "", "term": 0, "since": ""}}
        models = {deployment.spec.model for deployment in status.deployments}
        found = entries(status, {model: self._ledger.spent(model) for model in models}, self._gone)
        found["cluster"]["stale"] = round(self._picture.age) if self._picture.age > STALE else 0
        found["drills"] = {
            "allowed": self._drills.allowed,
            "kinds": KINDS,
            "hang": HANG,
            "workers": sorted(self._drills.workers(status)),
        }
        return found

    def _everything(self) -> dict[str, Any]:
        change = self._changes.see(self._entries())
        if change:  # the others would not hear of it any more
            self._stream.tell("change", change)
        return {
            "gateway": self._backend.name,
            "now": time.time(),
            "set": self._changes.all(),
            "notes": list(self._notes),
            "seconds": self._ledger.rows(),
        }

    # What pages ask for

    def routes(self) -> list[BaseRoute]:
        """Below ``/ui``, and the page itself."""
        answers: Mapping[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/": ("GET", self._page),
            "/ui/static/{name}": ("GET", self._static),
            "/ui/events": ("GET", self._events),
            "/ui/requests": ("GET", self._requests),
            "/ui/requests/{request}": ("GET", self._request),
            "/ui/models/{model}/cuts": ("GET", self._cuts),
            "/ui/models/{model}/forecast": ("POST", self._forecast),
            "/ui/models/{model}/deploy": ("POST", self._deploy),
            "/ui/models/{model}/undeploy": ("POST", self._undeploy),
            "/ui/drills": ("POST", self._drill),
        }
        return [
            Route(path, answer, methods=[method], include_in_schema=False) for path, (method, answer) in answers.items()
        ]

    @_answering
    async def _page(self, request: Request) -> Response:
        return self._files.send(request, "index.html")

    @_answering
    async def _static(self, request: Request) -> Response:
        return self._files.send(request, request.path_params["name"])

    @_answering
    async def _events(self, request: Request) -> Response:
        if self._stream.full:
            raise Refused("too many pages are open at this gateway")
        headers = {**HEADERS, "cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream.follow(), media_type="text/event-stream", headers=headers)

    @_answering
    async def _requests(self, request: Request) -> Response:
        model = request.query_params.get("model", "")
        lists = {
            "recent": self._ledger.recent(model),
            "slowest": self._ledger.slowest(model),
            "failed": self._ledger.failed(model),
        }
        return _json({name: [_summary(each) for each in first(found, LISTED)] for name, found in lists.items()})

    @_answering
    async def _request(self, request: Request) -> Response:
        name = request.path_params["request"]
        found = self._ledger.find(name)
        if found is None:
            raise NotFound(f"the request {name!r} is no longer, or was never, among those that are kept")
        work = [
            {"stage": mark.stage, "batch": mark.batch, "came": mark.received_bytes, "went": mark.sent_bytes}
            for mark in found.trail
        ]
        return _json({**_summary(found), "pieces": _pieces(found), "exact": _exact(found), "stages": work})

    @_answering
    async def _cuts(self, request: Request) -> Response:
        told = await self._choices.ask(AskChart, request.path_params["model"], Choice())
        return _json(told.chart)

    @_answering
    async def _forecast(self, request: Request) -> Response:
        choice = await read_body(request, Choice)
        try:
            told = await self._choices.ask(AskForecast, request.path_params["model"], choice)
        except (BadCut, NoPlan) as error:
            return _json({"impossible": str(error)})  # that is what was asked
        return _json(told.forecast)

    @_answering
    async def _deploy(self, request: Request) -> Response:
        choice = await read_body(request, Choice)
        spec = self._choices.spec(request.path_params["model"], choice)
        await ask_coordinator(self._fabric, Deploy(spec), Done, ANSWER)
        return _json({"asked": msgspec.to_builtins(spec)}, 202)

    @_answering
    async def _undeploy(self, request: Request) -> Response:
        model = request.path_params["model"]
        await ask_coordinator(self._fabric, Undeploy(model), Done, ANSWER)
        return _json({"asked": model}, 202)

    @_answering
    async def _drill(self, request: Request) -> Response:
        asked = await read_body(request, DrillAsked)
        done = self._drills.run(asked.kind, asked.worker, self._choices.status())
        return _json({"done": done})


def _summary(finished: Finished) -> dict[str, Any]:
    return {
        "request": finished.request,
        "id": finished.id,
        "model": finished.model,
        "client": finished.client,
        "door": finished.door,
        "at": finished.at,
        "seconds": finished.ended - finished.began,
        "fault": finished.fault,
        "why": finished.why,
        "degraded": finished.degraded,
        "came": finished.came,
        "went": finished.went,
    }


def _exact(finished: Finished) -> bool:
    return bool(finished.trail) and hops(finished).agreed


def _pieces(finished: Finished) -> list[tuple[str, int, Seconds, Seconds]]:
    """(what, stage it is about, start, seconds), one after the other; the way back is about one stage more."""
    found = []
    for part in lay(finished):
        for piece in part.parts or (part,):
            kind = "wait" if part.name == "queue" else piece.name.partition(" ")[0]
            stage = piece.stage if piece.stage >= 0 else len(finished.trail) * (kind == "hop")
            found.append((kind, stage, piece.begin, piece.end - piece.begin))
    return found


def _json(data: object, status: int = 200) -> Response:
    headers = {**HEADERS, "cache-control": "no-store"}
    return Response(_encode(data), status, headers, "application/json")
