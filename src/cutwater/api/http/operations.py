"""A route that says what it is: the router and the description at /openapi.json are made from the same declaration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import Route

Media = Mapping[str, Any]
"""Media type -> a type that msgspec knows, or a JSON schema as a dict."""


@dataclass(frozen=True)
class Parameter:
    """A header, or a part of the query; those of the path are found in it."""

    name: str
    place: str
    """"header" or "query"."""
    about: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one route does, for people and for programs."""

    summary: str
    """One line."""
    tag: str
    """Under which it is listed."""
    detail: str = ""
    takes: Media = field(default_factory=dict)
    """The request's body; empty: none."""
    must_take: bool = True
    """Whether there must be a body."""
    gives: Media = field(default_factory=dict)
    """With status 200; empty: a body that says nothing."""
    errors: tuple[int, ...] = ()
    """Statuses besides 200 that are answered with ``{"error": "..."}``; 401 and 403 may come from any route."""
    parameters: tuple[Parameter, ...] = ()
    example: str = ""
    """How to ask from a shell; ``$URL`` is the server's address."""


class Described(Route):
    """A Route with its Operation."""

    def __init__(self, path: str, endpoint: Any, operation: Operation, method: str = "GET") -> None:
        """``endpoint``: as for Route: ``async (request) -> Response``, or an object that is an ASGI app."""
        super().__init__(path, endpoint, methods=[method])
        self.method = method
        self.operation = operation
