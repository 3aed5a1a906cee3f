"""Client: asks the models of a gateway, from any thread.

A thin wrapper: an AsyncClient in one background thread does the work. That costs no more processor time than the
standard library's blocking HTTP, and makes many requests at once cheap.
"""

import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from cutwater.client.asynchronous import AsyncClient
from cutwater.client.background import Background
from cutwater.client.feeds import Feeds, Picture
from cutwater.client.result import Listed, ModelInfo, Result
from cutwater.client.retries import RETRIES, Retries
from cutwater.drivers.tls import TlsFiles
from cutwater.errors import CutwaterError
from cutwater.units import Seconds

if TYPE_CHECKING:
    from cutwater.api.http.task_words import ClassifyAnswer, DetectAnswer

T = TypeVar("T")


class Client:
    """Asks the models of one gateway; safe to share between threads, and a context, closed at its end.

    ``with Client("http://localhost:8000") as client: result = client.infer("cats", {"input": array})``
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
        """Nothing is connected yet. The arguments are those of `AsyncClient`."""
        self._client = AsyncClient(
            url, timeout=timeout, retries=retries, token=token, ca=ca, tls=tls, connections=connections
        )
        self._background = Background(self._client.close)
        # Whoever forgets to close it leaves no thread behind.
        self._finalizer = weakref.finalize(self, self._background.close)

    def __enter__(self) -> Self:
        """Itself; the first request connects."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """End all connections and the thread; futures that are not done are cancelled."""
        self._finalizer()

    @property
    def url(self) -> str:
        """Where it asks; empty: the gateway of this machine's cluster."""
        return self._client.url

    def infer(
        self,
        model: str,
        feeds: Feeds,
        *,
        outputs: Sequence[str] = (),
        timeout: Seconds | None = None,
        priority: int = 0,
        id: str = "",
        trace: str = "",
    ) -> Result:
        """The model's outputs for one request; arguments and errors are those of `AsyncClient.infer`."""
        return _result(
            self.submit(model, feeds, outputs=outputs, timeout=timeout, priority=priority, id=id, trace=trace)
        )

    def submit(
        self,
        model: str,
        feeds: Feeds,
        *,
        outputs: Sequence[str] = (),
        timeout: Seconds | None = None,
        priority: int = 0,
        id: str = "",
        trace: str = "",
    ) -> "Future[Result]":
        """The same, to come: one request, one future. Cancelling the future withdraws the request.

        Nothing bounds how many are submitted; `map` does.
        """
        return self._background.submit(
            lambda: self._client.infer(
                model, feeds, outputs=outputs, timeout=timeout, priority=priority, id=id, trace=trace
            )
        )

    @overload
    def map(
        self,
        model: str,
        feeds: Iterable[Feeds],
        *,
        in_flight: int = ...,
        outputs: Sequence[str] = ...,
        timeout: Seconds | None = ...,
        priority: int = ...,
        return_errors: Literal[False] = ...,
    ) -> Iterator[Result]: ...

    @overload
    def map(
        self,
        model: str,
        feeds: Iterable[Feeds],
        *,
        in_flight: int = ...,
        outputs: Sequence[str] = ...,
        timeout: Seconds | None = ...,
        priority: int = ...,
        return_errors: Literal[True],
    ) -> Iterator[Result | CutwaterError]: ...

    def map(
        self,
        model: str,
        feeds: Iterable[Feeds],
        *,
        in_flight: int = 16,
        outputs: Sequence[str] = (),
        timeout: Seconds | None = None,
        priority: int = 0,
        return_errors: bool = False,
    ) -> Iterator[Result | CutwaterError]:
        """The results of many requests, in their order; as `AsyncClient.map`."""
        under_way: deque[Future[Result]] = deque()

        def first() -> Result | CutwaterError:
            try:
                return _result(under_way.popleft())
            except CutwaterError as error:
                if return_errors:
                    return error
                raise

        try:
            for feed in feeds:
                under_way.append(self.submit(model, feed, outputs=outputs, timeout=timeout, priority=priority))
                while under_way and (len(under_way) >= in_flight or under_way[0].done()):
                    yield first()
            while under_way:
                yield first()
        finally:
            for future in under_way:
                future.cancel()

    def classify(
        self,
        picture: Picture,
        model: str = "",
        *,
        top: int = 5,
        timeout: Seconds | None = None,
        priority: int = 0,
        id: str = "",
    ) -> "ClassifyAnswer":
        """What a picture shows, as classes; as `AsyncClient.classify`."""
        return self._run(
            lambda: self._client.classify(picture, model, top=top, timeout=timeout, priority=priority, id=id)
        )

    def detect(
        self,
        picture: Picture,
        model: str = "",
        *,
        threshold: float = 0.25,
        timeout: Seconds | None = None,
        priority: int = 0,
        id: str = "",
    ) -> "DetectAnswer":
        """What a picture shows, as boxes; as `AsyncClient.detect`."""
        return self._run(
            lambda: self._client.detect(picture, model, threshold=threshold, timeout=timeout, priority=priority, id=id)
        )

    def ready(self) -> bool:
        """Whether the gateway takes requests in; False, too, where none answers."""
        return self._run(self._client.ready)

    def models(self) -> list[Listed]:
        """All models the gateway knows. Raises CutwaterError."""
        return self._run(self._client.models)

    def model(self, name: str) -> ModelInfo:
        """What a model takes and gives. Raises NotFound, or another CutwaterError."""
        return self._run(lambda: self._client.model(name))

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return _result(self._background.submit(work))


def _result(future: "Future[T]") -> T:
    """A caller who is interrupted while waiting withdraws the request."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
