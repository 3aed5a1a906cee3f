"""The description of all routes, as OpenAPI 3.1."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.routing import BaseRoute

from cutwater import __version__
from cutwater.api.http.operations import Described, Media, Operation, Parameter
from cutwater.api.http.words import Error
from cutwater.settings.fields import docs_of

ABOUT = """A neural network, cut at its best places, served whole: the Open Inference Protocol (KServe v2) with Triton's
extensions for binary tensors, classification, configuration, repository and statistics. Shared memory, sequences,
trace and logging settings are not offered and answered with 501. Errors are {"error": why}; the header Cutwater-Error
names their kind, and Retry-After says when to come again. Cutwater-Request is what the gateway calls a request."""
ALWAYS = (401, 403)
"""Statuses that any route may answer with: see `Guard`."""
JSON = "application/json"

_PLACE = re.compile(r"\{(\w+)(?::\w+)?\}")


def describe(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The document, of those routes that are `Described`."""
    described = [route for route in routes if isinstance(route, Described)]
    types = [kind for route in described for kind in _types(route.operation)]
    named = list(dict.fromkeys([Error, *(kind for kind in types if not isinstance(kind, dict))]))
    schemas, components = msgspec.json.schema_components(named, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(named, schemas, strict=True))
    _explain(components, named)
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        path = _PLACE.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cutwater", "version": __version__, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _explain(components: dict[str, Any], named: Iterable[Any]) -> None:
    """Give each field the docstring below it. Types inside of others are of the same files."""
    files = {inspect.getmodule(kind) for kind in named if isinstance(kind, type)}
    for name, schema in components.items():
        declared = next((found for file in files if (found := getattr(file, name, None)) is not None), None)
        for field, about in docs_of(declared).items() if isinstance(declared, type) else ():
            if field in schema.get("properties", {}):
                schema["properties"][field]["description"] = about


def _operation(route: Described, schema_of: Mapping[Any, Any]) -> dict[str, Any]:
    told = route.operation
    name = f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_')}"
    found: dict[str, Any] = {
        "operationId": name,
        "summary": told.summary,
        "tags": [told.tag],
        "parameters": [*map(_place, _PLACE.findall(route.path)), *map(_parameter, told.parameters)],
        "responses": {"200": _answer(200, _content(told.gives, schema_of))},
    }
    if told.detail:
        found["description"] = told.detail
    if told.takes:
        found["requestBody"] = {"required": told.must_take, "content": _content(told.takes, schema_of)}
    for status in sorted({*told.errors, *ALWAYS}):
        found["responses"][str(status)] = _answer(status, _content({JSON: Error}, schema_of))
    return found


def _types(told: Operation) -> Iterator[Any]:
    yield from told.takes.values()
    yield from told.gives.values()


def _content(media: Media, schema_of: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: {"schema": kind if isinstance(kind, dict) else schema_of[kind]} for name, kind in media.items()}


def _answer(status: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, **({"content": content} if content else {})}


def _place(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "schema": dict(parameter.schema),
    }
