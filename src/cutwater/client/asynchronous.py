"""AsyncClient: asks the models of a gateway, from an event loop."""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, TypeVar, overload

from cutwater.client.access import Access
from cutwater.client.address import transport_of
from cutwater.client.feeds import Feeds, Picture, encoded, named
from cutwater.client.result import Listed, ModelInfo, Result
from cutwater.client.retries import RETRIES, Retries
from cutwater.client.transport import Call, Transport
from cutwater.client.words import read_json
from cutwater.drivers.live import clock
from cutwater.drivers.tls import TlsFiles
from cutwater.errors import BadTensor, CutwaterError, DeadlineExceeded, InputError, LinkLost, NotFound
from cutwater.units import Seconds

if TYPE_CHECKING:
    from cutwater.api.http.task_words import ClassifyAnswer, DetectAnswer

Many: TypeAlias = Iterable[Feeds] | AsyncIterable[Feeds]
T = TypeVar("T")
GRACE: Seconds = 0.5
"""How much longer than a request's time a client waits: until then a gateway that lives says why there is no answer."""


class AsyncClient:
    """Asks the models of one gateway; also an asynchronous context, closed at its end.

    ``async with AsyncClient("http://localhost:8000") as client: result = await client.infer("cats", {"input": array})``

    It belongs to the event loop it is first used in. Cancelling a task that waits for an answer withdraws the request,
    down to the stages that compute it.
    """

    def __init__(
        self,
        url: str = "",
        *,
        timeout: Seconds = 30.0,
        retries: Retries | int = RETRIES,
        token: str = "",
        ca: str | Path | None = None,
        tls: TlsFiles | None = None,
        connections: int = 64,
    ) -> None:
        """Nothing is connected yet.

        Args:
            url: ``http://host:port``, ``https://host``, ``grpc://host:port``, ``grpcs://host:port``, a native link
                (``unix:/path``, ``tcp:host:port``); empty: the gateway of this machine's cluster.
            timeout: Seconds a request may take, retries included, where its caller does not say.
            retries: What is tried again and how patiently; a number: so many tries after the first.
            token: What the gateway wants to see.
            ca: PEM file of the authorities https and grpcs trust; None: those of this machine.
            tls: Mutual TLS of the cluster, for ``tcp:`` links.
            connections: Most HTTP connections at a time; requests beyond wait for one.
        """
        self.url = url
        self.timeout = timeout
        self.retries = Retries(retries) if isinstance(retries, int) else retries
        self._access = Access(token, ca, tls, connections)
        self._rng = random.Random()
        self._transport: Transport | None = None
        self._closed = False
        self._mapped: set[asyncio.Task[Result | CutwaterError]] = set()
        """Requests of maps: of one that is not iterated to its end, they would go on until it is collected."""
        self._infos: dict[str, ModelInfo] = {}

    async def __aenter__(self) -> Self:
        """Itself; the first request connects."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        await self.close()

    async def close(self) -> None:
        """End all connections; requests under way fail, and later ones with InputError."""
        self._closed = True
        await _cancel(self._mapped)
        if self._transport is not None:
            await self._transport.close()

    async def infer(
        self,
        model: str,
        feeds: Feeds,
        *,
        outputs: Sequence[str] = (),
        timeout: Seconds | None = None,  # noqa: ASYNC109
        priority: int = 0,
        id: str = "",
        trace: str = "",
    ) -> Result:
        """The model's outputs for one request.

        Args:
            model: Its name in the cluster.
            feeds: Input name -> value, or the value of its only input. A value is an array, a list of numbers, which
                takes the input's type, or an encoded picture: its bytes, or the path of its file. Arrays must not
                change before the answer is there.
            outputs: Those that are wanted; empty: all.
            timeout: Seconds until the caller no longer wants the answer; None: as the client was told. The gateway
                hears of it, and gives up by itself.
            priority: Higher is sooner; the ordinary one is 0.
            id: What to call the request. Of requests with the same id and content one is computed; empty: a new one.
            trace: W3C ``traceparent`` of what the request belongs to.

        Raises:
            BadTensor: the feeds do not fit the model.
            NotFound: there is no such model or output, or it is not deployed.
            DeadlineExceeded: there was no answer in time.
            Refused: the gateway is full, and stayed so; ``retry_after`` may say for how long.
            LinkLost: nobody answers there.
            CutwaterError: what else the answer is instead.
        """
        budget = self.timeout if timeout is None else timeout
        began = clock()
        name = self._name(id)
        try:
            async with asyncio.timeout(budget + GRACE):
                arrays = await named(feeds, lambda: self._info(model))
                reply, tries = await self.retries.run(
                    lambda left: self._open().infer(Call(model, arrays, tuple(outputs), left, priority, name, trace)),
                    began + budget,
                    self._rng,
                )
        except TimeoutError as error:
            raise self._late(budget) from error
        except (BadTensor, NotFound):
            self._infos.pop(model, None)  # it may be another model by now
            raise
        return Result(
            reply.outputs,
            model,
            clock() - began,
            name,
            reply.request,
            reply.degraded,
            tries,
            reply.trace,
            reply.trail,
        )

    @overload
    def map(
        self,
        model: str,
        feeds: Many,
        *,
        in_flight: int = ...,
        outputs: Sequence[str] = ...,
        timeout: Seconds | None = ...,
        priority: int = ...,
        return_errors: Literal[False] = ...,
    ) -> AsyncIterator[Result]: ...

    @overload
    def map(
        self,
        model: str,
        feeds: Many,
        *,
        in_flight: int = ...,
        outputs: Sequence[str] = ...,
        timeout: Seconds | None = ...,
        priority: int = ...,
        return_errors: Literal[True],
    ) -> AsyncIterator[Result | CutwaterError]: ...

    async def map(
        self,
        model: str,
        feeds: Many,
        *,
        in_flight: int = 16,
        outputs: Sequence[str] = (),
        timeout: Seconds | None = None,  # noqa: ASYNC109
        priority: int = 0,
        return_errors: bool = False,
    ) -> AsyncIterator[Result | CutwaterError]:
        """The results of many requests, in their order.

        Feeds are taken as results are: at most ``in_flight`` requests are under way or wait to be taken, so that
        neither feeds nor results pile up.

        Args:
            model: Its name in the cluster.
            feeds: For one request each, as `infer` takes them.
            in_flight: How many requests to have under way.
            outputs: As for `infer`.
            timeout: Of each request.
            priority: As for `infer`.
            return_errors: Give a request's error in the place of its result, and go on; otherwise the first is raised.

        Raises:
            CutwaterError: as `infer`; what is under way then is withdrawn.
        """

        async def one(feed: Feeds) -> Result | CutwaterError:
            try:
                return await self.infer(model, feed, outputs=outputs, timeout=timeout, priority=priority)
            except CutwaterError as error:
                if return_errors:
                    return error
                raise

        under_way: deque[asyncio.Task[Result | CutwaterError]] = deque()
        try:
            async for feed in _each(feeds):
                task = asyncio.create_task(one(feed))
                self._mapped.add(task)
                task.add_done_callback(self._mapped.discard)
                under_way.append(task)
                await asyncio.sleep(0)  # it begins before the next feed is made
                while under_way and (len(under_way) >= in_flight or under_way[0].done()):
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            await _cancel(under_way)

    async def classify(
        self,
        picture: Picture,
        model: str = "",
        *,
        top: int = 5,
        timeout: Seconds | None = None,  # noqa: ASYNC109
        priority: int = 0,
        id: str = "",
    ) -> "ClassifyAnswer":
        """What a picture shows, as classes, best first. Only by HTTP.

        Args:
            picture: Its bytes as its file holds them, or the path of its file.
            model: Who shall look; empty: the only classifier that is ready.
            top: How many classes.
            timeout: As for `infer`.
            priority: As for `infer`.
            id: As for `infer`.

        Raises:
            BadPicture: it cannot be read or decoded.
            Unsupported: the client does not speak HTTP.
            CutwaterError: as `infer`.
        """
        from cutwater.api.http.task_words import ClassifyAnswer

        return await self._look("classify", picture, {"top": str(top)}, model, timeout, priority, id, ClassifyAnswer)

    async def detect(
        self,
        picture: Picture,
        model: str = "",
        *,
        threshold: float = 0.25,
        timeout: Seconds | None = None,  # noqa: ASYNC109
        priority: int = 0,
        id: str = "",
    ) -> "DetectAnswer":
        """What a picture shows, as boxes in its own pixels, best first. Only by HTTP.

        The arguments and errors are those of `classify`, but ``threshold``: the smallest score of a box, in 0..1.
        """
        from cutwater.api.http.task_words import DetectAnswer

        wishes = {"threshold": str(threshold)}
        return await self._look("detect", picture, wishes, model, timeout, priority, id, DetectAnswer)

    async def _look(
        self,
        task: str,
        picture: Picture,
        wishes: dict[str, str],
        model: str,
        timeout: Seconds | None,  # noqa: ASYNC109
        priority: int,
        id: str,
        kind: type[T],
    ) -> T:
        if model:
            wishes["model"] = model
        if priority:
            wishes["priority"] = str(priority)
        name, image = self._name(id), await encoded(picture)

        async def look(transport: Transport, left: Seconds) -> bytes | bytearray:
            return await transport.look(task, image, {**wishes, "timeout": f"{left:.6f}"}, name)

        found = await self._persist(look, timeout)
        return read_json(found, kind)

    async def ready(self) -> bool:
        """Whether the gateway takes requests in; False, too, where none answers."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self._open().ready()
        except (LinkLost, TimeoutError):
            return False

    async def models(self) -> list[Listed]:
        """All models the gateway knows. Raises CutwaterError."""
        return await self._persist(lambda transport, left: transport.models())

    async def model(self, name: str) -> ModelInfo:
        """What a model takes and gives. Raises NotFound, or another CutwaterError."""
        found = self._infos[name] = await self._persist(lambda transport, left: transport.model(name))
        return found

    async def _info(self, model: str) -> ModelInfo:
        """The same, remembered until something did not fit."""
        return self._infos.get(model) or await self.model(model)

    async def _persist(
        self,
        ask: Callable[[Transport, Seconds], Awaitable[T]],
        timeout: Seconds | None = None,  # noqa: ASYNC109
    ) -> T:
        """The answer to anything but an inference, tried again as those are."""
        began = clock()
        budget = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(budget + GRACE):
                found, _ = await self.retries.run(lambda left: ask(self._open(), left), began + budget, self._rng)
        except TimeoutError as error:
            raise self._late(budget) from error
        return found

    def _name(self, id: str) -> str:
        """What to call a request that may be sent more than once."""
        return id or (secrets.token_hex(16) if self.retries.most else "")

    def _late(self, budget: Seconds) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self.url or 'the gateway'} did not answer within {budget:g} s")

    def _open(self) -> Transport:
        if self._closed:
            raise InputError("this client is closed")
        if self._transport is None:
            self._transport = transport_of(self.url, self._access)
        return self._transport


async def _cancel(tasks: Collection["asyncio.Task[Result | CutwaterError]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _each(feeds: Many) -> AsyncIterator[Feeds]:
    if isinstance(feeds, AsyncIterable):
        async for feed in feeds:
            yield feed
    else:
        for feed in feeds:
            yield feed
