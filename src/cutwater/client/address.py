"""Where a client finds its gateway: an URL to the transport for it; no URL to the cluster of this machine."""

import ssl
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from cutwater.client.access import Access
from cutwater.client.transport import Transport
from cutwater.errors import InputError, NotFound

_FORMS = "http://host:port, https://host, grpc://host:port, grpcs://host:port, unix:/path or tcp:host:port"


def transport_of(url: str, access: Access) -> Transport:
    """A way to the gateway at ``url``; nothing is connected yet.

    Raises:
        InputError: it is none of the forms known.
        NotFound: it is empty, and no gateway runs on this machine.
    """
    if not url:
        url, access = local(access)
    scheme = url.partition(":")[0]
    # Each brings libraries that the others do without.
    match scheme:
        case "http" | "https":
            return _http(url, access)
        case "grpc" | "grpcs":
            return _grpc(url, access)
        case "unix" | "tcp":
            from cutwater.client.native import NativeTransport

            return NativeTransport(url, access)
    raise InputError(f"{url!r} is no address of a gateway; give {_FORMS}, or nothing for the cluster of this machine")


def local(access: Access) -> tuple[str, Access]:
    """Where the gateway of this machine's cluster listens, HTTP before others; and the token from its settings.

    Raises:
        NotFound: there is none.
        BadSetting: the settings cannot be read.
    """
    from cutwater.services.home import Home
    from cutwater.settings.resolve import resolve

    resolved = resolve()
    found = [record.facts for record in Home(resolved.home).alive().values()]
    for fact in ("http", "grpc", "socket"):
        for facts in found:
            if address := facts.get(fact):
                url = address if fact == "socket" or "://" in address else f"{fact}://{address}"
                # Who listens everywhere is asked by the name of this machine: no other leads a request to itself.
                url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
                return url, replace(access, token=access.token or resolved.settings.gateway.token)
    raise NotFound(f"no gateway runs in {resolved.home}; start one with `cutwater up`, or give {_FORMS}")


def _http(url: str, access: Access) -> Transport:
    from cutwater.client.http import HttpTransport

    host, port, path = _split(url, {"http": 80, "https": 443})
    tls = _tls(access) if url.startswith("https:") else None
    return HttpTransport(host, port, path, access, tls)


def _grpc(url: str, access: Access) -> Transport:
    from cutwater.client.grpc import GrpcTransport

    host, port, path = _split(url, {})
    if path:
        raise InputError(f"{url!r}: gRPC knows no path; give grpc://{host}:{port}")
    return GrpcTransport(host, port, access, secure=url.startswith("grpcs:"))


def _split(url: str, usual: Mapping[str, int]) -> tuple[str, int, str]:
    """Host, port, and path without a slash at its end."""
    try:
        parts = urlsplit(url)
        port = parts.port or usual.get(parts.scheme)
    except ValueError as error:
        raise InputError(f"{url!r} is no address of a gateway: {error}") from None
    if not parts.hostname or port is None or parts.username or parts.query or parts.fragment:
        raise InputError(f"{url!r} is no address of a gateway; give {_FORMS}")
    return parts.hostname, port, parts.path.rstrip("/")


def _tls(access: Access) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=access.ca)
    except OSError as error:
        raise InputError(f"ca: cannot use {access.ca}: {error}") from error
