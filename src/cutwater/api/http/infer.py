"""The infer endpoint: plain ASGI, because every microsecond here is one of each request."""

from starlette.types import Receive, Scope, Send

from cutwater.api.backend import Answered, Ask, Backend, Feeds, ModelCard
from cutwater.api.datatypes import Buffer
from cutwater.api.http.answers import WHOLE, Headers, SendWhole, send_error
from cutwater.api.http.body import Body, Gone
from cutwater.api.http.coding import choose, pack
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.reading import read_infer
from cutwater.api.http.writing import wishes, write_answer
from cutwater.api.outputs import told_of
from cutwater.api.porch import Coming, Porch
from cutwater.api.requests import Contract, Contracts, check_version, is_trace, terms
from cutwater.api.room import Room
from cutwater.errors import CutwaterError, NotFound, forgetful


class Infer:
    """``POST /v2/models/{model}[/versions/{version}]/infer``. Being cancelled withdraws the request."""

    def __init__(self, backend: Backend, options: HttpOptions, porch: Porch) -> None:
        self._backend = backend
        self._porch = porch
        self._options = options
        self._contracts = Contracts()
        self._room = Room(options.max_held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            model, version = target(scope["path"])
            contract = self._contracts.of(self._backend.model(model))
            check_version(model, version)
            with (
                self._porch.coming(model, client_of(scope), "http") as coming,
                Body(receive, headers, self._options, self._room) as body,
            ):
                coming.look()
                head, parts = await self._answer(contract, coming, await body.read(), body.came, headers, scope)
                body.hold_answer(sum(map(len, parts)))
                await _send(scope, send, head, parts)
        except CutwaterError as error:
            await send_error(send, forgetful(error))
        except Gone:
            return

    async def _answer(
        self,
        contract: Contract,
        coming: Coming,
        content: Buffer,
        came: int,
        headers: dict[bytes, bytes],
        scope: Scope,
    ) -> tuple[Headers, list[Buffer]]:
        length = headers.get(b"inference-header-content-length")
        request, feeds, picture = read_infer(contract, content, length, self._options.max_json)
        wanted = wishes(contract, request)
        timeout, priority = terms(request.parameters)
        coming.wants(timeout or contract.card.timeout, priority)
        if picture is not None:
            feeds = await _prepare(contract.card, picture, coming)
        named = headers.get(b"x-request-id", b"")
        trace = headers.get(b"traceparent", b"").decode("latin-1")
        ask = Ask(
            contract.card.name,
            feeds,
            timeout,
            priority,
            client_of(scope),
            request.id or named.decode("latin-1"),
            "http",
            trace if is_trace(trace) else "",
            came=came,
            since=coming.since,
        )
        coming.here()
        answered = await self._backend.infer(ask)
        json, buffers = write_answer(contract, ask.id, wanted, answered)
        found = _head(answered, named)
        parts: list[Buffer] = [json, *buffers]
        if coding := choose(headers.get(b"accept-encoding", b""), sum(map(len, parts)), not buffers):
            parts = [await pack(parts, coding)]
            found.append((b"content-encoding", coding.encode()))
        if buffers:
            found.append((b"content-type", b"application/octet-stream"))
            found.append((b"inference-header-content-length", b"%d" % len(json)))
        else:
            found.append((b"content-type", b"application/json"))
        return found, parts


def target(path: str) -> tuple[str, str]:
    """``/v2/models/MODEL[/versions/VERSION]/infer`` -> model and version. Raises NotFound."""
    parts = path.split("/")
    if len(parts) == 5:
        return parts[3], ""
    if len(parts) == 7 and parts[4] == "versions":
        return parts[3], parts[5]
    raise NotFound(f"there is nothing at {path[:200]!r}; models are asked at /v2/models/NAME/infer")


def client_of(scope: Scope) -> str:
    """Who asks: the machine, whose requests stand in line behind each other however many connections it opens."""
    client = scope.get("client")
    return f"http:{client[0]}" if client else "http"


def _head(answered: Answered, named: bytes) -> Headers:
    found: Headers = [(name.encode(), value.encode()) for name, value in told_of(answered)]
    if named:
        found.append((b"x-request-id", named))
    return found


async def _prepare(card: ModelCard, encoded: bytes, coming: Coming) -> Feeds:
    """An encoded picture as the model wants it."""
    from cutwater.api.tasks import picture_feeds  # few need it, and it brings Pillow

    coming.check()
    return await picture_feeds(card, encoded, until=coming.until)


async def _send(scope: Scope, send: Send, head: Headers, parts: list[Buffer]) -> None:
    head.append((b"content-length", b"%d" % sum(map(len, parts))))
    whole: SendWhole | None = scope.get(WHOLE)
    if whole is not None:
        await whole(head, parts)
        return
    await send({"type": "http.response.start", "status": 200, "headers": head})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1]})
