"""HTTP as a transport: the Open Inference Protocol with its binary tensors."""

import ssl
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import msgspec

from cutwater.api.datatypes import datatype_named, datatype_of, from_bytes, from_json, to_bytes
from cutwater.client.access import Access
from cutwater.client.http_lines import JOINED, Lines, Response
from cutwater.client.result import Listed, ModelInfo, TensorInfo
from cutwater.client.transport import Call, Glance, Prepared, Reply
from cutwater.client.words import error_of, level, read_json
from cutwater.errors import CutwaterError, FrameError, InputError
from cutwater.frameworks.base import Array
from cutwater.units import Seconds
from cutwater.wire.codecs.base import Buffer

JSON_LENGTH = "inference-header-content-length"
"""Bytes of JSON before the tensors' own bytes."""


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class _Inferred(msgspec.Struct):
    outputs: list[_Output]


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int, ...]


class _Model(msgspec.Struct):
    name: str
    inputs: list[_Tensor]
    outputs: list[_Tensor]
    versions: tuple[str, ...] = ()
    platform: str = ""


class _Listed(msgspec.Struct):
    name: str
    state: str = "READY"
    reason: str = ""


class _Error(msgspec.Struct):
    error: str = ""


_inferred = msgspec.json.Decoder(_Inferred)
_encode = msgspec.json.Encoder().encode


class HttpTransport:
    """See `Transport`."""

    def __init__(self, host: str, port: int, prefix: str, access: Access, tls: ssl.SSLContext | None) -> None:
        """Nothing is connected yet.

        Args:
            host: Of the server.
            port: Where it listens.
            prefix: Path before those of the protocol, where a proxy wants one; without a slash at its end.
            access: What to show, and how much to take.
            tls: For HTTPS.
        """
        self._lines = Lines(host, port, tls=tls, most=access.connections, largest=access.largest)
        self._prefix = prefix
        shown = f"authorization: Bearer {access.token}\r\n" if access.token else ""
        named = f"[{host}]" if ":" in host else host
        self._common = f" HTTP/1.1\r\nhost: {named}:{port}\r\nuser-agent: cutwater\r\n{shown}".encode()

    async def infer(self, call: Call) -> Reply:
        """See `Transport.infer`."""
        response = await self._lines.ask(self._inference(call))
        if response.status != 200:
            _refuse(response)
        return _reply(response)

    def prepared(self, call: Call) -> Prepared:
        """See `Transport.prepared`."""
        request = self._inference(call)
        if sum(map(len, request)) <= JOINED:
            request = (b"".join(request),)

        async def send() -> Glance:
            response = await self._lines.ask(request)
            if response.status != 200:
                _refuse(response)
            said = response.headers
            degraded = said.get("cutwater-degraded") == "true"
            return Glance(said.get("cutwater-request", ""), degraded, said.get("server-timing", ""))

        return send

    async def ready(self) -> bool:
        """See `Transport.ready`."""
        response = await self._ask("GET", "/v2/health/ready")
        return response.status == 200

    async def models(self) -> list[Listed]:
        """See `Transport.models`."""
        headers = "content-type: application/json\r\n"
        response = await self.ask("POST", "/v2/repository/index", headers, (b"{}",))
        return [Listed(each.name, each.state, each.reason) for each in read_json(response.body, list[_Listed])]

    async def model(self, name: str) -> ModelInfo:
        """See `Transport.model`."""
        found = read_json((await self.ask("GET", f"/v2/models/{_quoted(name)}")).body, _Model)
        return ModelInfo(found.name, _infos(found.inputs), _infos(found.outputs), found.versions, found.platform)

    async def look(self, task: str, picture: bytes, wishes: Mapping[str, str], id: str) -> bytes | bytearray:
        """See `Transport.look`."""
        headers = "content-type: application/octet-stream\r\n"
        if id:
            headers += _header("x-request-id", id)
        return (await self.ask("POST", f"/v1/{task}?{urlencode(wishes)}", headers, (picture,))).body

    async def close(self) -> None:
        """See `Transport.close`."""
        self._lines.close()

    def _inference(self, call: Call) -> tuple[Buffer, ...]:
        """A request's bytes."""
        inputs, buffers = _packed(call)
        asked: dict[str, Any] = {"parameters": _parameters(call), "inputs": inputs}
        if call.id:
            asked["id"] = call.id
        if call.outputs:
            asked["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in call.outputs]
        json = _encode(asked)
        headers = f"content-type: application/octet-stream\r\n{JSON_LENGTH}: {len(json)}\r\n"
        if call.trace:
            headers += _header("traceparent", call.trace)
        return self._request("POST", f"/v2/models/{_quoted(call.model)}/infer", headers, (json, *buffers))

    async def ask(self, method: str, path: str, headers: str = "", body: Sequence[Buffer] = ()) -> Response:
        """Any request. Raises what the server answers instead, where its status says that it went wrong."""
        response = await self._ask(method, path, headers, body)
        if response.status != 200:
            _refuse(response)
        return response

    async def _ask(self, method: str, path: str, headers: str = "", body: Sequence[Buffer] = ()) -> Response:
        return await self._lines.ask(self._request(method, path, headers, body))

    def _request(self, method: str, path: str, headers: str, body: Sequence[Buffer]) -> tuple[Buffer, ...]:
        length = sum(map(len, body))
        first = f"{method} {self._prefix}{path}".encode()
        last = f"{headers}content-length: {length}\r\n\r\n".encode()
        return (b"".join((first, self._common, last)), *body)


def _header(name: str, value: str) -> str:
    """Its line. Raises InputError for what would be more than one, or not readable at the other end."""
    if not (value.isascii() and value.isprintable()):
        raise InputError(f"{name} {value[:40]!r} must be of printable ASCII, as it travels in a header")
    return f"{name}: {value}\r\n"


@lru_cache(maxsize=1024)
def _quoted(model: str) -> str:
    return quote(model, safe="")


def _packed(call: Call) -> tuple[list[dict[str, Any]], list[Buffer]]:
    inputs: list[dict[str, Any]] = []
    buffers: list[Buffer] = []
    for name, array in call.feeds.items():
        datatype = datatype_of("string" if array.dtype == object else array.dtype.name)
        data = to_bytes(datatype, array)
        inputs.append(
            {
                "name": name,
                "datatype": datatype.name,
                "shape": array.shape,
                "parameters": {"binary_data_size": len(data)},
            }
        )
        buffers.append(data)
    return inputs, buffers


def _parameters(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {"timeout": max(int(call.timeout * 1e6), 1), "binary_data_output": True}
    if call.priority:
        found["priority"] = level(call.priority)
    return found


def _reply(response: Response) -> Reply:
    body = memoryview(response.body)
    length = response.headers.get(JSON_LENGTH, "")
    at = int(length) if length.isdecimal() else len(body)
    try:
        found = _inferred.decode(body[:at])
        outputs: dict[str, Array] = {}
        for each in found.outputs:
            datatype = datatype_named(each.datatype)
            if bytes(each.data):
                outputs[each.name] = from_json(each.name, datatype, each.shape, bytes(each.data))
                continue
            size = int(each.parameters["binary_data_size"])
            outputs[each.name] = from_bytes(each.name, datatype, each.shape, body[at : at + size])
            at += size
    except (msgspec.MsgspecError, CutwaterError, LookupError, TypeError, ValueError) as error:
        raise FrameError(f"the server's answer cannot be read: {error}") from error
    said = response.headers
    request, trace = said.get("cutwater-request", ""), said.get("traceparent", "")
    return Reply(outputs, request, said.get("cutwater-degraded") == "true", trace)


def _infos(tensors: list[_Tensor]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(each.name, each.datatype, each.shape) for each in tensors)


def _refuse(response: Response) -> NoReturn:
    try:
        said = msgspec.json.decode(response.body, type=_Error)
    except msgspec.MsgspecError:
        said = _Error(response.body[:500].decode("utf-8", "replace"))
    kind = response.headers.get("cutwater-error", "")
    raise error_of(response.status, said.error, kind=kind, retry_after=_retry_after(response))


def _retry_after(response: Response) -> Seconds:
    """Seconds; a date, which proxies may send, counts as not known."""
    said = response.headers.get("retry-after", "")
    try:
        return min(max(float(said), 0.0), 3600.0)
    except ValueError:
        return 0.0
