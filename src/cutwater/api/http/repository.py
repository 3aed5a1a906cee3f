"""The repository extension: which models there are, deploying them, and taking them down."""

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cutwater.api.backend import VERSION, Backend, Standing
from cutwater.api.http.answers import json_response
from cutwater.api.http.body import Body
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.words import IndexEntry, IndexRequest, LoadRequest
from cutwater.api.models import options_of
from cutwater.api.requests import UNREADABLE, unreadable
from cutwater.api.room import Room
from cutwater.errors import InputError

LARGEST = 64 * 2**10
"""Bytes of a body here: options, never files."""

T = TypeVar("T")


class Repository:
    """Endpoints that change what is served."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._options = HttpOptions(max_request=LARGEST)
        self._room = Room(64 * LARGEST)

    async def index(self, request: Request) -> Response:
        """All models the cluster knows."""
        asked = await self._read(request, IndexRequest)
        return json_response(
            [
                IndexEntry(card.name, VERSION, card.standing.value, card.why)
                for card in self._backend.models()
                if not asked.ready or card.standing is Standing.READY
            ]
        )

    async def load(self, request: Request) -> Response:
        """Deploy a model; answers when it is READY."""
        asked = await self._read(request, LoadRequest)
        await self._backend.load(request.path_params["model"], options_of(asked.parameters))
        return json_response({})

    async def unload(self, request: Request) -> Response:
        """Undeploy a model; answers when it is READY no more."""
        await self._read(request, LoadRequest)
        await self._backend.unload(request.path_params["model"])
        return json_response({})

    async def _read(self, request: Request, kind: type[T]) -> T:
        with Body(request.receive, dict(request.scope["headers"]), self._options, self._room) as body:
            content = await body.read()
        try:
            return msgspec.json.decode(content or b"{}", type=kind)
        except UNREADABLE as error:
            raise InputError(unreadable(error)) from None
