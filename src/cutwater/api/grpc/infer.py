"""ModelInfer and ModelStreamInfer. A call that is cancelled, or whose connection is lost, withdraws its requests."""

import asyncio
import re

from cutwater.api.backend import Answered, Ask, Backend
from cutwater.api.datatypes import Buffer
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.call import Call
from cutwater.api.grpc.messages import join_stream, parse_infer
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.reading import parameters_of, read_infer
from cutwater.api.grpc.status import MESSAGE, Pairs
from cutwater.api.grpc.writing import wishes, write_answer, write_error
from cutwater.api.http.body import Room
from cutwater.api.requests import ORDINARY, Contracts, check_version, terms
from cutwater.api.tasks import picture_feeds
from cutwater.errors import CutwaterError, DeadlineExceeded
from cutwater.units import Seconds

STRICT = b"triton_grpc_error"
"""Metadata with which a client wants a stream to end with the status of its first error."""
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""Of the W3C's Trace Context."""


class Inference:
    """The two calls that compute. Their methods raise CutwaterError."""

    def __init__(self, backend: Backend, options: GrpcOptions, room: Room) -> None:
        """``room``: for the bytes of requests until they are answered."""
        self._backend = backend
        self._window = options.window
        self._contracts = Contracts()
        self._room = room

    async def unary(self, message: bytes, call: Call) -> list[Buffer]:
        """``ModelInfer``."""
        self._room.take(len(message))
        try:
            request, raw = parse_infer(message)
            answered, parts = await self._answer(request, raw, len(message), call)
        finally:
            self._room.held -= len(message)
        call.told = _told(answered)
        return parts

    async def stream(self, call: Call) -> None:
        """``ModelStreamInfer``: answers in the order of the requests, of which up to the window are open at once."""
        strict = call.metadata.get(STRICT) == b"true"
        waiting: asyncio.Queue[asyncio.Task[bytes | CutwaterError] | CutwaterError | None] = asyncio.Queue(self._window)
        tasks: set[asyncio.Task[bytes | CutwaterError]] = set()

        async def read() -> None:
            try:
                while (message := await call.read()) is not None:
                    task = asyncio.create_task(self._one(message, call, strict))
                    tasks.add(task)
                    await waiting.put(task)
            except CutwaterError as error:
                await waiting.put(error)
            else:
                await waiting.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await waiting.get()) is not None:
                if isinstance(task, CutwaterError):
                    raise task
                found = await task
                tasks.discard(task)
                if isinstance(found, CutwaterError):
                    raise found
                await call.write(found)
        finally:
            for each in (reader, *tasks):
                each.cancel()
            await asyncio.wait((reader, *tasks))

    async def _one(self, message: bytes, call: Call, strict: bool) -> bytes | CutwaterError:
        """The answer to one request of a stream; the error only if that ends the stream."""
        request = pb.ModelInferRequest()
        try:
            self._room.take(len(message))
            try:
                request, raw = parse_infer(message)
                _, parts = await self._answer(request, raw, len(message), call, final=True)
            finally:
                self._room.held -= len(message)
        except CutwaterError as error:
            return error if strict else write_error(request, str(error)[:MESSAGE])
        return join_stream(parts)

    async def _answer(
        self,
        request: pb.ModelInferRequest,
        raw: list[memoryview],
        came: int,
        call: Call,
        final: bool = False,
    ) -> tuple[Answered, list[Buffer]]:
        contract = self._contracts.of(self._backend.model(request.model_name))
        check_version(contract.card.name, request.model_version)
        feeds, picture = read_infer(contract, request, raw)
        wanted = wishes(contract, request)
        timeout, priority = terms(parameters_of(request.parameters)) if request.parameters else ORDINARY
        if picture is not None:
            feeds = await picture_feeds(contract.card, picture)
        ask = Ask(
            contract.card.name,
            feeds,
            _limit(call.remaining(), timeout, contract.card.timeout),
            priority,
            call.client,
            request.id,
            "grpc",
            _trace(call),
            came=came,
        )
        answered = await self._backend.infer(ask)
        return answered, write_answer(contract, request.id, wanted, answered, final=final)


def _limit(remaining: Seconds | None, asked: Seconds | None, usual: Seconds) -> Seconds | None:
    """A request's time: nobody is there to hear of its answer after its call's deadline. Raises DeadlineExceeded."""
    if remaining is None:
        return asked
    if remaining <= 0:
        raise DeadlineExceeded("the call's deadline had passed when it came")
    return min(remaining, usual if asked is None else asked)


def _trace(call: Call) -> str:
    found = call.text(b"traceparent")
    return found if found and TRACEPARENT.fullmatch(found) else ""


def _told(answered: Answered) -> Pairs:
    """What goes with the status of an answer: as the headers of one in HTTP."""
    found = [(b"cutwater-request", answered.request.encode())]
    if answered.degraded:
        found.append((b"cutwater-degraded", b"true"))
    if answered.span:
        found.append((b"traceparent", answered.span.encode()))
    return found
