"""The ASGI application: who may come in, the short way for inferences, the routes for everything else."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from cutwater.api.backend import Backend
from cutwater.api.http.answers import WHOLE, error_response, json_response, send_error
from cutwater.api.http.body import Gone
from cutwater.api.http.guard import Guard
from cutwater.api.http.infer import Infer
from cutwater.api.http.openapi import JSON, describe
from cutwater.api.http.operations import Described, Operation
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.page import docs_page
from cutwater.api.http.table import protocol_routes
from cutwater.api.porch import Porch
from cutwater.errors import CutwaterError, StageFailed, forgetful

TASK = "cutwater.task"
"""Where the scope of a request has its task: whoever notices that the client has hung up cancels it."""

BROKEN = StageFailed("the gateway could not handle this request; its log says why")
"""What clients hear of errors nobody foresaw."""

_log = logging.getLogger(__name__)


def make_app(
    backend: Backend, options: HttpOptions, more: Sequence[BaseRoute] = (), porch: Porch | None = None
) -> ASGIApp:
    """The public interface over HTTP.

    Args:
        backend: Whoever answers.
        options: What clients may do.
        more: Further routes, asked after those of the protocol; those that are `Described` are in the description.
        porch: Where requests are on their way in; none: one of its own.
    """
    infer = Infer(backend, options, porch or Porch(backend))
    routes = [*protocol_routes(backend, infer), *more]
    inner = Starlette(
        routes=[*routes, *_description_routes(routes)],
        exception_handlers={CutwaterError: _on_error, HTTPException: _on_http_error, Exception: _on_broken},
    )
    inner.router.redirect_slashes = False
    return App(inner, infer, Guard(options.token))


class App:
    """The edge: nothing that goes wrong inside gets out but as an answer and a line in the log."""

    def __init__(self, inner: ASGIApp, infer: ASGIApp, guard: Guard) -> None:
        self._inner = inner
        self._infer = infer
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Being cancelled means that nobody waits for the answer any more."""
        if scope["type"] != "http":
            raise NotImplementedError(f"HTTP is spoken here, not {scope['type']}")
        scope[TASK] = asyncio.current_task()
        try:
            self._guard.check(scope, dict(scope["headers"]))
            await self._app(scope)(scope, receive, send)
        except CutwaterError as error:
            await send_error(send, forgetful(error))
        except (Gone, asyncio.CancelledError):
            return
        except Exception:  # noqa: BLE001 - the edge: the log has the reason
            _log.exception("%s %s broke its handling", scope["method"], scope["path"])
            with suppress(RuntimeError):  # the answer has begun already
                await send_error(send, BROKEN)
        finally:
            del scope[TASK]
            scope.pop(WHOLE, None)  # it knows the scope: nobody should wait for the collector

    def _app(self, scope: Scope) -> ASGIApp:
        path = scope["path"]
        if scope["method"] == "POST" and path.startswith("/v2/models/") and path.endswith("/infer"):
            return self._infer
        return self._inner


def _description_routes(routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    document = describe(routes)
    examples = {
        document["paths"][route.path][route.method.lower()]["operationId"]: route.operation.example
        for route in routes
        if isinstance(route, Described) and route.operation.example
    }
    page = docs_page(document, examples)

    async def openapi(request: Request) -> Response:
        return json_response(document)

    async def docs(request: Request) -> Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
        return HTMLResponse(page, headers=policy)

    told = Operation(summary="This description", tag="Server", gives={JSON: {"type": "object"}})
    return [Described("/openapi.json", openapi, told), Described("/docs", docs, told)]


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CutwaterError)
    return error_response(forgetful(error))


async def _on_broken(request: Request, error: Exception) -> Response:
    return error_response(BROKEN)  # the error itself goes on to `App`


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, detail = request.url.path[:200], error.detail
    if error.status_code == 404:
        detail = f"there is nothing at {path!r}; /docs lists what there is"
    elif error.status_code == 405:
        allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
        detail = f"{path!r} does not take {request.method}; it takes {', '.join(allowed)}"
    return json_response({"error": detail}, error.status_code, error.headers)
