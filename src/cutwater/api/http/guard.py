"""Who may come in: whoever shows the token; without one, only programs of this machine, and pages that came from it."""

import binascii
import hmac
import ipaddress
from base64 import b64decode
from functools import lru_cache

from starlette.types import Scope

from cutwater.errors import InputError, Unauthorised

OPEN = ("/v2/health/live", "/healthz")
"""What anybody may ask."""


class Foreign(InputError):
    """A browser asks in the name of a page that is not this server's own."""

    status = 403


class Guard:
    """Decides from the headers alone."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raises Unauthorised or Foreign.

        Without a token, whoever reaches a loopback address counts as one of this machine. A browser reaches it in the
        name of any page: a name of somebody else's that leads here (DNS rebinding) shows in ``Host``, and a page that
        posts to somebody else's server in ``Origin``. Both must then be names of the loopback.
        """
        if self._token:
            if scope["path"] not in OPEN:
                self._check_token(headers)
        elif _local(scope):
            for name in (b"host", b"origin"):
                value = headers.get(name)
                if value is not None and not is_loopback(value):
                    raise Foreign(_why(name, value))

    def _check_token(self, headers: dict[bytes, bytes]) -> None:
        kind, _, shown = headers.get(b"authorization", b"").partition(b" ")
        kind = kind.lower()
        if kind == b"basic":
            shown = _password(shown)
        if kind not in (b"bearer", b"basic") or not hmac.compare_digest(shown.strip(), self._token):
            raise Unauthorised("this gateway wants its token: send the header 'Authorization: Bearer TOKEN'")
        origin = headers.get(b"origin")
        # A browser that knows the password shows it for any page that asks: only the server's own may.
        if kind == b"basic" and origin is not None and origin.partition(b"://")[2] != headers.get(b"host"):
            raise Foreign(_why(b"origin", origin))


def _local(scope: Scope) -> bool:
    server = scope.get("server")
    return server is not None and _is_local_address(server[0])


@lru_cache(maxsize=64)
def _is_local_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=256)
def is_loopback(value: bytes) -> bool:
    """Whether a ``Host`` or ``Origin`` names this machine's loopback: "localhost:8000", "http://127.0.0.1"."""
    name = value.decode("latin-1").lower()
    name = name.partition("://")[2] or name
    if name.startswith("["):
        return _is_local_address(name[1:].partition("]")[0])
    host = name.partition(":")[0]
    return host == "localhost" or host.endswith(".localhost") or _is_local_address(host)


def _password(shown: bytes) -> bytes:
    try:
        return b64decode(shown, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _why(name: bytes, value: bytes) -> str:
    return (
        f"{name.decode().title()} {value[:80].decode('latin-1')!r} is not this machine: without a token the gateway "
        f"answers only to localhost; ask it at http://127.0.0.1, or start it with a token"
    )
