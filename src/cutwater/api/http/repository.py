"""The repository extension: which models there are, deploying them, and taking them down."""

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cutwater.api.backend import VERSION, Backend, Standing
from cutwater.api.http.answers import json_response
from cutwater.api.http.body import Body, Room
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.words import UNREADABLE, IndexEntry, IndexRequest, LoadRequest, unreadable
from cutwater.errors import BadSetting, InputError, Unsupported

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


def options_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """Options of a deployment from the parameters of a load request; those in ``config`` go before.

    Raises:
        BadSetting: ``config`` is not the text of a JSON object.
        Unsupported: a file is sent along.
    """
    found = {name: value for name, value in parameters.items() if name != "config"}
    if files := [name for name in found if name.startswith("file:")]:
        raise Unsupported(f"parameter {files[0]!r}: add a model's file with `cutwater model add`, then load it by name")
    config = parameters.get("config")
    if config is None:
        return found
    try:
        return {**found, **msgspec.json.decode(config, type=dict[str, Any])}
    except (*UNREADABLE, TypeError) as error:
        raise BadSetting(f"parameter 'config' is the text of a JSON object with options: {error}") from None
