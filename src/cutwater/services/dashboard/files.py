"""The page's own files: read once, sent compressed, known to browsers by their content; nothing from elsewhere."""

import gzip
import hashlib
from importlib import resources
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from cutwater.errors import NotFound

FOLDER = "static"
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    # Whatever a name or a message holds, the page runs only its own scripts and talks only to its own gateway.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class _File(NamedTuple):
    content: bytes
    packed: bytes
    """With gzip."""
    kind: str
    mark: str


class Files:
    """By name, as in ``"app.js"``."""

    def __init__(self) -> None:
        folder = resources.files(__package__).joinpath(FOLDER)
        self._files = {file.name: _read(file.name, file.read_bytes()) for file in folder.iterdir() if file.is_file()}

    def send(self, request: Request, name: str) -> Response:
        """The file, or that the browser has it already. Raises NotFound."""
        file = self._files.get(name)
        if file is None:
            raise NotFound(f"the dashboard has no file {name!r}")
        headers = {**HEADERS, "etag": file.mark, "cache-control": "no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == file.mark:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, headers={**headers, "content-type": file.kind, "content-encoding": "gzip"})
        return Response(file.content, headers={**headers, "content-type": file.kind})


def _read(name: str, content: bytes) -> _File:
    kind = TYPES[name.rpartition(".")[2]]
    mark = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return _File(content, gzip.compress(content, mtime=0), kind, mark)
