"""ModelInfer and ModelStreamInfer. A call that is cancelled, or whose connection is lost, withdraws its requests."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from cutwater.api.backend import Answered, Ask, Backend
from cutwater.api.datatypes import Buffer
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.messages import join_stream, parse_infer
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.reading import parameters_of, read_infer
from cutwater.api.grpc.status import Context, message_of
from cutwater.api.grpc.writing import wishes, write_answer, write_error
from cutwater.api.outputs import told_of
from cutwater.api.porch import Porch
from cutwater.api.requests import ORDINARY, Contracts, check_version, is_trace, terms
from cutwater.api.room import Room
from cutwater.api.tasks import picture_feeds
from cutwater.errors import CutwaterError, DeadlineExceeded, Refused, forgetful
from cutwater.units import Seconds

DOOR = "grpc"
STRICT = "triton_grpc_error"
"""Metadata with which a client wants a stream to end with the status of its first error."""


class Inference:
    """The two calls that compute. Their methods raise CutwaterError."""

    def __init__(self, backend: Backend, options: GrpcOptions, draining: asyncio.Event, porch: Porch) -> None:
        """``draining``: set once streams shall end; ``porch``: where requests are on their way in."""
        self._backend = backend
        self._porch = porch
        self._draining = draining
        self._window = options.window
        self._contracts = Contracts()
        self._room = Room(options.max_held)

    async def unary(self, message: bytes, context: Context) -> bytes:
        """``ModelInfer``."""
        self._room.take(len(message))
        try:
            request, raw = parse_infer(message)
            answered, parts = await self._answer(request, raw, len(message), context)
        finally:
            self._room.held -= len(message)
        context.set_trailing_metadata(told_of(answered))
        return self._held_until_taken(parts, context)

    def _held_until_taken(self, parts: Sequence[Buffer], context: Context) -> bytes:
        """One answer, which takes room until the client has it or has gone. Raises Refused where there is none."""
        nbytes = sum(map(len, parts))
        self._room.take(nbytes)

        def give_back(_: Any) -> None:
            self._room.held -= nbytes

        context.add_done_callback(give_back)  # type: ignore[arg-type]  # the stubs say that it is given nothing
        return b"".join(parts)

    async def stream(self, context: Context) -> None:
        """``ModelStreamInfer``: answers in the order of the requests, of which up to the window are open at once.

        A server that drains reads no more, and ends the stream when what is open has been answered.
        """
        strict = any(key == STRICT and value == "true" for key, value in context.invocation_metadata() or ())
        window = asyncio.Semaphore(self._window)
        waiting: asyncio.Queue[asyncio.Task[_Message | CutwaterError] | None] = asyncio.Queue()
        tasks: set[asyncio.Task[_Message | CutwaterError]] = set()

        async def read() -> None:
            await window.acquire()
            while isinstance(message := await context.read(), bytes):
                task = asyncio.create_task(self._one(message, context, strict))
                tasks.add(task)
                waiting.put_nowait(task)
                await window.acquire()

        reader = asyncio.create_task(read())
        reader.add_done_callback(lambda _: waiting.put_nowait(None))  # however it ends
        draining = asyncio.create_task(self._draining.wait())
        draining.add_done_callback(lambda _: reader.cancel())
        try:
            while (task := await waiting.get()) is not None:
                found = await task
                if isinstance(found, CutwaterError):
                    raise found
                await context.write(found.content)
                tasks.discard(task)
                self._room.held -= found.held
                window.release()
            if reader.cancelled():
                raise Refused("the gateway drains; ask another one, or again later")
            reader.result()
        finally:
            for each in (reader, draining, *tasks):
                each.cancel()
            for each in tasks:
                each.add_done_callback(self._give_back)  # not after the wait, which may be cancelled again
            await asyncio.wait((reader, draining, *tasks))

    def _give_back(self, task: "asyncio.Task[_Message | CutwaterError]") -> None:
        """The room of an answer that nobody takes any more."""
        if not task.cancelled() and isinstance(found := task.result(), _Message):
            self._room.held -= found.held

    async def _one(self, message: bytes, context: Context, strict: bool) -> "_Message | CutwaterError":
        """The answer to one request of a stream; the error only if that ends the stream."""
        request = pb.ModelInferRequest()
        try:
            self._room.take(len(message))
            try:
                request, raw = parse_infer(message)
                _, parts = await self._answer(request, raw, len(message), context, final=True)
            finally:
                self._room.held -= len(message)
            nbytes = sum(map(len, parts))
            self._room.take(nbytes)
        except CutwaterError as error:
            return forgetful(error) if strict else _Message(write_error(request, message_of(forgetful(error))), 0)
        return _Message(join_stream(parts), nbytes)

    async def _answer(
        self,
        request: pb.ModelInferRequest,
        raw: list[memoryview],
        came: int,
        context: Context,
        final: bool = False,
    ) -> tuple[Answered, list[Buffer]]:
        since = self._porch.now()
        contract = self._contracts.of(self._backend.model(request.model_name))
        card = contract.card
        check_version(card.name, request.model_version)
        feeds, picture = read_infer(contract, request, raw)
        wanted = wishes(contract, request)
        timeout, priority = terms(parameters_of(request.parameters)) if request.parameters else ORDINARY
        timeout = _limit(context.time_remaining(), timeout, card.timeout)
        client = client_of(context.peer())
        with self._porch.coming(card.name, client, DOOR, since) as coming:
            coming.wants(timeout or card.timeout, priority)
            if picture is not None:
                coming.check()
                feeds = await picture_feeds(card, picture, until=coming.until)
        ask = Ask(
            card.name, feeds, timeout, priority, client, request.id, DOOR, _trace(context), came=came, since=since
        )
        answered = await self._backend.infer(ask)
        return answered, write_answer(contract, request.id, wanted, answered, final=final)


class _Message(NamedTuple):
    """One of a stream's answers, which waits for its turn."""

    content: bytes
    held: int
    """Bytes of room that it takes."""


@lru_cache(maxsize=4096)
def client_of(peer: str) -> str:
    """Who asks, from "ipv4:10.0.0.7:4711": the machine, whose requests stand in line behind each other."""
    kind, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0] if kind in ("ipv4", "ipv6") else ""
    return f"grpc:{host.strip('[]')}" if host else "grpc"


def _limit(remaining: Seconds | None, asked: Seconds | None, usual: Seconds) -> Seconds | None:
    """A request's time: nobody is there to hear of its answer after its call's deadline. Raises DeadlineExceeded."""
    if remaining is None:
        return asked
    if remaining <= 0:
        raise DeadlineExceeded("the call's deadline had passed when it came")
    return min(remaining, usual if asked is None else asked)


def _trace(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            return value if isinstance(value, str) and is_trace(value) else ""
    return ""
